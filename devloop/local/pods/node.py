"""What all pods of a session share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from devloop.clients.engine_containers import EngineContainers
from devloop.local.network.network import ROLE
from devloop.local.pods.fields import Facts
from devloop.local.pods.images import Images
from devloop.local.pods.messages import MessageFiles
from devloop.local.pods.owner import POD, POD_NAME
from devloop.local.pods.sandboxes import Sandboxes
from devloop.local.store import Store
from devloop.model import Object

HOST_IP = "127.0.0.1"      # where the node's ports are, as seen from this machine


@dataclass
class Node:
    """`labels`: what everything of this session has. `tools`: an image that is there, for containers that never run."""

    store: Store
    containers: EngineContainers
    network: Sandboxes
    project: str
    labels: Mapping[str, str]
    tools: str
    images: Images = field(init=False)
    messages: MessageFiles = field(init=False)

    def __post_init__(self) -> None:
        self.images = Images(self.containers, self.store)
        self.messages = MessageFiles(self.containers, self.project, self.labels, self.tools)

    @cached_property
    def capacity(self) -> tuple[int, int]:
        return self.containers.capacity()

    @cached_property
    def podman(self) -> bool:
        return self.containers.engine.info().product == "Podman"

    @cached_property
    def api(self) -> tuple[int, int]:
        """The version of the Engine's API."""
        with self.containers.engine.mapped():
            major, _, minor = str(self.containers.engine.connected().api_version).partition(".")
        return int(major), int(minor)

    def facts(self, ip: str) -> Facts:
        return Facts(ip, HOST_IP, lambda: self.capacity)

    def pod_labels(self, pod: Object, role: str) -> dict[str, str]:
        """Of what is made for a pod. `role`: which part of it."""
        meta = pod["metadata"]
        return {**self.labels, POD: meta["uid"], POD_NAME: f"{meta['namespace']}/{meta['name']}", ROLE: role}
