"""Small objects for the tests of the local target."""

from __future__ import annotations

from typing import Any

from devloop.clients.kube import SSA, Kube
from devloop.local.kinds import kind_of
from devloop.model import Object


def container(**more: Any) -> Object:
    return {"name": "web", "image": "web:1", **more}


def template(*containers: Object, **spec: Any) -> Object:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers) or [container()], **spec}}


def workload(kind: str, *, pod: Object | None = None, **spec: Any) -> Object:
    """A Deployment, StatefulSet or DaemonSet."""
    more = {"serviceName": "web"} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod or template(), **more, **spec}}


def job(**spec: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once", "namespace": "default"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container()]}}, **spec}}


def thing(kind: str, name: str, api_version: str = "v1", **more: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **more}


def path(obj: Object) -> str:
    return kind_of(obj).path(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def apply(kube: Kube, obj: Object, **query: str | bool) -> Object:
    return kube.request("PATCH", path(obj), body=obj, content_type=SSA, query={"fieldManager": "devloop", **query})
