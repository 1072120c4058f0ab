"""minikube's registry addon as minikube deploys it, but with images made here of Debian's programs: a registry without a volume, its
Service (80 to 5000) and, on each node, a proxy to that at port 5000."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest

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


def make_images(api: docker.APIClient) -> None:
    _make(api, REGISTRY, "docker-registry", {"etc/config.yml": _CONFIG.encode()})
    _make(api, PROXY, "socat", {})


def remove_images(api: docker.APIClient) -> None:
    for image in (REGISTRY, PROXY):
        api.remove_image(image, force=True)


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


def create(kube: Kube) -> None:
    for obj in objects():
        path = kube.resource(obj["apiVersion"], obj["kind"]).path(NAMESPACE)
        kube.request("POST", path, body=obj)


def delete(kube: Kube) -> None:
    for obj in objects():
        try:
            kube.request("DELETE", kube.resource(obj["apiVersion"], obj["kind"]).path(NAMESPACE, obj["metadata"]["name"]),
                         query={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise
