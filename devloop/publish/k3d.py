"""k3d: images go into its nodes by the Engine, or by its command line where the Engine does not lead to them."""

from __future__ import annotations

from devloop.clients import k3d
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.publish.containers import ContainerNodes, Maker
from devloop.publish.loading import LoadedNodes
from devloop.publish.nodestatus import ReportedNodes

MAKER = Maker("k3d", "k3d.cluster", "k3d.role", ("server", "agent"))


def publisher(engine: DockerEngine, kube: Kube, cluster: str) -> LoadedNodes:
    """For the cluster that k3d calls `cluster`."""
    nodes = ContainerNodes(engine, MAKER, cluster)
    if nodes.usable:
        return LoadedNodes(nodes)
    return LoadedNodes(ReportedNodes(
        engine, kube, lambda archive, cancel: k3d.load(archive, cluster, engine.environ, cancel),
        f"images are loaded into k3d cluster '{cluster}' by 'k3d image import', because this Docker Engine does not lead to its nodes",
        "Is the right docker context chosen? Best is a registry: k3d cluster create --registry-create."))
