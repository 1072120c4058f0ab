"""What is remembered of files, and when it is not trusted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from devloop.context.cache import SETTLED, DigestCache, cache_directory


def nothing() -> None:
    """Never called off."""


def digest(cache: DigestCache, path: Path) -> str:
    return cache.of(os.fspath(path.parent)).digest(path.name, path.lstat(), nothing)


def later() -> int:
    """A clock by which everything has settled."""
    return time.time_ns() + 2 * SETTLED


class Counted:
    """How often content is read: the check is called once for every chunk."""

    def __init__(self, cache: DigestCache, path: Path) -> None:
        self.reads = 0
        self.digest = cache.of(os.fspath(path.parent)).digest(path.name, path.lstat(), self._count)

    def _count(self) -> None:
        self.reads += 1


def test_a_settled_file_is_read_once_also_by_the_next_process(tmp_path: Path) -> None:
    file, store = tmp_path / "\udcff", tmp_path / "store/deep"
    file.write_text("one")
    cache = DigestCache(store, later)
    first = Counted(cache, file)
    assert (first.reads, Counted(cache, file).reads) == (1, 0)
    cache.save()
    again = DigestCache(store, later)
    assert (Counted(again, file).reads, digest(again, file)) == (0, first.digest)

    file.write_text("two")   # same size
    os.utime(file, (1, 1))   # the clock may not have ticked since "one"
    changed = Counted(again, file)
    assert (changed.reads, changed.digest != first.digest) == (1, True)


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    os.utime(file, (1, 1))     # the time of change counts as well: mtime can be set
    cache = DigestCache()
    assert (Counted(cache, file).reads, Counted(cache, file).reads) == (1, 1)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null",
    '{"format":1}', '{"format":99,"root":"R","files":{}}', '{"format":1,"root":"R","files":[]}',
                                    '{"format":1,"root":"R","files":{"file":7}}',
    '{"format":1,"root":"R","files":{"file":[1]}}', "\x00\xff"])
def test_a_damaged_store_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    file, store = tmp_path / "context/file", tmp_path / "store"
    file.parent.mkdir()
    file.write_text("one")
    first = DigestCache(store, later)
    expected = digest(first, file)
    first.save()
    (stored,) = store.iterdir()
    stored.write_bytes(damage.replace('"R"', f'"{file.parent}"').encode("latin-1"))
    assert digest(DigestCache(store, later), file) == expected


def test_a_store_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    cache = DigestCache(file / "not a directory", later)
    digest(cache, file)
    cache.save()
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    old, new, store = tmp_path / "old", tmp_path / "new", tmp_path / "store"
    for file in (old, new):
        file.write_text("x")
    cache = DigestCache(store, later)
    digest(cache, old)
    cache.save()
    cache = DigestCache(store, later)
    digest(cache, new)
    cache.save()
    (stored,) = store.iterdir()
    assert '"new"' in stored.read_text()
    assert '"old"' not in stored.read_text()


def test_where_it_is_kept() -> None:
    assert cache_directory({"XDG_CACHE_HOME": "/c"}) == Path("/c/devloop/contexts")
    assert cache_directory({"XDG_CACHE_HOME": "c"}) == Path.home() / ".cache/devloop/contexts"
