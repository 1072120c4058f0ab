"""The container's own root directory, which is the image's while it is built: unpacked into, looked at, and emptied again."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import log

KANIKO = "/kaniko"
WHITEOUT = ".wh."

tarfile.pwd = tarfile.grp = None    # type: ignore[attr-defined]    # users' names are not looked up: they would be the image's


class Ignored:
    """What is not the image's: Kaniko itself, and all that is mounted."""

    def __init__(self, more: Iterable[str]) -> None:
        self._more = [KANIKO, "/etc/mtab", *more]
        self._paths: list[str] = []
        self.read_mounts()

    def read_mounts(self) -> None:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        self._paths = [*self._more, *(mount for mount in mounts if mount != "/")]

    def more(self, paths: Iterable[str]) -> None:
        self._paths += [path for path in paths if path not in self._paths]

    def only_kaniko(self) -> Ignored:
        """Nothing of what is mounted: for files that go elsewhere than into the root directory."""
        self._paths = []
        return self

    def has(self, path: str) -> bool:
        return path.startswith("/tmp/apt-key-gpghome") or any(path == p or path.startswith(p + "/") for p in self._paths)

    def is_below(self, path: str) -> bool:
        """Something ignored lies in this directory."""
        return path == "/tmp" or any(p.startswith(path.rstrip("/") + "/") for p in self._paths)


def walk(top: str, ignored: Ignored) -> Iterator[str]:
    """All paths below a directory, but not what is ignored; a directory before what is in it."""
    with os.scandir(top) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if ignored.has(entry.path):
                continue
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, ignored)


def delete(ignored: Ignored) -> None:
    log.info("Deleting filesystem...")
    for path in list(walk("/", ignored)):
        if not os.path.lexists(path) or ignored.is_below(path):
            continue
        remove(path)


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def unpack(archive: Path, ignored: Ignored, root: str = "/") -> list[str]:
    """A layer, or an archive; the paths of all that was in it."""
    paths, directories = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            name = os.path.normpath(member.name).lstrip("/")
            path = os.path.join(root, name)
            if name in ("", ".") or ignored.has(path):
                continue
            if name.split("/")[-1].startswith(WHITEOUT):
                gone = os.path.join(os.path.dirname(path), os.path.basename(path).removeprefix(WHITEOUT))
                if not ignored.is_below(gone):
                    remove(gone)
                continue
            _extract(tar, member, path, root)
            paths.append(path)
            directories += [(path, member)] if member.isdir() else []
    for path, member in reversed(directories):
        os.utime(path, (member.mtime, member.mtime))
    return paths


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, root: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not (member.isdir() and os.path.isdir(path)):
        remove(path)
    if member.isdir():
        os.makedirs(path, exist_ok=True)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        os.link(os.path.join(root, member.linkname.lstrip("/")), path, follow_symlinks=False)
        return
    elif member.isfile():
        source = tar.extractfile(member)
        assert source
        with open(path, "wb") as file:
            shutil.copyfileobj(source, file)
    elif member.isfifo():
        os.mkfifo(path)
    else:
        os.mknod(path, (stat.S_IFCHR if member.ischr() else stat.S_IFBLK) | member.mode, os.makedev(member.devmajor, member.devminor))
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(path, member.mode)
    if capability := member.pax_headers.get("SCHILY.xattr.security.capability"):
        os.setxattr(path, "security.capability", capability.encode(errors="surrogateescape"), follow_symlinks=False)
    if not member.isdir():
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)


def scan(mode: str, ignored: Ignored) -> dict[str, tuple[object, ...]]:
    """All paths, with what tells that one was changed."""
    log.info("Taking snapshot of full filesystem...")
    ignored.read_mounts()
    return {path: _fingerprint(path, mode) for path in walk("/", ignored)}


def fingerprints(paths: Iterable[str], mode: str) -> Iterator[tuple[str, tuple[object, ...]]]:
    return ((path, _fingerprint(path, mode)) for path in paths if os.path.lexists(path))


def _fingerprint(path: str, mode: str) -> tuple[object, ...]:
    status = os.lstat(path)
    if mode == "time":
        return (status.st_mtime_ns,)
    changed = 0 if mode == "content" else status.st_mtime_ns       # for the cache it does not matter when a file was written
    known = (status.st_mode, changed, status.st_uid, status.st_gid, 0 if stat.S_ISDIR(status.st_mode) else status.st_size)
    if mode == "redo":
        return known
    if stat.S_ISLNK(status.st_mode):
        return (*known, os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return known
    with open(path, "rb") as file:
        return (*known, hashlib.file_digest(file, "sha1").digest())


def pack(archive: Path, paths: Iterable[str], gone: Iterable[str], epoch: bool) -> None:
    """A layer's archive of these paths and the directories above them; `epoch`: without the times."""
    seen: set[str] = set()

    def add(tar: tarfile.TarFile, path: str) -> None:
        if path in seen or path == "/" or not os.path.lexists(path) or stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        seen.add(path)
        add(tar, os.path.dirname(path))
        member = tar.gettarinfo(path, path.lstrip("/"))
        member.mtime = 0 if epoch else member.mtime
        if member.isfile():
            with open(path, "rb") as file:
                tar.addfile(member, file)
        else:
            tar.addfile(member)

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(gone):
            if os.path.isdir(os.path.dirname(path)):
                add(tar, os.path.dirname(path))
                tar.addfile(tarfile.TarInfo(os.path.join(os.path.dirname(path), WHITEOUT + os.path.basename(path)).lstrip("/")))
        for path in sorted(paths):
            add(tar, path)
