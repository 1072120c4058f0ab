"""A context that the executor clones by itself: no file of this machine is a part of it."""

from __future__ import annotations

import hashlib
import os
import posixpath
from pathlib import Path

from devloop.config.models import Artifact, Git
from devloop.context import BuildContext
from devloop.context.ignore import IgnoreRules
from devloop.context.select import Selection
from devloop.errors import ConfigError

_NOWHERE = Path(os.devnull)


def git_context(artifact: Artifact, git: Git, commit: str, ref: str = "") -> BuildContext:
    """What is at this commit, which the branch or tag with the full name `ref`, or HEAD, leads to.

    Its digest, and with it the tag, follows from the commit and the directory. Raises as `directory` does.
    """
    path = directory(artifact, git)
    place = "\0".join((git.url, commit, path, artifact.docker.dockerfile))
    dockerfile = artifact.docker.dockerfile or "Dockerfile"
    return BuildContext(
        root=_NOWHERE, name=f"{git.url}#{ref}#{commit}", dockerfile=Path(path) / dockerfile, dockerfile_name=dockerfile, files=(),
        needs_buildkit="", instructions=(), size=0, digest=hashlib.sha256(place.encode()).hexdigest(), roots=(), skipped=(), extras=(),
        inputs=frozenset(), selection=Selection(), rules=IgnoreRules())


def directory(artifact: Artifact, git: Git) -> str:
    """The artifact's context in the repository, of which `subPath` is what devloop.yaml's directory is here; empty for all of it.
    Raises `ConfigError`."""
    inside = posixpath.normpath(artifact.context)
    if inside.startswith("/") or inside.split("/")[0] == "..":
        raise ConfigError(f"the build context of {artifact.image}, {artifact.context}, leads out of devloop.yaml's directory, and what is "
                          "cloned from Git has only what is below it.",
                          hint="Have build.kaniko.context.git.subPath name a directory that is above all contexts, and 'context' the way "
                               "from there.")
    path = posixpath.normpath(posixpath.join(git.sub_path, inside))
    return "" if path == "." else path


def fragment(context: BuildContext) -> str:
    """What Kaniko is to check out of a context that `git_context` made: ``REF#COMMIT``, ``#COMMIT`` (below HEAD), or the commit alone.

    The commit alone only where there is no name for it: not every server hands out commits that are asked for by their hash.
    """
    _, ref, commit = context.name.split("#")
    return f"{'' if ref == 'HEAD' else ref}#{commit}" if ref else commit
