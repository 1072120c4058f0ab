"""What the system's file watches cannot do, and do not tell: some run out (inotify(7)), some file systems never say that a file changed."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

SILENT = frozenset({"9p", "virtiofs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "fuse.sshfs"})
"""They show the files of another machine, as WSL, Lima, VirtualBox, VMware, Parallels and Multipass do: saves there are not told here."""


def exhausted() -> bool:
    """Whether this user's watches have run out, so that one more directory would not be watched. Only Linux has so few."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc, inotify = _inotify()
    watch = libc.inotify_add_watch(inotify, b"/", 0x400)        # IN_DELETE_SELF
    if watch < 0:
        return ctypes.get_errno() == errno.ENOSPC       # else its instances have: who has one needs no other
    libc.inotify_rm_watch(inotify, watch)
    return False


@cache
def _inotify() -> tuple[Any, int]:
    """The C library, and an instance that is kept: to end one takes the kernel up to 16 ms."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return libc, libc.inotify_init1(os.O_CLOEXEC)


def links(path: Path, roots: Collection[Path]) -> Iterator[Path]:
    """What is a link of `path` and the directories up to one of `roots`: where a link is, nothing is told of what it leads to."""
    while path not in roots and path != path.parent:
        if os.path.islink(path):
            yield path
        path = path.parent


def silent(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that `path` is on, where that is one of `SILENT`; else empty. `mounts`: as in proc_pid_mountinfo(5)."""
    real, deepest, kind = os.path.realpath(path) + "/", "", ""
    try:
        with mounts.open(encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                place, _, rest = line.partition(" - ")
                point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), place.split()[4])
                if real.startswith(point.rstrip("/") + "/") and len(point) >= len(deepest):      # the last one hides those before
                    deepest, kind = point, rest.split()[0]
    except FileNotFoundError:
        return ""       # not Linux
    return kind if kind in SILENT else ""
