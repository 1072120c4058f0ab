"""Which file systems tell of changes, by the kernel's list of mounts (of a WSL 2, and of a Lima with a directory whose name is odd)."""

from __future__ import annotations

from pathlib import Path

import pytest

from devloop.clients.file_watches import exhausted, silent

MOUNTS = r"""
78 66 8:32 / / rw,relatime - ext4 /dev/sdc rw,discard,errors=remount-ro,data=ordered
91 78 0:40 / /mnt/wsl rw,relatime shared:1 - tmpfs none rw
125 78 0:62 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000;symlinkroot=/mnt/,mmap,access=client
126 125 8:48 / /mnt/c/linux rw,relatime - ext4 /dev/sdd rw
127 78 0:63 / /Users/a\040b rw,relatime shared:2 master:3 - virtiofs mount0 rw
128 78 0:64 / /over rw,relatime - 9p D: rw
129 78 8:64 / /over rw,relatime - ext4 /dev/sde rw
""".lstrip()


@pytest.mark.parametrize(("path", "kind"), [
    ("/home/me/shop", ""), ("/mnt/c/Users/me/shop", "9p"), ("/mnt/c", "9p"), ("/mnt/config", ""), ("/mnt/c/linux/shop", ""),
    ("/mnt/wsl/x", ""), ("/Users/a b/shop", "virtiofs"), ("/over/shop", ""),
])
def test_the_mount_that_a_path_is_on_decides(tmp_path: Path, path: str, kind: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert silent(Path(path), tmp_path / "mountinfo") == kind


def test_this_machines_own_files_are_told_of(tmp_path: Path) -> None:
    assert silent(tmp_path) == ""
    assert not exhausted()


def test_a_system_without_such_a_list_has_none_that_is_silent(tmp_path: Path) -> None:
    assert silent(tmp_path, tmp_path / "none") == ""
