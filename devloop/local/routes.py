"""The API server's paths, and what it says of itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from devloop.clients.kube import Resource
from devloop.local.kinds import KINDS
from devloop.local.refusals import refused
from devloop.model import Object

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0+docker", "platform": "docker"}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

_VERSIONS = tuple(dict.fromkeys(kind.api_version for kind in KINDS))
_BY_PLURAL = {(kind.api_version, kind.plural): kind for kind in KINDS}


@dataclass(frozen=True)
class Route:
    """A path: the collection of a kind (in `namespace`, in all where that is empty), one object of it, or its subresource `sub`."""

    kind: Resource
    namespace: str = ""
    name: str = ""
    sub: str = ""


def route(path: str) -> Route:
    """Raises `ApiError` (404) for a path that leads nowhere."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    api_version = parts[1] if parts[0] == "api" and len(parts) > 1 else "/".join(parts[1:3])
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, sub = (*rest, "", "", "")[:3]
    kind = _BY_PLURAL.get((api_version, plural))
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced) or parts[0] not in ("api", "apis"):
        raise nowhere()
    return Route(kind, namespace, name, sub)


def nowhere() -> Exception:
    return refused(404, "NotFound", "the server could not find the requested resource")


def about(path: str) -> Object | None:
    """What is told at the paths that are no object's; None for others."""
    path = path.rstrip("/")
    if path == "/version":
        return VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [version for version in _VERSIONS if "/" in version]
        return {"apiVersion": "v1", "kind": "APIGroupList", "groups": [
            {"name": version.partition("/")[0], "versions": [{"groupVersion": version, "version": version.partition("/")[2]}]}
            for version in groups]}
    version = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
    if version not in _VERSIONS:
        return None
    listed = [{"name": kind.plural, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["create", "delete", "get", "list", "patch",
                                                                                               "watch"]}
              for kind in KINDS if kind.api_version == version]
    return {"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": version, "resources": listed}
