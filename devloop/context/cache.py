"""Remembers what files contain, so that only changed ones are read again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from devloop.context.files import open_regular

SETTLED = 2_000_000_000
"""Nanoseconds after its last change from which a file's time stamp is trusted: a second write within the clock's tick leaves no
trace (git calls such an entry racily clean), and the coarsest clocks, of FAT, tick every two seconds."""

_FORMAT = 1


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where digests are kept between runs: ``$XDG_CACHE_HOME/devloop/contexts``, ``~/.cache`` without it. It may be deleted any time."""
    given = environ.get("XDG_CACHE_HOME", "")
    # relative ones are to be ignored, says the specification
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "devloop" / "contexts"


class DigestCache:
    """Content digests by path and stat. In memory, and kept in `directory` (if any) between runs. Safe from several threads.

    `clock` gives the time in nanoseconds since 1970.
    """

    def __init__(self, directory: Path | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        self._directory = directory
        self._clock = clock
        self._roots: dict[str, RootDigests] = {}
        self._lock = threading.Lock()

    def of(self, root: str) -> RootDigests:
        """The digests of the files below the absolute path `root`."""
        with self._lock:
            if root not in self._roots:
                self._roots[root] = RootDigests(root, self._file(root), self._clock)
            return self._roots[root]

    def save(self) -> None:
        """Write what is new to the directory. Never raises: a cache that cannot be written is only slower."""
        with self._lock:
            roots = list(self._roots.values())
        for root in roots:
            root.save()

    def _file(self, root: str) -> Path | None:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        return self._directory / f"{name}.json" if self._directory else None


class RootDigests:
    """The digests of one context's files."""

    def __init__(self, root: str, file: Path | None, clock: Callable[[], int]) -> None:
        self._root = root
        self._file = file
        self._clock = clock
        self._earlier: dict[str, Any] = _read(file, root) if file else {}
        self._now: dict[str, list[int | str]] = {}   # what this process has seen: the rest may be gone
        self._dirty = False

    def digest(self, path: str, status: os.stat_result, check: Callable[[], None]) -> str:
        """The sha256 of the content of the file `path` (relative), whose `lstat` is `status`; `check` may call it off.
        Raises `OSError`."""
        stamp = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._now.get(path) or self._earlier.get(path)
        if isinstance(known, list) and known[:4] == stamp and len(known) == 5:
            self._now[path] = known
            return str(known[4])
        began = self._clock()
        digest = _hash(f"{self._root}/{path}", check)
        if began - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED:
            self._now[path] = [*stamp, digest]
            self._dirty = True
        else:
            self._now.pop(path, None)
            self._earlier.pop(path, None)
        return digest

    def save(self) -> None:
        if self._file is None or not self._dirty:
            return
        self._dirty = False
        text = json.dumps({"format": _FORMAT, "root": self._root, "files": dict(self._now)}, separators=(",", ":"))
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=".new-")
            try:
                with open(descriptor, "w", encoding="ascii") as file:
                    file.write(text)
                os.replace(temporary, self._file)
            except BaseException:
                os.unlink(temporary)
                raise


def _read(file: Path, root: str) -> dict[str, Any]:
    """What an earlier run wrote; nothing where that is missing, damaged or of another format."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or found.get("format") != _FORMAT or found.get("root") != root:
        return {}
    files = found.get("files")
    return files if isinstance(files, dict) else {}


def _hash(path: str, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 17):
            check()
            digest.update(chunk)
    return digest.hexdigest()
