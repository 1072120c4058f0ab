"""Opening files that someone else may replace at any moment."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO


def open_regular(path: str) -> FileIO:
    """Open for reading what must be a regular file. Raises `OSError` for anything else, at once: opening a named pipe that took
    the file's place would wait for a writer for ever, and a link would lead out of the context."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is not a regular file any more", path)
    return FileIO(descriptor)
