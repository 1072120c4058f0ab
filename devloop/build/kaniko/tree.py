"""What a build pod has of a context, what it lacks, and how it proves what it has. Pure, but for reading the files that are to be sent."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from devloop.context import BuildContext, ContextChanged, ContextFile
from devloop.context import tar as tars

Tree = Mapping[str, ContextFile]
"""Files by path, as they were sent: `mtime` is the one they have there."""


@dataclass(frozen=True)
class Delta:
    """From one tree to another: the paths to remove first, the files to send, and the tree that comes of it. `size`: bytes to send."""

    gone: tuple[str, ...]
    files: tuple[ContextFile, ...]
    tree: Tree = field(repr=False)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def delta(there: Tree, context: BuildContext) -> Delta:
    """What has to be done where `there` is, to have `context`. A file that has only another time is not sent. What an Engine gets in
    addition, as it knows no other way to a Dockerfile, is left out: `dockerfile`."""
    wanted = {file.path: file for file in context.files}
    wanted |= {path: ContextFile(path, "dir", 0o755, 0, 0, "", "") for path in _parents(wanted) if path not in wanted}
    same = {path for path, file in wanted.items() if path in there and _alike(there[path], file)}
    gone = [path for path, file in there.items() if path not in wanted or wanted[path].kind != file.kind]
    tree = {path: there[path] if path in same else file for path, file in wanted.items()}
    return Delta(tuple(sorted(gone)), tuple(wanted[path] for path in sorted(wanted) if path not in same), tree)


def _alike(one: ContextFile, other: ContextFile) -> bool:
    return one._replace(mtime=0) == other._replace(mtime=0)


def _parents(paths: Iterable[str]) -> set[str]:
    """The directories that unpacking makes by itself."""
    found: set[str] = set()
    for path in paths:
        parent = os.path.dirname(path)
        while parent and parent not in found:
            found.add(parent)
            parent = os.path.dirname(parent)
    return found


def archive(context: BuildContext, sent: Delta, counted: Callable[[Iterable[bytes], int], Iterator[bytes]]) -> Iterator[bytes]:
    """The files as a compressed tar, while they are read; `counted` sees them before they are compressed. Raises `ContextChanged`."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)      # gzip's form
    for chunk in counted(tars.stream(os.fspath(context.root), context.name, sent.files, ()), sent.size):
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def dockerfile(context: BuildContext) -> bytes:
    """As it was when it was analysed. Raises `ContextChanged`."""
    for extra, content in context.extras:
        if extra.path == context.dockerfile_name:
            return content
    known = next(file for file in context.files if file.path == context.dockerfile_name)
    try:
        content = context.dockerfile.read_bytes()
    except OSError:
        content = b""
    if hashlib.sha256(content).hexdigest() != known.digest:
        raise ContextChanged(f"{context.name}/{known.path} changed while the build context was being read.")
    return content


def names(paths: Iterable[str]) -> bytes:
    """As ``xargs -0`` takes them."""
    return b"".join(b"./" + os.fsencode(path) + b"\0" for path in paths)


def proof(tree: Tree) -> str:
    """What the agent's `tree` says of exactly these files."""
    digest = hashlib.sha256()
    for kind in ("dir", "file", "link"):
        paths = sorted((b"./" + os.fsencode(path), file) for path, file in tree.items() if file.kind == kind)
        for path, file in paths:
            if kind == "dir":
                digest.update(b"d %o %s\n" % (file.mode, path))
            elif kind == "file":
                digest.update(b"f %o %d %d %s\n" % (file.mode, file.size, max(file.mtime, 0), path))
            else:
                digest.update(b"l '%s' -> '%s'\n" % (path, os.fsencode(file.target)))
    return digest.hexdigest()
