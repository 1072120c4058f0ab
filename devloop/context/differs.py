"""Whether a file that was touched is still what it was when its context was analysed."""

from __future__ import annotations

import hashlib
import os
import stat
from bisect import bisect_left
from pathlib import Path

from devloop.context.buildcontext import BuildContext


def differs(context: BuildContext, path: Path) -> bool:
    """`path` is the context or below it. Compares existence, type, permissions, link target, size and content; a file that cannot be
    read differs. A directory that is there, as it was, differs: something in it may be new. The context itself always does."""
    name = os.path.relpath(path, context.root).replace(os.sep, "/")
    if name == ".":
        return True
    at = bisect_left(context.files, name, key=lambda file: file.path)
    known = context.files[at] if at < len(context.files) and context.files[at].path == name else None
    try:
        now = os.lstat(path)
        if known is None or known.kind == "dir" or stat.S_ISDIR(now.st_mode):
            return True
        if known.kind == "link":
            return not stat.S_ISLNK(now.st_mode) or os.readlink(path) != known.target
        if not stat.S_ISREG(now.st_mode) or stat.S_IMODE(now.st_mode) != known.mode or now.st_size != known.size:
            return True
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != known.digest
    except FileNotFoundError:
        return known is not None      # an editor's temporary file came and went
    except OSError:
        return True
