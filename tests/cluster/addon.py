"""minikube's registry addon as minikube deploys it, but with images made here of Debian's programs: a registry without a volume, its
Service (80 to 5000) and, on each node, a proxy to that at port 5000."""

from __future__ import annotations

import fcntl
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from project import eventually

from devloop.clients.kube import Kube
from devloop.errors import ApiError
from devloop.model import Object

NAMESPACE = "kube-system"
REGISTRY, PROXY = "devloop-test-addon/registry:1", "devloop-test-addon/proxy:1"
_LABELS = {"kubernetes.io/minikube-addons": "registry"}
_CONFIG = """version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
"""


def _make_images(api: docker.APIClient) -> None:
    _make(api, REGISTRY, "docker-registry", {"etc/config.yml": _CONFIG.encode()})
    _make(api, PROXY, "socat", {})


def _make(api: docker.APIClient, tag: str, name: str, files: dict[str, bytes]) -> None:
    program = shutil.which(name)
    if not program:
        pytest.skip(f"missing: {name} (Debian's package of that name)")
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout)
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for path in (program, *libraries):
            tar.add(Path(path).resolve(), f"root{path}")
        for path, data in {**{f"root/{p}": d for p, d in files.items()}, "Dockerfile": b"FROM busybox:1.36\nCOPY root /\n"}.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for message in api.build(fileobj=io.BytesIO(context.getvalue()), custom_context=True, tag=tag, rm=True, decode=True):
        assert "error" not in message, message


def objects() -> list[Object]:
    registry = {"name": "registry", "image": REGISTRY, "imagePullPolicy": "Never",
                "command": ["docker-registry", "serve", "/etc/config.yml"], "ports": [{"containerPort": 5000, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/v2/", "port": 5000}, "periodSeconds": 1}}
    proxy = {"name": "registry-proxy", "image": PROXY, "imagePullPolicy": "Never",
             "command": ["sh", "-c", "exec socat TCP-LISTEN:5000,fork,reuseaddr TCP:$REGISTRY_SERVICE_HOST:80"],
             "ports": [{"name": "registry", "containerPort": 5000, "hostPort": 5000}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "registry", "labels": _LABELS},
         "spec": {"selector": {"actual-registry": "true", **_LABELS}, "type": "ClusterIP",
                  "ports": [{"name": "http", "port": 80, "targetPort": 5000}, {"name": "https", "port": 443, "targetPort": 443}]}},
        _workload("Deployment", "registry", {"actual-registry": "true"}, registry, replicas=1),
        _workload("DaemonSet", "registry-proxy", {"registry-proxy": "true"}, proxy),
    ]


def _workload(kind: str, name: str, labels: dict[str, str], container: Object, **spec: object) -> Object:
    labels = {**labels, **_LABELS}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0, "dnsPolicy": "Default", "automountServiceAccountToken": False}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": _LABELS},
            "spec": {**spec, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}


def pods(kube: Kube, *, of: str = "") -> list[Object]:
    """The addon's pods that are there, those that end included."""
    selector = f"kubernetes.io/minikube-addons=registry{',' + of if of else ''}"
    return list(kube.get(f"/api/v1/namespaces/{NAMESPACE}/pods", labelSelector=selector)["items"])


def replace_registry(kube: Kube) -> None:
    """As a drained node or a restart of minikube does it. The container of the pod that goes may run a while longer."""
    (old,) = pods(kube, of="actual-registry=true")
    kube.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods/{old['metadata']['name']}", query={"gracePeriodSeconds": 0})


@contextmanager
def alone() -> Iterator[None]:
    """No other test run has the addon meanwhile."""
    with Path(tempfile.gettempdir(), "devloop-test-addon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def deployed(kube: Kube, api: docker.APIClient) -> Iterator[None]:
    """The addon, in the cluster until the end. One test run at a time has it: it is where minikube has it, and a node has one port 5000."""
    with alone():
        _make_images(api)
        try:
            for obj in objects():
                kube.request("POST", kube.resource(obj["apiVersion"], obj["kind"]).path(NAMESPACE), body=obj)
            yield
        finally:
            _delete(kube)
            for image in (REGISTRY, PROXY):
                api.remove_image(image, force=True)


def _delete(kube: Kube) -> None:
    """And wait for the pods, and what would make more of them: the next one wants the port."""
    for obj in objects():
        path = kube.resource(obj["apiVersion"], obj["kind"]).path(NAMESPACE, obj["metadata"]["name"])
        try:
            kube.request("DELETE", path, query={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise
    sets = f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets"
    eventually(lambda: not (kube.get(sets, labelSelector="kubernetes.io/minikube-addons=registry")["items"] or pods(kube)))
