"""What the pipeline knows of builders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from devloop.cancel import Cancel
from devloop.config.models import Artifact
from devloop.context import BuildContext
from devloop.events import Emit
from devloop.model import BuiltImage, ImageRef


@dataclass(frozen=True)
class BuildJob:
    """One artifact to build: as configured, what its context holds, the reference to give it, and all its build arguments
    (those of `requires` included)."""

    artifact: Artifact
    context: BuildContext
    ref: ImageRef
    build_args: Mapping[str, str]


class Builder(Protocol):
    """Makes images. Safe from several threads at once."""

    def find(self, ref: ImageRef, same_content: str) -> tuple[ImageRef, str] | None:
        """The image that has this reference already, or another tag that matches `same_content` (a glob): its reference and id.
        Raises `UnreachableError`."""
        ...

    def check(self, job: BuildJob) -> None:
        """Raises `BuildError` where this job could not even start; its `ref` is not known yet."""
        ...

    def build(self, job: BuildJob, emit: Emit, cancel: Cancel) -> BuiltImage:
        """Build and tag. Emits `StepOutput` and `StepProgress`; raises `BuildError`, `UnreachableError` or `Cancelled`."""
        ...

    def prune(self, artifact: str) -> None:
        """Remove old images of the artifact that this builder made and nothing uses. Never fails."""
        ...
