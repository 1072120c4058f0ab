"""A context that the executor clones by itself: no file of this machine is a part of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from devloop.config.models import Artifact, Git
from devloop.context import BuildContext
from devloop.context.ignore import IgnoreRules
from devloop.context.select import Selection

_NOWHERE = Path(os.devnull)


def git_context(artifact: Artifact, git: Git, commit: str, ref: str = "") -> BuildContext:
    """What is at this commit, which the branch or tag with the full name `ref`, or HEAD, leads to.

    Its digest, and with it the tag, follows from the commit and the directory.
    """
    place = "\0".join((git.url, commit, git.sub_path, artifact.docker.dockerfile))
    dockerfile = artifact.docker.dockerfile or "Dockerfile"
    return BuildContext(
        root=_NOWHERE, name=f"{git.url}#{ref}#{commit}", dockerfile=Path(git.sub_path) / dockerfile, dockerfile_name=dockerfile, files=(),
        needs_buildkit="", instructions=(), size=0, digest=hashlib.sha256(place.encode()).hexdigest(), roots=(), skipped=(), extras=(),
        inputs=frozenset(), selection=Selection(), rules=IgnoreRules())


def fragment(context: BuildContext) -> str:
    """What Kaniko is to check out of a context that `git_context` made: ``REF#COMMIT``, ``#COMMIT`` (below HEAD), or the commit alone.

    The commit alone only where there is no name for it: not every server hands out commits that are asked for by their hash.
    """
    _, ref, commit = context.name.split("#")
    return f"{'' if ref == 'HEAD' else ref}#{commit}" if ref else commit
