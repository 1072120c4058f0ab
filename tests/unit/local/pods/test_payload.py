from __future__ import annotations

import io
import tarfile
from pathlib import Path

from devloop.local.pods.owner import Owner
from devloop.local.pods.payload import File, Tar, folders


def unpacked(tar: Tar) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar.done())) as found:
        return {f"{n} {entry.name}": entry for n, entry in enumerate(found)}


def test_files_are_laid_out_as_a_kubelet_does() -> None:
    tar = Tar()
    files = {"a/b": File(b"x", 0o400), "c": File(b"", 0o644)}
    tar.files(files, 2, None)
    found = unpacked(tar)
    assert list(found) == ["0 ..2", "1 ..2/a", "2 ..2/a/b", "3 ..2/c", "4 a", "5 c", "6 ..data"]
    assert (found["6 ..data"].linkname, found["4 a"].linkname, found["2 ..2/a/b"].mode) == ("..2", "..data/a", 0o400)


def test_a_change_touches_no_link_that_is_there_and_its_new_ones_come_before_it() -> None:
    tar = Tar()
    tar.files({"a/new": File(b"x", 0o400), "d": File(b"", 0o644)}, 3, None,
              before={"a/b": File(b"x", 0o400), "c": File(b"", 0o644)})
    found = unpacked(tar)
    assert list(found) == ["0 ..3", "1 ..3/a", "2 ..3/a/new", "3 ..3/d", "4 d", "5 ..data", "6 ..2"]
    assert found["6 ..2"].issym()      # in the place of what was there, which goes last


def test_a_group_may_read_what_it_shares() -> None:
    tar = Tar()
    tar.files({"a": File(b"x", 0o400)}, 0, 5)
    entry = unpacked(tar)["1 ..0/a"]
    assert (entry.mode, entry.gid) == (0o440, 5)


def test_folders_come_before_what_is_in_them() -> None:
    assert folders(["a/b", "/a/c/", "d"]) == ["a", "a/b", "a/c", "d"]


def test_a_process_is_the_same_only_where_it_began_at_the_same_time() -> None:
    me = Owner.me()
    assert me.alive
    assert Owner.parse(str(me)) == me
    assert not Owner(me.host, me.pid, "another time").alive or not Path("/proc").exists()
    assert Owner("another machine", 1, "").alive
    assert not Owner.parse(f"{me.host}/nonsense").alive
