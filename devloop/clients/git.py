"""What git says of a directory, for tags; and of a repository elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.process import capture
from devloop.errors import ConfigError

ABBREVIATED = 12   # what git itself comes to in a big repository; its own choice would change as the repository grows


@dataclass(frozen=True)
class GitState:
    """`sha` abbreviated; `branch` empty where HEAD is detached; `dirty`: something below the directory is not committed."""

    sha: str
    branch: str
    dirty: bool


def state(directory: Path, environ: Mapping[str, str], cancel: Cancel | None = None) -> GitState:
    """Raises `ConfigError` where there is no git, no repository or no commit yet."""
    # one process for all three; no optional locks, because a refreshed index would disturb a git that works beside us
    argv = ["git", "-C", str(directory), "status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--", "."]
    try:
        done = capture(argv, environ={**environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}, cancel=cancel or Cancel())
    except OSError as error:
        raise _unusable(f"git cannot be run ({(error.strerror or str(error)).lower()})", "Install git") from error
    if done.code:
        said = done.errors.strip().removeprefix("fatal: ").partition("\n")[0]
        missing = "not a git repository" in said
        raise _unusable(f"git cannot tell the state of {directory}: {said}",
                        "Make it a git repository ('git init', and a commit)" if missing else "See 'git status' there")
    head = dict(line[2:].partition(" ")[::2] for line in done.output.splitlines() if line.startswith("# branch."))
    sha, branch = head.get("branch.oid", "(initial)"), head.get("branch.head", "(detached)")
    if sha == "(initial)":
        raise _unusable(f"the git repository of {directory} has no commit yet", "Commit something")
    dirty = any(not line.startswith("#") for line in done.output.splitlines())
    return GitState(sha[:ABBREVIATED], "" if branch == "(detached)" else branch, dirty)


def remote_commit(url: str, ref: str, environ: Mapping[str, str], cancel: Cancel) -> tuple[str, str]:
    """The commit that a branch, a tag, HEAD (empty) or a full commit names in the repository at `url`; and the full name of that branch or
    tag, or HEAD; empty for commits.

    Raises `ConfigError`, `Cancelled`.
    """
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        return ref, ""
    # a tag's own object is no commit: what it points to is listed behind it, as ref^{}
    wanted = [ref, f"{ref}^{{}}"] if ref else ["HEAD"]
    try:
        done = capture(["git", "ls-remote", "--quiet", url, *wanted], cancel=cancel,
                       environ={**environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"})
    except OSError as error:
        raise ConfigError(f"git cannot be run ({(error.strerror or str(error)).lower()}), and it has to tell which commit of {url} "
                          "is to be built.", hint="Install git, or write the commit into build.kaniko.context.git.ref.") from error
    if done.code:
        said = done.errors.strip().removeprefix("fatal: ").partition("\n")[0]
        raise ConfigError(f"git cannot tell what {ref or 'HEAD'} is in {url}: {said}",
                          hint="Is build.kaniko.context.git.url right, and does 'git ls-remote' get in without being asked for a password? "
                               "A commit in ref asks nobody.")
    found = {name: commit for commit, name in (line.split("\t") for line in done.output.splitlines())}
    for name in (f"refs/tags/{ref}^{{}}", f"{ref}^{{}}", f"refs/heads/{ref}", f"refs/tags/{ref}", ref or "HEAD"):
        if name in found:
            return found[name], name.removesuffix("^{}")
    raise ConfigError(f"{url} has no branch, tag or commit '{ref}'.", hint="Correct build.kaniko.context.git.ref in devloop.yaml.")


def _unusable(what: str, remedy: str) -> ConfigError:
    return ConfigError(f"the image tag needs git, but {what}.", hint=f"{remedy}, or choose 'tag: inputDigest' in devloop.yaml.")
