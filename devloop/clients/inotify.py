"""What the kernel's file watches have left. watchdog says nothing where a directory below its root gets none (7.1)."""

from __future__ import annotations

import errno
import os
import sys


def exhausted() -> bool:
    """Whether this user's watches have run out, so that one more directory would not be watched. Never, but on Linux (inotify(7))."""
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
