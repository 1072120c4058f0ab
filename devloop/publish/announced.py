"""The registry that a local cluster says it has: the ConfigMap ``local-registry-hosting`` in ``kube-public`` (KEP-1755).

https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from devloop.clients.kube import Kube
from devloop.errors import ApiError
from devloop.model import ImageRef

NAMESPACE, NAME = "kube-public", "local-registry-hosting"
KEY = "localRegistryHosting.v1"


@dataclass(frozen=True)
class LocalRegistry:
    """One registry under its three names: this machine's, the nodes' and the pods'. `help`: a URL, or empty."""

    host: str
    from_runtime: str
    from_cluster: str = ""
    help: str = ""


def announced(kube: Kube, namespace: str = NAMESPACE) -> LocalRegistry | None:
    """What the cluster says. None: it says nothing, we may not read it, or it is of use to nobody (it names no host)."""
    try:
        data = kube.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}").get("data") or {}
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise
    return parse(data.get(KEY, ""))


def parse(text: str) -> LocalRegistry | None:
    """The ConfigMap's value. Newer versions of it may have more fields."""
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    said = said if isinstance(said, dict) else {}
    host, from_runtime, from_cluster = (str(said.get(key) or "").rstrip("/") for key in ("host", "hostFromContainerRuntime",
                                                                                        "hostFromClusterNetwork"))
    if not host or not all(_usable(each) for each in (host, from_runtime, from_cluster)):
        return None
    return LocalRegistry(host, from_runtime or host, from_cluster, str(said.get("help") or ""))


def _usable(host: str) -> bool:
    try:
        return not host or bool(ImageRef.parse(f"{host}/image"))
    except ValueError:
        return False
