"""kind: images go into its nodes by the Engine, or by its command line where the Engine does not lead to them."""

from __future__ import annotations

from devloop.clients import kind
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.publish.containers import ContainerNodes, Maker
from devloop.publish.loading import LoadedNodes
from devloop.publish.nodestatus import ReportedNodes

MAKER = Maker("kind", "io.x-k8s.kind.cluster", "io.x-k8s.kind.role", ("control-plane", "worker"))


def publisher(engine: DockerEngine, kube: Kube, cluster: str) -> LoadedNodes:
    """For the cluster that kind calls `cluster`."""
    nodes = ContainerNodes(engine, MAKER, cluster)
    if nodes.usable:
        return LoadedNodes(nodes)
    return LoadedNodes(ReportedNodes(
        engine, kube, lambda archive, cancel: kind.load(archive, cluster, engine.environ, cancel),
        f"images are loaded into kind cluster '{cluster}' by 'kind load', because this Docker Engine does not lead to its nodes",
        "Where kind uses Podman or nerdctl, say so: KIND_EXPERIMENTAL_PROVIDER=podman. Best is a registry: see publish.registry."))
