"""No publishing at all: the cluster's nodes run containers with the very Engine that built the image."""

from __future__ import annotations

import threading
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine, EngineInfo
from devloop.clients.kube import Kube
from devloop.errors import ApiError, PublishError
from devloop.events import Emit
from devloop.model import BuiltImage, Object, PublishedImage
from devloop.publish.built import check_built

ONE_MACHINE = ("docker-desktop", "rancher-desktop", "colima", "orbstack")
"""Clusters in a virtual machine that holds a single Engine: if the kernel is the same, the Engine is, too."""


class SharedEngine:
    """A `Publisher` for clusters whose kubelets use our Engine. That is proven for every node, before the first image."""

    def __init__(self, engine: DockerEngine, kube: Kube, kind: str, *, why: str = "") -> None:
        """`kind`: the cluster's, as `cluster.identify` tells it; `why`: what the reason begins with."""
        self._engine = engine
        self._kube = kube
        self._kind = kind
        self._why = why
        self._lock = threading.Lock()
        self._proven = False

    @property
    def reason(self) -> str:
        return f"{self._why}the cluster's nodes use the Docker Engine that builds ({self._engine.endpoint.address}): nothing to transfer"

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        self.prove()
        cancel.check()
        check_built(self._engine, image)
        return PublishedImage(image.artifact, image.ref, local_only=True)

    def prove(self) -> None:
        """Raises `PublishError` for a node that has other images than our Engine. Asked once."""
        with self._lock:
            if not self._proven:
                self._prove()
                self._proven = True

    def _prove(self) -> None:
        try:
            nodes = self._kube.get("/api/v1/nodes")["items"]
        except ApiError as error:
            raise PublishError(f"whether this cluster uses the Docker Engine at {self._engine.endpoint} cannot be told: {error.message}",
                               hint="devloop must be allowed to list the cluster's nodes.") from error
        info = self._engine.info()
        for node in nodes:
            if why := difference(node, info, self._kind, here=this_machine() if self._engine.endpoint.local else {}):
                raise PublishError(f"images built here do not reach this cluster: node '{node['metadata']['name']}' {why} "
                                   f"(the images are in the Docker Engine at {self._engine.endpoint})", hint=self._hint())

    def _hint(self) -> str:
        if self._kind == "minikube":
            return "Build with minikube's own Docker Engine: eval $(minikube docker-env). It needs one node, and minikube's docker runtime."
        return ("The nodes must use the Docker Engine that builds, as with Docker Desktop, Rancher Desktop (dockerd), OrbStack, colima "
                "(docker runtime), or minikube after eval $(minikube docker-env). Is the right docker context chosen?")


def difference(node: Object, engine: EngineInfo, kind: str, here: dict[str, str]) -> str:
    """Why this node does not use this Engine; empty where it does.

    `here`: this machine's ``bootID`` and ``machineID``, as far as known, where the Engine listens on a socket of it. The boot ID
    alone proves nothing: a node that is itself a container, as minikube's and kind's, has this machine's, but its own images.
    """
    info = node["status"]["nodeInfo"]
    runtime = info["containerRuntimeVersion"]
    if not runtime.startswith("docker://"):
        return f"runs containers with {runtime}"
    if info["kernelVersion"] != engine.kernel:
        return f"is another machine than the Engine's (kernel {info['kernelVersion']}, the Engine's has {engine.kernel})"
    names = (node["metadata"]["name"], (node["metadata"].get("labels") or {}).get("kubernetes.io/hostname"))
    same = bool(here) and all(info.get(key) == value for key, value in here.items())
    if same or engine.name in names or kind in ONE_MACHINE:
        return ""
    return f"has a Docker Engine of its own (the Engine here is that of '{engine.name}')"


def this_machine(root: Path = Path("/")) -> dict[str, str]:
    """This machine's identity as a kubelet on it reports it; empty where it has none."""
    files = {"bootID": ["proc/sys/kernel/random/boot_id"], "machineID": ["etc/machine-id", "var/lib/dbus/machine-id"]}
    found = {key: next((file.read_text().strip() for name in names if (file := root / name).is_file()), "") for key, names in files.items()}
    return found if all(found.values()) else {}
