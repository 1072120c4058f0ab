"""From an artifact's configuration to the files it is built from."""

from __future__ import annotations

from pathlib import Path

from devloop.cancel import Cancel
from devloop.config.models import Artifact
from devloop.context.cache import DigestCache
from devloop.context.model import BuildContext


def analyse(artifact: Artifact, base: Path, cache: DigestCache, *, buildkit: bool = False, cancel: Cancel | None = None) -> BuildContext:
    """Which files `artifact` is built from; `base` is devloop.yaml's directory.

    `buildkit`: it will be built by BuildKit whatever the Dockerfile needs (the classic builder runs stages BuildKit skips).
    Raises `ConfigError` (no context, no Dockerfile, no such target, bad ignore file), `BuildError` (a COPY source that is not
    there or cannot be read), `Cancelled`.
    """
    raise NotImplementedError


def watch_roots(artifact: Artifact, base: Path) -> tuple[Path, ...]:
    """The directories a fix for a failed `analyse` would come from: the context, and the Dockerfile's if that is elsewhere."""
    raise NotImplementedError
