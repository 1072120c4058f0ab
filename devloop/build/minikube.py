"""Builds on minikube's nodes, by ``minikube image build``: for those whose own machine shall build nothing."""

from __future__ import annotations

import re
import tempfile
from collections import deque
from pathlib import Path

from devloop.build.builder import BuildJob
from devloop.build.failure import failure
from devloop.build.output import TAIL, Progress, shown
from devloop.cancel import Cancel
from devloop.clients.minikube import Minikube, Profile
from devloop.errors import BuildError
from devloop.events import Emit, StepOutput
from devloop.model import BuiltImage, ImageRef


class MinikubeBuilder:
    """A `Builder`. minikube ends with 0 for builds that failed, too (minikube #16576): the image itself proves that it was built."""

    def __init__(self, minikube: Minikube, profile: Profile) -> None:
        self._minikube = minikube
        self._profile = profile

    def find(self, ref: ImageRef, same_content: str) -> tuple[ImageRef, str] | None:
        """By the tag alone: nothing tells quickly what other tags a node has."""
        found = self._minikube.image_id(self._profile.nodes[0], self._profile.runtime, ref, Cancel())
        return (ref, found) if found else None

    def check(self, job: BuildJob) -> None:
        # its BuildKit settings do not get through minikube's ssh (minikube #12431)
        if job.context.needs_buildkit and self._profile.runtime != "containerd":
            raise BuildError(f"{job.artifact.image}: the Dockerfile needs BuildKit ({job.context.needs_buildkit}), "
                             f"which 'minikube image build' does not use with the {self._profile.runtime} runtime",
                             hint="Set publish.mode in devloop.yaml to another way, such as auto.")

    def build(self, job: BuildJob, emit: Emit, cancel: Cancel) -> BuiltImage:
        self.check(job)
        progress = Progress(job.artifact.image, emit)
        tail: deque[str] = deque(maxlen=TAIL)

        def heard(line: str) -> None:
            tail.append(shown(line))
            emit(StepOutput("build", job.artifact.image, tail[-1]))

        with tempfile.TemporaryDirectory(prefix="devloop-") as directory:
            archive = Path(directory) / "context.tar"
            with archive.open("wb") as tar:
                for chunk in progress.counted(job.context.tar(), job.context.size):
                    tar.write(chunk)
            code = self._minikube.build(self._arguments(job), archive, heard, cancel)
        found = None if code else self._minikube.image_id(self._profile.nodes[0], self._profile.runtime, job.ref, cancel)
        if found is None:
            step = next((line for line in reversed(tail) if re.match(r"Step \d|(?:\[\d+/\d+\] )?STEP \d", line)), "")
            said = next((line for line in reversed(tail) if line), f"minikube ended with exit code {code}")
            raise failure(job, said, step=step, output=tuple(tail))
        return BuiltImage(job.artifact.image, job.ref, found)

    def prune(self, artifact: str) -> None:
        """The nodes' kubelets remove what nothing uses when their disks fill up."""

    def _arguments(self, job: BuildJob) -> list[str]:
        every = ["--all"] if len(self._profile.nodes) > 1 else []
        options = [f"--build-opt={option}" for option in build_options(job, buildctl=self._profile.runtime == "containerd")]
        return ["--tag", str(job.ref), "--file", job.context.dockerfile_name, *every, *options]


def build_options(job: BuildJob, *, buildctl: bool) -> list[str]:
    """What minikube hands on: to docker and podman each as a flag, to buildctl as an option of its frontend."""
    docker, of, network = job.artifact.docker, ":" if buildctl else "=", "force-network-mode=" if buildctl else "network="
    found = [("target=", docker.target), ("platform=", docker.platform), (network, docker.network),
             *(("cache-from=", image) for image in docker.cache_from),
             *((f"label{of}", f"{key}={value}") for key, value in docker.labels.items()),
             *((f"build-arg{of}", f"{key}={value}") for key, value in job.build_args.items())]
    return [option + value for option, value in found if value]
