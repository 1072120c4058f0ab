from __future__ import annotations

import io
import tarfile
from pathlib import Path

from devloop.local.pods.owner import Owner
from devloop.local.pods.payload import File, Tar, folders


def unpacked(tar: Tar) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar.done())) as found:
        return {f"{n} {entry.name}": entry for n, entry in enumerate(found)}


def test_files_are_laid_out_as_a_kubelet_does_and_change_at_once() -> None:
    tar = Tar()
    tar.files("v", {"a/b": File(b"x", 0o400), "c": File(b"", 0o644)}, 3, None)
    found = unpacked(tar)
    assert list(found) == ["0 v/..1", "1 v/..1", "2 v/..1/a", "3 v/..1/a/b", "4 v/..1/c", "5 v/..data", "6 v/a", "7 v/c"]
    assert found["0 v/..1"].issym()      # first whatever was there goes
    assert (found["5 v/..data"].linkname, found["6 v/a"].linkname, found["3 v/..1/a/b"].mode) == ("..1", "..data/a", 0o400)


def test_a_group_may_read_what_it_shares() -> None:
    tar = Tar()
    tar.files("v", {"a": File(b"x", 0o400)}, 0, 5)
    entry = unpacked(tar)["2 v/..0/a"]
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
