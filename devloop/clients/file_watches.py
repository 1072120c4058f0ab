"""What the system's file watches cannot do, and do not tell: some run out (inotify(7)), some file systems never say that a file changed."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

SILENT = frozenset({"9p", "virtiofs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "fuse.sshfs"})
"""They show the files of another machine, as WSL, Lima, VirtualBox, VMware, Parallels and Multipass do: saves there are not told here."""


def exhausted() -> bool:
    """Whether this user's watches have run out, so that one more directory would not be watched. Only Linux has so few."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_CLOEXEC)
    if inotify < 0:
        return False        # its instances have: who has one needs no other
    try:
        return bool(libc.inotify_add_watch(inotify, b"/", 0x400) < 0 and ctypes.get_errno() == errno.ENOSPC)     # IN_DELETE_SELF
    finally:
        os.close(inotify)


def silent(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that `path` is on, where that is one of `SILENT`; else empty. `mounts`: as in proc_pid_mountinfo(5)."""
    real = Path(os.path.realpath(path))
    found = (0, "")
    try:
        with mounts.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                place, _, kind = line.partition(" - ")
                point = Path(re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), place.split()[4]))
                if real.is_relative_to(point) and len(point.parts) >= found[0]:      # the last one hides those before
                    found = len(point.parts), kind.split()[0]
    except FileNotFoundError:
        return ""       # not Linux
    return found[1] if found[1] in SILENT else ""
