"""Which commit a name means in a repository elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devloop.cancel import Cancel
from devloop.clients.git import remote_commit
from devloop.errors import ConfigError

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture
def origin(tmp_path: Path) -> tuple[str, list[str]]:
    """A repository of two commits on main, the first with the tags v1 (annotated) and light; and the branch release/1 on it."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example"]
    commits = []
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    for text in ("one", "two"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", text], check=True)
        commits.append(subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip())
    for more in (["tag", "-a", "v1", "-m", "v1", commits[0]], ["tag", "light", commits[0]], ["branch", "release/1", commits[0]]):
        subprocess.run([*git, *more], check=True)
    return str(tmp_path), commits


@pytest.mark.parametrize(("ref", "which", "name"), [
    ("", 1, "HEAD"), ("main", 1, "refs/heads/main"), ("v1", 0, "refs/tags/v1"), ("light", 0, "refs/tags/light"),
    ("release/1", 0, "refs/heads/release/1"), ("refs/heads/main", 1, "refs/heads/main"),
])
def test_a_name_is_a_commit(origin: tuple[str, list[str]], ref: str, which: int, name: str) -> None:
    url, commits = origin
    assert remote_commit(url, ref, ENVIRON, Cancel()) == (commits[which], name)


def test_a_commit_is_itself_and_nobody_is_asked() -> None:
    assert remote_commit("https://nowhere.invalid/x.git", "c0ffee" * 6 + "c0ff", {}, Cancel()) == ("c0ffee" * 6 + "c0ff", "")


def test_what_is_not_there_is_told(origin: tuple[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no branch, tag or commit 'none'"):
        remote_commit(origin[0], "none", ENVIRON, Cancel())
    with pytest.raises(ConfigError, match=r"git cannot tell what main is in .*/none"):
        remote_commit(str(tmp_path / "none"), "main", ENVIRON, Cancel())
    with pytest.raises(ConfigError, match="git cannot be run"):
        remote_commit(origin[0], "main", {"PATH": str(tmp_path)}, Cancel())
