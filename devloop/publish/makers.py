"""kind and k3d: images go into their nodes by the Engine, or by their own command lines where the Engine does not lead to them."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.clients import k3d, kind
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.publish.containers import ContainerNodes, Maker
from devloop.publish.loading import LoadedNodes
from devloop.publish.nodestatus import ReportedNodes

MAKERS: Mapping[str, Maker] = {maker.tool: maker for maker in (
    Maker("kind", "io.x-k8s.kind.cluster", "io.x-k8s.kind.role", ("control-plane", "worker"), "kind load", kind.load,
          "Where kind uses Podman or nerdctl, say so: KIND_EXPERIMENTAL_PROVIDER=podman. Best is a registry: see publish.registry."),
    Maker("k3d", "k3d.cluster", "k3d.role", ("server", "agent"), "k3d image import", k3d.load,
          "Is the right docker context chosen? Best is a registry: k3d cluster create --registry-create."),
)}


def publisher(tool: str, engine: DockerEngine, kube: Kube, cluster: str) -> LoadedNodes:
    """For the cluster that this tool calls `cluster`."""
    maker = MAKERS[tool]
    nodes = ContainerNodes(engine, maker, cluster)
    if nodes.usable:
        return LoadedNodes(nodes)
    return LoadedNodes(ReportedNodes(
        engine, kube, lambda archive, cancel: maker.load(archive, cluster, engine.environ, cancel),
        f"images are loaded into {nodes} by '{maker.command}', because this Docker Engine does not lead to its nodes", maker.hint))
