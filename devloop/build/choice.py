"""What builds each artifact: a Docker Engine, or Kaniko in the cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

from devloop.build.builder import Builder, BuildJob
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.config.models import Build
from devloop.errors import UnreachableError
from devloop.events import Emit, Notice
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.publisher import Publisher, confirm

Tool = Literal["docker", "kaniko"]


def choose(build: Build, environ: Mapping[str, str], emit: Emit) -> dict[str, Tool]:
    """The tool for each artifact, by its image. An Engine is asked only where ``auto`` is to decide; what it decides is told."""
    wanted = {artifact.image: artifact.builder or build.builder for artifact in build.artifacts}
    found: Tool = _best(build, environ, emit) if "auto" in wanted.values() else "docker"
    return {image: found if tool == "auto" else tool for image, tool in wanted.items()}


def _best(build: Build, environ: Mapping[str, str], emit: Emit) -> Tool:
    engine = DockerEngine(environ)
    try:
        engine.ping()
    except UnreachableError as error:
        if "kaniko" not in build.model_fields_set:      # then Docker's own error is the one to tell
            return "docker"
        emit(Notice(f"images are built in the cluster, by Kaniko: {error.message}"))
        return "kaniko"
    finally:
        engine.close()
    emit(Notice(f"images are built by the Docker Engine at {engine.endpoint}: it answers, and build.builder is 'auto'"))
    return "docker"


class ByArtifact:
    """A `Builder` of builders, each made when it is first needed."""

    def __init__(self, tools: Mapping[str, Tool], makers: Mapping[Tool, Callable[[], Builder]]) -> None:
        self._tools, self._makers = tools, makers

    def find(self, ref: ImageRef, same_content: str) -> tuple[ImageRef, str] | None:
        return self._of(ref.repository).find(ref, same_content)

    def check(self, job: BuildJob) -> None:
        self._of(job.artifact.image).check(job)

    def build(self, job: BuildJob, emit: Emit, cancel: Cancel) -> BuiltImage:
        return self._of(job.artifact.image).build(job, emit, cancel)

    def prune(self, artifact: str) -> None:
        self._of(artifact).prune(artifact)

    def _of(self, image: str) -> Builder:
        return self._makers[self._tools.get(image, "docker")]()


class PublishedByArtifact:
    """A `Publisher` of publishers, each made when it is first needed."""

    def __init__(self, tools: Mapping[str, Tool], makers: Mapping[Tool, Callable[[], Publisher]]) -> None:
        self._tools, self._makers = tools, makers

    @property
    def reason(self) -> str:
        return "; ".join(self._makers[tool]().reason for tool in sorted(set(self._tools.values())))

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        return self._makers[self._tools.get(image.artifact, "docker")]().publish(image, emit, cancel)

    def confirm(self, artifacts: Collection[str], emit: Emit, cancel: Cancel) -> None:
        for tool, maker in self._makers.items():
            if its := [artifact for artifact in artifacts if self._tools.get(artifact, "docker") == tool]:
                confirm(maker(), its, emit, cancel)
