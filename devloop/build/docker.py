"""Builds with the Docker Engine: by its classic builder, or by BuildKit where the Dockerfile or devloop.yaml asks for it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Literal

from devloop.build import buildkit, classic
from devloop.build.builder import BuildJob
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.errors import BuildError, DevloopError, UnreachableError
from devloop.events import Emit
from devloop.model import BuiltImage, ImageRef

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Made:
    """What one build left in the Engine: the image, and its stages' images, which no tag holds."""

    ref: ImageRef
    stages: frozenset[str]


class DockerBuilder:
    """A `Builder`. It also removes what it built itself, once that is superseded."""

    def __init__(self, engine: DockerEngine, choice: Literal["auto", "classic", "buildkit"] = "auto") -> None:
        """`choice`: devloop.yaml's ``build.engine``."""
        self._engine = engine
        self._choice = choice
        self._product = ""
        self._lock = threading.Lock()
        self._made: dict[str, list[_Made]] = {}   # by artifact, the one used last at the end
        self._own: set[str] = set()               # stages' images that were not in the Engine's cache already

    def find(self, ref: ImageRef, same_content: str) -> tuple[ImageRef, str] | None:
        for candidate in (ref, None):     # the second question is asked only where a tag of another time or commit could be there
            found = candidate or self._engine.tagged(ref.repository, same_content)
            if found and (image := self._engine.image_id(found)):
                self._used(found)
                return found, image
        return None

    def check(self, job: BuildJob) -> None:
        """Raises `BuildError` where this job could not even start: it needs BuildKit, and there is none or it is not wanted."""
        if self._buildkit(job):
            buildkit.plugin(self._engine, job)
        elif self._choice == "buildkit":
            raise BuildError(f"{job.artifact.image}: build.engine is 'buildkit', but the Engine here is Podman, which has none",
                             hint="Remove 'engine: buildkit' from devloop.yaml: Podman knows most of what BuildKit adds to Dockerfiles.")
        elif self._choice == "classic" and job.context.needs_buildkit and not self._podman:
            raise BuildError(f"{job.artifact.image}: the Dockerfile needs BuildKit ({job.context.needs_buildkit}), "
                             "but build.engine is 'classic'",
                             hint="Remove 'engine: classic' from devloop.yaml, or what needs BuildKit from the Dockerfile.")

    def build(self, job: BuildJob, emit: Emit, cancel: Cancel) -> BuiltImage:
        self.check(job)
        builder = buildkit.build if self._buildkit(job) else classic.build
        stages = builder(self._engine, job, emit, cancel)
        image = self._engine.image_id(job.ref)
        if image is None:
            raise BuildError(f"{job.artifact.image}: the build succeeded, but the Docker Engine at {self._engine.endpoint} "
                             f"has no image {job.ref}",
                             hint="Does the docker buildx builder in use belong to another Engine? See 'docker buildx ls'.")
        with self._lock:
            self._own |= {stage for stage, new in stages.items() if new}
            self._made.setdefault(job.artifact.image, []).append(_Made(job.ref, frozenset(stages)))
        return BuiltImage(job.artifact.image, job.ref, image)

    def prune(self, artifact: str, keep: int = 3) -> None:
        """Remove the images of `artifact` that this builder made, except the `keep` used last and those that containers use.

        Only what it knows to be its own making: a label would make that knowledge last, and costs the classic builder a step of
        50 ms per build. Never fails: an image that stays is only a nuisance.
        """
        with self._lock:
            made = self._made.get(artifact, [])
            old, self._made[artifact] = made[:-keep], made[-keep:]
        used = {stage for one in made[-keep:] for stage in one.stages}
        for one in old:
            try:
                if self._engine.remove_tag(one.ref):
                    for stage in one.stages & self._own - used:
                        self._engine.remove_untagged(stage)
                    continue
            except DevloopError as error:
                log.info("old image %s stays: %s", one.ref, error)
            with self._lock:
                self._made[artifact].insert(0, one)

    def _buildkit(self, job: BuildJob) -> bool:
        wanted = self._choice == "buildkit" or (self._choice == "auto" and bool(job.context.needs_buildkit))
        return wanted and not self._podman

    @property
    def _podman(self) -> bool:
        """Podman answers as an Engine does, and builds with Buildah: the API for classic builds is its only one."""
        try:
            self._product = self._product or self._engine.info().product
        except UnreachableError:      # who needs it now will say so
            return False
        return self._product == "Podman"

    def _used(self, ref: ImageRef) -> None:
        """A version that came back (an undone edit) is as good as new."""
        with self._lock:
            for made in self._made.values():
                made.sort(key=lambda one: one.ref == ref)
