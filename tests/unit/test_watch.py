"""The watcher on a real file system, with the editors' ways of saving replayed (as traced from the editors themselves)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory

import pytest

from devloop import watch
from devloop.clients import file_watches
from devloop.events import Event
from devloop.watch import Root, Watcher, _outermost


class Watched:
    def __init__(self, root: Path, ignored: str = "node_modules") -> None:
        self.root = root
        self.batches: SimpleQueue[frozenset[Path]] = SimpleQueue()
        self.events: list[Event] = []
        self.asked: set[Path] = set()
        self.ignored = ignored
        self.watcher = Watcher([Root(root)], relevant=self.relevant, deliver=self.batches.put, emit=self.events.append)
        self.watcher.start()

    def relevant(self, path: Path) -> bool:
        self.asked.add(path)
        return self.ignored not in path.parts

    def batch(self) -> set[str]:
        return {str(p.relative_to(self.root)) for p in self.batches.get(timeout=10)}

    def quiet(self) -> bool:
        """Nothing came before a marker that is written now."""
        (self.root / "marker").write_text("x")
        return self.batch() == {"marker"}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(watch, "QUIET", 0.3)      # a busy machine may take long from one step of a save to the next
    monkeypatch.setattr(watch, "LONGEST", 60)     # and from the first of many files to the last
    (tmp_path / "f").write_text("old")
    (tmp_path / "sub").mkdir()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / ".git").mkdir()
    result = Watched(tmp_path)
    yield result
    result.watcher.stop()


def _in_place(d: Path) -> None:
    (d / "f").write_text("new")


def _vim(d: Path) -> None:
    (d / "4913").write_text("")
    (d / "4913").unlink()
    (d / "f").rename(d / "f~")
    (d / "f").write_text("new")
    (d / "f~").unlink()


def _jetbrains(d: Path) -> None:
    (d / "f___jb_tmp___").write_text("new")
    (d / "f").rename(d / "f___jb_old___")
    (d / "f___jb_tmp___").rename(d / "f")
    (d / "f___jb_old___").unlink()


def _emacs(d: Path) -> None:
    (d / ".#f").symlink_to("nobody@nowhere.1")
    (d / "f").write_text("new")
    (d / ".#f").unlink()


def _rename(d: Path) -> None:
    (d / "tmp").write_text("new")
    (d / "tmp").rename(d / "f")


@pytest.mark.parametrize("save", [_in_place, _vim, _jetbrains, _emacs, _rename])
def test_every_way_of_saving_is_one_batch_with_the_file_in_it(watched: Watched, save: Callable[[Path], None]) -> None:
    save(watched.root)
    assert "f" in watched.batch()
    assert watched.quiet()


def test_many_files_at_once_are_one_batch(watched: Watched) -> None:
    for n in range(500):
        (watched.root / "sub" / str(n)).write_text("x")
    assert len(watched.batch()) == 500
    assert watched.quiet()


def test_files_in_directories_made_just_now_are_seen(watched: Watched) -> None:
    (watched.root / "a" / "b" / "c").mkdir(parents=True)
    (watched.root / "a" / "b" / "c" / "file").write_text("x")
    assert "a/b/c/file" in watched.batch()


def test_a_removed_file_a_renamed_directory_and_a_changed_mode_are_seen(watched: Watched) -> None:
    (watched.root / "sub").rename(watched.root / "dub")
    (watched.root / "f").chmod(0o755)
    assert {"sub", "dub", "f"} <= watched.batch()
    (watched.root / "f").unlink()
    assert watched.batch() == {"f"}


def test_reading_is_no_change(watched: Watched) -> None:
    (watched.root / "f").read_text()
    list(watched.root.iterdir())
    assert watched.quiet()


def test_what_nobody_depends_on_neither_starts_nor_prolongs_a_batch(watched: Watched) -> None:
    (watched.root / "node_modules" / "x").write_text("x")
    (watched.root / ".git" / "index.lock").write_text("x")
    assert watched.quiet()


def test_a_new_root_is_watched_and_the_old_one_no_longer(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    watched.watcher.update([Root(other)])
    _in_place(watched.root)
    (other / "g").write_text("x")
    assert watched.batches.get(timeout=10) == {other / "g"}


def test_an_overflow_makes_everything_dirty(watched: Watched) -> None:
    import logging

    logging.getLogger("watchdog.observers.inotify").warning("Inotify queue overflowed; reconciling recursive watches below %r", "/")
    assert watched.batch() == {"."}


def test_after_stop_nothing_is_delivered(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.watcher.stop()
    (tmp_path / "f").write_text("x")
    with pytest.raises(Empty):
        watched.batches.get(timeout=0.2)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="missing: a tmpfs")
def test_a_file_system_that_tells_nothing_is_looked_at_but_for_what_nobody_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watches, "SILENT", {"tmpfs"})
    with TemporaryDirectory(dir="/dev/shm") as root:
        for name in ("sub", "node_modules", ".git"):
            (Path(root) / name).mkdir()
        watched = Watched(Path(root))
        assert [str(event) for event in watched.events if "(tmpfs)" in str(event)]
        for name in ("node_modules", ".git", "sub"):
            (Path(root) / name / "f").write_text("x")
        assert "sub/f" in watched.batch()
        watched.watcher.stop()
        assert Path(root) / "node_modules" in watched.asked
        assert Path(root) / "node_modules" / "f" not in watched.asked


def test_roots_below_others_are_not_watched_twice() -> None:
    p = Path("/p")
    assert _outermost([Root(p / "a" / "b"), Root(p / "a"), Root(p, recursive=False), Root(p / "a", recursive=False)]) == (
        Root(p, recursive=False), Root(p / "a"))
