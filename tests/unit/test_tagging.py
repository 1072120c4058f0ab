"""Tags: what is in them, and that no two contents ever share one."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from devloop.clients import git
from devloop.config.models import TemplateTag
from devloop.errors import ConfigError
from devloop.model import ImageRef
from devloop.tagging import input_digest, same_content, tag

NOW = datetime(2026, 1, 31, 12, 30, 59, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4
SHORT = "0123456789abcdef"


@dataclass(frozen=True)
class Context:
    digest: str


def commit(directory: Path, *, branch: str = "feature/new-page") -> dict[str, str]:
    """A repository with one commit. Returns the environment that keeps it from the user's own settings."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"} | {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for line in (["init", "-q", "-b", branch], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", directory, *line], check=True, env=environ)
    return environ


def tagged(policy: Any, base: Path = Path("/"), environ: dict[str, str] | None = None) -> str:
    made = tag(TemplateTag(template=policy[1:]) if policy[0] == "=" else policy, digest=DIGEST, base=base, environ=environ or {}, now=NOW)
    assert SHORT in made
    assert fnmatchcase(made, same_content(DIGEST))
    assert ImageRef.parse(f"hello-web:{made}").tag == made
    return made


def test_every_input_changes_the_digest() -> None:
    inputs: list[dict[str, Any]] = [
        {}, {"context": Context("2")}, {"build_args": {"A": "1"}}, {"build_args": {"A": "2"}}, {"build_args": {"B": "1"}}, {"target": "x"},
        {"platform": "x"}, {"labels": {"A": "1"}}]
    plain: dict[str, Any] = {"context": Context("1"), "build_args": {}, "target": "", "platform": "", "labels": {}}
    digests = [input_digest(**(plain | changed)) for changed in inputs]
    assert len(set(digests)) == len(inputs)
    assert all(len(digest) == 64 for digest in digests)
    assert input_digest(**(plain | {"build_args": {"A": "1", "B": "2"}})) == input_digest(**(plain | {"build_args": {"B": "2", "A": "1"}}))


@pytest.mark.parametrize(("policy", "expected"), [
    ("inputDigest", SHORT), ("dateTime", f"2026-01-31_12-30-59-{SHORT}"), ("=v1", f"v1-{SHORT}"), ("=v1-{{DIGEST}}-x", f"v1-{SHORT}-x"),
    ("={{ DATE }}", f"2026-01-31_12-30-59-{SHORT}"), ("={{ENV.USER_NAME}}", f"Ann-O-Hara-{SHORT}"), ("=.-/x:y@/", f"x-y-{SHORT}"),
    ("=/", SHORT),
    ("=" + "x" * 300, "x" * 111 + "-" + SHORT), ("=" + "x" * 120 + "{{DIGEST}}", "x" * 111 + "-" + SHORT),
    ("={{DIGEST}}" + "x" * 300, SHORT + "x" * 112),
])
def test_a_tag_names_the_content_and_is_one_a_registry_accepts(policy: str, expected: str) -> None:
    assert tagged(policy, environ={"USER_NAME": "Ann O'Hara"}) == expected


@pytest.mark.parametrize(("template", "message"), [
    ("{{GIT_SHAS}}", r"unknown field \{\{GIT_SHAS\}\}, did you mean 'GIT_SHA'"), ("{{}}", "unknown field"),
    ("{{ENV.NOPE}}", "NOPE, which is not set"),
])
def test_a_template_that_cannot_be_filled_is_a_config_error(template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        tagged("=" + template)
    assert caught.value.hint


def test_commits_and_branches(tmp_path: Path) -> None:
    environ = commit(tmp_path)
    sha = git.state(tmp_path, environ).sha
    assert len(sha) == 12
    assert tagged("gitCommit", tmp_path, environ) == f"{sha}-{SHORT}"
    assert tagged("={{BRANCH}}-{{GIT_SHA}}", tmp_path, environ) == f"feature-new-page-{sha}-{SHORT}"
    (tmp_path / "new").touch()
    assert tagged("gitCommit", tmp_path, environ) == f"{sha}-dirty-{SHORT}"
    subprocess.run(["git", "-C", tmp_path, "checkout", "-q", "--detach"], check=True, env=environ)
    assert tagged("={{BRANCH}}", tmp_path, environ) == f"{sha}-{SHORT}"


def test_what_is_elsewhere_in_the_repository_does_not_make_it_dirty(tmp_path: Path) -> None:
    environ = commit(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "other").touch()
    assert not git.state(tmp_path / "app", environ).dirty


def test_asking_leaves_the_repository_alone(tmp_path: Path) -> None:
    environ = commit(tmp_path)
    (tmp_path / "new").touch()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")}
    git.state(tmp_path, environ)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / ".git").rglob("*")} == before


@pytest.mark.parametrize("policy", ["gitCommit", "={{BRANCH}}", "={{GIT_SHA}}"])
def test_without_a_repository_or_git_the_error_says_what_to_do(tmp_path: Path, policy: str) -> None:
    with pytest.raises(ConfigError, match="not a git repository") as caught:
        tagged(policy, tmp_path, {"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    assert caught.value.hint == "Make it a git repository ('git init', and a commit), or choose 'tag: inputDigest' in devloop.yaml."
    with pytest.raises(ConfigError, match="git cannot be run"):
        tagged(policy, tmp_path, {"PATH": str(tmp_path)})
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with pytest.raises(ConfigError, match="has no commit yet"):
        tagged(policy, tmp_path, {"PATH": "/usr/bin:/bin"})
