"""minikube without its registry: images loaded into its nodes, or built there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.minikube import Minikube, Profile
from devloop.errors import PublishError
from devloop.events import Emit, Notice, StepFinished, StepStarted
from devloop.model import BuiltImage, PublishedImage
from devloop.publish.meter import Meter
from devloop.publish.saved import config_digest, saved


class RunningNodes:
    """The profile's nodes. One that is stopped gets no image, and minikube says nothing about that."""

    def __init__(self, minikube: Minikube) -> None:
        self._minikube = minikube
        self._running: tuple[str, ...] = ()

    def names(self, emit: Emit, cancel: Cancel) -> Sequence[str]:
        """Those that run; asked once, and anew after `forget`. Raises `PublishError` where there are none."""
        if not self._running:
            hosts = self._minikube.hosts(cancel)
            self._running = tuple(name for name, state in hosts.items() if state == "Running")
            for name, state in hosts.items():
                if state != "Running" and self._running:
                    emit(Notice(f"node '{name}' is {state.lower()} and does not get the images", level="warning",
                                hint=f"Start it: minikube node start {name} -p {self._minikube.name}"))
        if not self._running:
            raise PublishError(f"no node of minikube profile '{self._minikube.name}' runs",
                               hint=f"Start it: minikube start -p {self._minikube.name}")
        return self._running

    def forget(self) -> None:
        self._running = ()


class ImageLoad:
    """A `Loader`: ``minikube image load`` of a tar, into all nodes at once."""

    patience = 5.0

    def __init__(self, engine: DockerEngine, minikube: Minikube, profile: Profile, reason: str) -> None:
        self.reason = reason
        self._engine, self._minikube, self._profile = engine, minikube, profile
        self._nodes = RunningNodes(minikube)
        self._configs: Mapping[str, str] = {}      # the ids that runtimes have for the Engine's, where these differ

    def nodes(self, emit: Emit, cancel: Cancel) -> Sequence[str]:
        return self._nodes.names(emit, cancel)

    def lacks(self, node: str, image: BuiltImage, cancel: Cancel) -> str:
        found = self._minikube.image_id(node, self._profile.runtime, image.ref, cancel)
        if found in (image.image_id, self._configs.get(image.image_id)) and found:
            return ""
        return f"it has another image of that name ({found})" if found else "it has no such image"

    def load(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str]:
        self._nodes.forget()      # if it fails, ask anew which nodes run
        with saved(self._engine, image, meter, cancel) as archive:
            self._configs = {**self._configs, image.image_id: config_digest(archive)}
            complaint = self._minikube.load(archive, cancel)
        return dict.fromkeys(nodes, complaint) if complaint else {}

    def hint(self, complaint: str) -> str:
        name = self._minikube.name
        return (f"minikube calls such a load a success; 'minikube logs -p {name}' may tell more. Is there room: minikube ssh -p {name} -- "
                "df -h? The registry addon is faster and surer: publish.minikube.enableRegistryAddon in devloop.yaml.")


class ImageBuild:
    """A `Publisher` for images that ``minikube image build`` made on the nodes: nothing is to be moved, but it is to be proven."""

    def __init__(self, minikube: Minikube, profile: Profile, reason: str) -> None:
        self.reason = reason
        self._minikube, self._profile = minikube, profile
        self._nodes = RunningNodes(minikube)

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        """By name where there are several nodes: each has built it by itself, with an id of its own."""
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        nodes = self._nodes.names(emit, cancel)
        for node in nodes:
            found = self._minikube.image_id(node, self._profile.runtime, image.ref, cancel)
            if found is None or (len(nodes) == 1 and found != image.image_id):
                self._nodes.forget()
                raise PublishError(f"{image.ref} is not on node '{node}' as it was built ({image.image_id}, now: {found or 'none'})",
                                   hint="Something removed or replaced it, or the node was stopped when it was built. Build again.")
        emit(StepFinished("publish", image.artifact, time.monotonic() - started, "built on the nodes", cached=True))
        return PublishedImage(image.artifact, image.ref, local_only=True)
