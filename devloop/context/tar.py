"""The context as a tar, made while it is read."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator

from devloop.context.files import open_regular
from devloop.context.model import ContextChanged, ContextFile

BLOCK = 512
CHUNK = 1 << 17   # of what is read at once, and about of what is sent: small ones stay in the processor's cache
_TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}


def stream(root: str, name: str, files: Iterable[ContextFile], extras: Iterable[tuple[ContextFile, bytes]]) -> Iterator[bytes]:
    """GNU format: the Engine mistakes a PAX header for a Dockerfile. `extras` are more files, with their content, in place of any of
    `files` with the same path; `name` is the context as the user knows it. Chunks of up to about 256 KiB.

    Every file is hashed once more while it goes out, so that an image never holds anything but what its tag says.
    """
    batch = bytearray()
    replaced = set()
    for file, content in extras:
        batch += _header(file) + content + _padding(file.size)
        replaced.add(file.path)
    for file in files:
        if file.path in replaced:
            continue
        batch += _header(file)
        if file.kind == "file":
            for chunk in _content(root, name, file):
                if len(chunk) == CHUNK and not batch:
                    yield chunk
                    continue
                batch += chunk
                if len(batch) >= CHUNK:
                    yield bytes(batch)
                    batch.clear()
            batch += _padding(file.size)
    yield bytes(batch) + bytes(2 * BLOCK)


def _header(file: ContextFile) -> bytes:
    """Root's, as docker build does it; the modification time is real, because web servers and compilers in the image go by it."""
    info = tarfile.TarInfo(file.path)
    info.type = _TYPES[file.kind]
    info.mode = file.mode
    info.size = file.size if file.kind == "file" else 0
    info.mtime = max(file.mtime, 0)
    info.linkname = file.target
    if file.kind == "dir":
        info.name += "/"
    return info.tobuf(tarfile.GNU_FORMAT, sys.getfilesystemencoding(), "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _content(root: str, name: str, file: ContextFile) -> Iterator[bytes]:
    """Exactly the bytes that were analysed. Raises `ContextChanged`: the header is out, and padding would be a lie."""
    digest = hashlib.sha256()
    left = file.size
    try:
        with open_regular(f"{root}/{file.path}") as source:
            if os.fstat(source.fileno()).st_size != file.size:
                raise _changed(name, file)
            while left and (chunk := source.read(min(left, CHUNK))):
                left -= len(chunk)
                digest.update(chunk)
                yield chunk
            if left or digest.hexdigest() != file.digest:
                raise _changed(name, file)
    except OSError as error:
        raise _changed(name, file) from error


def _changed(name: str, file: ContextFile) -> ContextChanged:
    return ContextChanged(f"{name}/{file.path} changed while the build context was being read.",
                          hint="A file that is written all the time, such as a log, belongs into .dockerignore.")
