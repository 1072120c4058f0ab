"""Small workloads on busybox for the tests that need some."""

from __future__ import annotations

from typing import Any

from project import eventually

from devloop.clients.kube import Kube
from devloop.errors import ApiError
from devloop.model import Object, ObjectRef

Json = dict[str, Any]

FOREVER = ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]


def container(*command: str, name: str = "web", **more: Any) -> Json:
    """A container of busybox; without a command it runs for ever."""
    return {"name": name, "image": "busybox:1.36", "imagePullPolicy": "IfNotPresent", "command": list(command) or FOREVER, **more}


def shell(script: str, **more: Any) -> Json:
    return container("sh", "-c", script, **more)


def pod_spec(*containers: Json, **more: Any) -> Json:
    return {"containers": list(containers) or [container()], "terminationGracePeriodSeconds": 0, "dnsPolicy": "Default",
            "automountServiceAccountToken": False, **more}


def workload(kind: str, name: str, spec: Json, **more: Any) -> Object:
    """A Deployment, StatefulSet, DaemonSet or ReplicaSet; `more` goes into its spec."""
    labels = {"app": name}
    if kind == "StatefulSet":
        more = {"serviceName": name, **more}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}, **more}}


def deployment(name: str, *containers: Json, **more: Any) -> Object:
    return workload("Deployment", name, pod_spec(*containers), **more)


def job(name: str, *containers: Json, restart: str = "Never", **more: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
            "spec": {"template": {"spec": pod_spec(*containers, restartPolicy=restart)}, **more}}


def pod(name: str, spec: Json, labels: dict[str, str] | None = None) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def create(kube: Kube, namespace: str, obj: Object) -> ObjectRef:
    resource = kube.resource(obj["apiVersion"], obj["kind"])
    return ObjectRef.of(kube.request("POST", resource.path(namespace), body=obj))


def await_service_account(kube: Kube, namespace: str) -> None:
    """Pods are refused until the default service account is there, before Kubernetes 1.24 until it has its token, too, and until what
    checks pods in the API server has heard of both, which is a moment later: so a pod is what is asked for."""
    path, probe = f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "probe"}, "spec": {"containers": [container()]}}

    def admitted() -> bool:
        try:
            kube.request("POST", path, query={"dryRun": "All"}, body=probe)
        except ApiError as error:
            if error.status != 403 and error.reason != "ServerTimeout":
                raise
            return False
        return True

    eventually(admitted, 60)      # the controller-manager makes it


def change(kube: Kube, ref: ObjectRef, spec: Json) -> None:
    """A merge patch of its spec."""
    kube.request("PATCH", kube.path(ref), body={"spec": spec}, content_type="application/merge-patch+json")
