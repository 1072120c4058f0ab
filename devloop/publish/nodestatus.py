"""What the nodes themselves report of their images, where nothing else can look into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.errors import PublishError
from devloop.events import Emit, Notice
from devloop.model import BuiltImage, Object
from devloop.publish.meter import Meter
from devloop.publish.saved import saved

REPORTED = 50    # images that a kubelet reports, the largest ones (nodeStatusMaxImages)

Load = Callable[[Path, Cancel], str]
"""Loads an image's tar into every node; what was complained about, empty: nothing."""


class ReportedNodes:
    """A `Loader` for nodes that only the tool that made them can reach. Kubelets report new images within a minute."""

    patience = 90.0

    def __init__(self, engine: DockerEngine, kube: Kube, load: Load, reason: str, hint: str) -> None:
        self._engine, self._kube, self._load, self._hint = engine, kube, load, hint
        self.reason = reason
        self._told: set[str] = set()
        self._loaded: frozenset[tuple[str, str]] = frozenset()

    def nodes(self, emit: Emit, cancel: Cancel) -> Sequence[str]:
        listed = self._kube.request("GET", "/api/v1/nodes", cancel=cancel)["items"]
        running = [node["metadata"]["name"] for node in listed if ready(node)]
        if not running:
            raise PublishError(f"no node of the cluster of context '{self._kube.context}' is ready", hint="See 'kubectl get nodes'.")
        for node in listed:
            name = node["metadata"]["name"]
            if name not in self._told and (why := self._unsure(node)):
                self._told.add(name)
                emit(Notice(why, level="warning"))
        return running

    def lacks(self, node: str, image: BuiltImage, cancel: Cancel) -> str:
        """By name, which the tag makes unique to the content: ids are not reported."""
        listed = self._kube.request("GET", f"/api/v1/nodes/{node}", cancel=cancel)
        if reports(listed, image) or (full(listed) and (node, image.image_id) in self._loaded):
            return ""
        return "its kubelet does not report it"

    def load(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str]:
        with saved(self._engine, image, meter, cancel) as archive:
            complaint = self._load(archive, cancel)
        if complaint:
            return dict.fromkeys(nodes, complaint)
        self._loaded |= {(node, image.image_id) for node in nodes}
        return {}

    def hint(self, complaint: str) -> str:
        return self._hint

    @staticmethod
    def _unsure(node: Object) -> str:
        name = node["metadata"]["name"]
        if not ready(node):
            return f"node '{name}' is not ready and does not get the images"
        return f"node '{name}' has more images than it reports: whether new ones are there cannot be proven" if full(node) else ""


def ready(node: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions") or ())


def full(node: Object) -> bool:
    """Whether the node may have images that it does not report."""
    return len(node["status"].get("images") or ()) >= REPORTED


def reports(node: Object, image: BuiltImage) -> bool:
    wanted = {str(image.ref), f"{image.ref.canonical}:{image.ref.tag}"}
    return any(not wanted.isdisjoint(each.get("names") or ()) for each in node["status"].get("images") or ())
