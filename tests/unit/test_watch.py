"""The watcher on a real file system, with the editors' ways of saving replayed (as traced from the editors themselves)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory

import pytest

from devloop import watch
from devloop.clients import file_watches
from devloop.deploy.manifests import ManifestSet
from devloop.events import Event
from devloop.roots import Root, outermost
from devloop.watch import Watcher


class Watched:
    """`root` is watched, or what `roots` names instead."""

    def __init__(self, root: Path, ignored: str = "node_modules", roots: Sequence[Root] = ()) -> None:
        self.root = root
        self.batches: SimpleQueue[frozenset[Path]] = SimpleQueue()
        self.events: list[Event] = []
        self.asked: set[Path] = set()
        self.ignored = ignored
        self.watcher = Watcher(roots or [Root(root)], relevant=self.relevant, deliver=self.batches.put, emit=self.events.append)
        self.watcher.start()

    def relevant(self, path: Path) -> bool:
        self.asked.add(path)
        return self.ignored not in path.parts

    def batch(self) -> set[str]:
        return {os.path.relpath(p, self.root) for p in self.batches.get(timeout=10)}

    def until(self, name: str) -> None:
        """What has to be told is told."""
        while name not in self.batch():
            pass

    def quiet(self) -> bool:
        """Nothing came before a marker that is written now."""
        (self.root / "marker").write_text("x")
        return self.batch() == {"marker"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET", 0.3)      # a busy machine may take long from one step of a save to the next
    monkeypatch.setattr(watch, "LONGEST", 60)     # and from the first of many files to the last


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
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
    (d / ".f.swp").write_text("")
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
    (d / "#f#").write_text("ne")
    (d / "f").write_text("new")
    (d / "#f#").unlink()
    (d / ".#f").unlink()


def _rename(d: Path) -> None:
    (d / "tmp").write_text("new")
    (d / "tmp").rename(d / "f")


@pytest.mark.parametrize("save", [_in_place, _vim, _jetbrains, _emacs])
def test_every_way_of_saving_is_one_batch_of_the_file(watched: Watched, save: Callable[[Path], None]) -> None:
    save(watched.root)
    assert watched.batch() == {"f"}
    assert watched.quiet()


def test_a_file_that_takes_anothers_place_is_one_batch_with_both_names(watched: Watched) -> None:
    _rename(watched.root)
    assert watched.batch() == {"tmp", "f"}
    assert watched.quiet()


DRAFTS = [".index.html.swp", ".f.swo", ".swp", "4913", "index.html~", ".#f", "#f#", "f___jb_tmp___", "f___jb_old___"]


@pytest.mark.parametrize("name", DRAFTS)
def test_what_editors_put_beside_a_file_starts_nothing(watched: Watched, name: str) -> None:
    (watched.root / name).write_text("x")
    assert watched.quiet()
    (watched.root / name).write_text("y")
    (watched.root / name).unlink()
    assert watched.quiet()


@pytest.mark.parametrize("name", ["f.swp", ".swcrc", "49130", "~f", "#f", ".env"])
def test_what_is_only_called_alike_counts(watched: Watched, name: str) -> None:
    (watched.root / name).write_text("x")
    assert watched.batch() == {name}


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
    assert watched.batches.get(timeout=10) - {other} == {other / "g"}     # it may be told that it has just come


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
    assert outermost([Root(p / "a" / "b"), Root(p / "a"), Root(p, recursive=False), Root(p / "a", recursive=False)]) == (
        Root(p, recursive=False), Root(p / "a"))


# --- roots that are replaced


@pytest.fixture
def below(tmp_path: Path) -> Iterator[Watched]:
    """`apps/web` of a project, whose own directory is watched for one file."""
    (tmp_path / "apps" / "web" / "sub").mkdir(parents=True)
    result = Watched(tmp_path / "apps" / "web", roots=[Root(tmp_path, recursive=False), Root(tmp_path / "apps" / "web")])
    yield result
    result.watcher.stop()


def _recreated(d: Path) -> None:
    shutil.rmtree(d)
    (d / "sub").mkdir(parents=True)


def _swapped(d: Path) -> None:
    (d.with_name("new") / "sub").mkdir(parents=True)
    d.rename(d.with_name("old"))
    d.with_name("new").rename(d)


def _recreated_with_its_parent(d: Path) -> None:
    shutil.rmtree(d.parent)
    (d / "sub").mkdir(parents=True)


def _swapped_with_its_parent(d: Path) -> None:
    (d.parent.with_name("new") / "web" / "sub").mkdir(parents=True)
    d.parent.rename(d.parent.with_name("old"))
    d.parent.with_name("new").rename(d.parent)


REPLACED = [_recreated, _swapped, _recreated_with_its_parent, _swapped_with_its_parent]


@pytest.mark.parametrize("replace", REPLACED)
def test_a_root_that_is_replaced_is_told_and_watched(below: Watched, replace: Callable[[Path], None]) -> None:
    for _ in range(3):      # a new directory may get the old one's number, or another
        replace(below.root)
        below.until(".")
        (below.root / "sub" / "f").write_text("x")
        below.until("sub/f")
        shutil.rmtree(below.root.with_name("old"), ignore_errors=True)
        shutil.rmtree(below.root.parent.with_name("old"), ignore_errors=True)


def test_a_root_that_goes_is_told_and_noticed_when_it_comes_back(below: Watched) -> None:
    shutil.rmtree(below.root.parent)
    below.until(".")
    below.root.mkdir(parents=True)
    below.until(".")
    (below.root / "f").write_text("x")
    below.until("f")


def test_a_directory_in_a_root_that_is_replaced_is_watched(watched: Watched) -> None:
    for replace in (_recreated, _swapped):
        replace(watched.root / "sub")
        watched.until("sub")
        (watched.root / "sub" / "f").write_text("x")
        watched.until("sub/f")


def test_what_lies_beside_a_root_starts_nothing(below: Watched) -> None:
    (below.root.parent / "notes").write_text("x")
    (below.root.parent / "other").mkdir()
    (below.root.parent / "other" / "f").write_text("x")
    (below.root.parent / "notes").unlink()
    assert below.quiet()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="missing: a tmpfs")
def test_a_root_that_is_replaced_where_files_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watches, "SILENT", {"tmpfs"})
    with TemporaryDirectory(dir="/dev/shm") as base:
        root = Path(base) / "web"
        root.mkdir()
        watched = Watched(root)
        shutil.rmtree(root)
        watched.until(".")
        root.mkdir()
        watched.until(".")
        (root / "f").write_text("x")
        watched.until("f")
        watched.watcher.stop()


# --- links


def test_what_is_behind_a_link_is_told_by_the_links_name(tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / "elsewhere" / name / "sub").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    root = tmp_path / "project" / "web"
    root.symlink_to("../elsewhere/v1")
    watched = Watched(root)
    (root / "sub" / "f").write_text("x")
    assert watched.batch() == {"sub/f"}
    _recreated(tmp_path / "elsewhere" / "v1")
    watched.until(".")
    (tmp_path / "elsewhere" / "v1" / "f").write_text("x")
    watched.until("f")
    root.with_name("next").symlink_to("../elsewhere/v2")        # as a release is switched
    root.with_name("next").rename(root)
    watched.until(".")
    (tmp_path / "elsewhere" / "v1" / "f").write_text("y")
    assert watched.quiet()
    watched.watcher.stop()


@pytest.mark.parametrize("save", [_in_place, _vim, _rename])
def test_a_file_behind_links_is_told_by_its_own_name(tmp_path: Path, save: Callable[[Path], None]) -> None:
    (tmp_path / "shared" / "v1").mkdir(parents=True)
    (tmp_path / "shared" / "v1" / "f").write_text("old")
    (tmp_path / "shared" / "current").symlink_to("v1")
    (tmp_path / "project").mkdir()
    file = tmp_path / "project" / "config.yaml"
    file.symlink_to(tmp_path / "shared" / "current" / "f")
    watched = Watched(tmp_path / "project", roots=[Root(file)])
    (tmp_path / "shared" / "v1" / "beside").write_text("x")
    save(tmp_path / "shared" / "v1")
    assert watched.batch() == {"config.yaml"}
    (tmp_path / "shared" / "v2").mkdir()
    (tmp_path / "shared" / "v2" / "f").write_text("newer")
    (tmp_path / "shared" / "next").symlink_to("v2")
    (tmp_path / "shared" / "next").rename(tmp_path / "shared" / "current")
    watched.until("config.yaml")
    (tmp_path / "shared" / "v2" / "f").write_text("newest")
    watched.until("config.yaml")
    file.unlink()
    watched.until("config.yaml")
    file.write_text("its own")
    watched.until("config.yaml")
    watched.watcher.stop()


def test_links_that_lead_to_themselves_are_looked_after_until_they_do_not(tmp_path: Path) -> None:
    root = tmp_path / "web"
    root.symlink_to("web")
    watched = Watched(root)
    root.unlink()
    root.mkdir()
    watched.until(".")
    (root / "f").write_text("x")
    watched.until("f")
    watched.watcher.stop()


def test_linked_manifests_are_watched_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "shared" / "more").mkdir(parents=True)
    for file in ("shared/config.yaml", "shared/more/a.yaml"):
        (tmp_path / file).write_text("old")
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "plain.yaml").write_text("old")
    (tmp_path / "k8s" / "config.yaml").symlink_to("../shared/config.yaml")
    (tmp_path / "k8s" / "more").symlink_to("../shared/more")
    manifests = ManifestSet(["k8s/*"], tmp_path)
    assert set(manifests.roots) == {tmp_path / "k8s", tmp_path / "k8s" / "config.yaml", tmp_path / "k8s" / "more"}
    watched = Watched(tmp_path / "k8s", roots=[Root(root) for root in manifests.roots])
    for file in ("shared/config.yaml", "shared/more/a.yaml", "shared/more/new.yaml"):
        (tmp_path / file).write_text("new")
    told = watched.batch()
    assert told == {"config.yaml", "more/a.yaml", "more/new.yaml"}
    assert all(manifests.depends_on(tmp_path / "k8s" / name) for name in told)
    watched.watcher.stop()
