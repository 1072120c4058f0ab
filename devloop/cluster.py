"""Which cluster is this, and may we touch it? Answered from the kubeconfig alone, before anything is sent.

A name proves nothing: a context can be called ``kind-prod``. What counts is where the API server is. On loopback it is this
machine's; at a private address it is local only where the tool that made the cluster left its own marks in the entry.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from devloop.errors import UsageError

if TYPE_CHECKING:
    from devloop.clients.kube import Kube

Kind = Literal["kind", "minikube", "k3d", "docker-desktop", "rancher-desktop", "colima", "orbstack", "microk8s", "loopback", "remote",
               "in-cluster", "docker"]
Place = Literal["loopback", "private", "elsewhere"]

_HERE = re.compile(r"localhost|.+\.localhost|(?:kubernetes|host|gateway)\.docker\.internal|host\.(?:k3d|orb|lima)\.internal|"
                   r"k8s\.orb\.local")
"""Host names that lead to this machine (from a container on it, too) without asking any DNS server."""

_CLUSTER_NAMES: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("kind", re.compile(r"kind-(?P<name>.+)|(?P<old>.+)@kind")),
    ("k3d", re.compile(r"k3d-(?P<name>.+)")),
    ("docker-desktop", re.compile(r"docker-desktop|docker-for-desktop(?:-cluster)?")),
    ("rancher-desktop", re.compile(r"rancher-desktop")),
    ("colima", re.compile(r"colima(?:-(?P<name>.+))?")),
    ("orbstack", re.compile(r"orbstack")),
    ("microk8s", re.compile(r"microk8s(?:-cluster)?")),
)
"""How the tools name the cluster in a kubeconfig. Renaming a context does not change that."""

_PRIVATE_IS_LOCAL: frozenset[Kind] = frozenset({"kind", "k3d", "minikube", "microk8s"})
"""Their API servers may have the address of a container or a virtual machine; the others' are on loopback."""


@dataclass(frozen=True)
class Cluster:
    """What the kubeconfig says about a cluster. `name` is the tool's own for it (kind's cluster, minikube's profile),
    `reason` tells in a few words why it counts as `local` or not."""

    kind: Kind
    name: str
    local: bool
    reason: str
    context: str
    server: str


def identify(kube: Kube) -> Cluster:
    """The cluster of this kubeconfig context; nothing is asked over the network."""
    def found(kind: Kind, name: str, local: bool, reason: str) -> Cluster:
        return Cluster(kind, name, local, reason, kube.context, kube.server)

    if kube.in_cluster:
        return found("in-cluster", "", False, "devloop runs in this cluster")
    kind, name = _made_by(kube)
    host = (urlsplit(kube.server).hostname or "").lower()
    if proxy := kube.cluster_entry.get("proxy-url"):
        return found("remote", name, False, f"it is reached through the proxy {_plain(proxy)}")
    tunnelled = str(kube.cluster_entry.get("tls-server-name") or "")
    if tunnelled and place(tunnelled) != "loopback":
        return found("remote", name, False, f"its certificate is expected to be {tunnelled}'s, so {host} is a tunnel to it")
    where = _container(host, kind, name) or place(host)
    if where == "loopback":
        return found(kind or "loopback", name, True, f"a local {kind} cluster" if kind else f"its API server is on this machine ({host})")
    if where == "private" and kind in _PRIVATE_IS_LOCAL:
        return found(kind, name, True, f"a local {kind} cluster")
    called = f"it is called like a {kind} cluster, but " if kind else ""
    return found("remote", name, False, f"{called}its API server {host} is not on this machine")


def guard(cluster: Cluster, *, command: str, named_in_config: bool, named_by_flag: bool) -> str:
    """Why `command` may touch this cluster. Raises `UsageError` where nothing says so: nobody deploys to production by accident."""
    if cluster.local or cluster.kind == "in-cluster":
        return cluster.reason
    if named_by_flag:
        return f"context '{cluster.context}' was chosen by --kube-context"
    if named_in_config:
        return f"context '{cluster.context}' is named in devloop.yaml"
    raise UsageError(
        f"devloop {command} does not touch the cluster of context '{cluster.context}' ({cluster.server}) by itself, "
        f"because it is not known to be local: {cluster.reason}",
        hint=f"If you mean it: devloop {command} --kube-context {cluster.context}, or in devloop.yaml: "
             f"deploy: {{kubeContext: {cluster.context}}}. Else choose a local one: kubectl config use-context NAME.")


def place(host: str) -> Place:
    """Where a host name or address is, as far as it says so itself."""
    if _HERE.fullmatch(host):
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "elsewhere"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:      # k3d writes 0.0.0.0
        return "loopback"
    return "private" if address.is_private or address.is_link_local else "elsewhere"


def _made_by(kube: Kube) -> tuple[Kind | None, str]:
    """The tool that made the cluster, by its marks in the kubeconfig, and its name for the cluster."""
    name = str(kube.context_entry.get("cluster") or "")
    for extension in kube.cluster_entry.get("extensions") or ():
        if (extension.get("extension") or {}).get("provider") == "minikube.sigs.k8s.io":
            return "minikube", name
    authority = PurePath(str(kube.cluster_entry.get("certificate-authority") or "").replace("\\", "/"))
    if ".minikube" in authority.parts:                     # old versions wrote no extension
        return "minikube", name
    for kind, pattern in _CLUSTER_NAMES:
        if match := pattern.fullmatch(name):
            return kind, next((g for g in match.groups() if g), name)
    return None, name


def _container(host: str, kind: Kind | None, name: str) -> Place | None:
    """kind's and k3d's own names for their server's container: for those who are on its Docker network."""
    own = {"kind": (f"{name}-control-plane", f"{name}-external-load-balancer"), "k3d": (f"k3d-{name}-serverlb", f"k3d-{name}-server-0")}
    return "private" if kind and host in own.get(kind, ()) else None


def _plain(proxy: object) -> str:
    """A proxy's URL without the password that may be in it."""
    parts = urlsplit(str(proxy))
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
