"""A project to run `devloop` on: the example, with an image, a namespace and a port of its own."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

from harness import PATIENCE, Devloop, Result, Session, Terminal

from devloop.clients.kube import Kube
from devloop.model import Object

EXAMPLE = Path(__file__).parents[1] / "examples" / "hello"
T = TypeVar("T")


@dataclass
class Project:
    """`path` is the project's directory, `image` its one artifact, `port` the local end of its forward to ``service/hello``."""

    path: Path
    namespace: str
    image: str
    port: int
    devloop: Devloop

    @classmethod
    def create(cls, path: Path, namespace: str, kubeconfig: str, image: str, port: int) -> Project:
        shutil.copytree(EXAMPLE, path)
        project = cls(path, namespace, image, port, Devloop(path, {"KUBECONFIG": kubeconfig}))
        project.edit("devloop.yaml", "hello-web", image)
        project.edit("devloop.yaml", "8080", str(port))
        project.edit("k8s/deployment.yaml", "hello-web", image)
        return project

    # --- its files

    def write(self, file: str, text: str) -> None:
        (self.path / file).parent.mkdir(parents=True, exist_ok=True)
        (self.path / file).write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        """Save `file` with `new` in place of `old`, as an editor that writes in place does."""
        text = (self.path / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (self.path / file).write_text(text.replace(old, new))

    def add(self, file: str, text: str) -> None:
        """Save `file` with `text` at its end."""
        self.write(file, (self.path / file).read_text() + text)

    # --- devloop on it

    def run(self, command: str, *args: str, timeout: float = PATIENCE) -> Result:
        """The command to its end, with its events."""
        return self.devloop.json(command, "-n", self.namespace, *args, timeout=timeout)

    def start(self, command: str, *args: str) -> Session:
        return self.devloop.start(command, "-n", self.namespace, *args)

    def terminal(self, command: str, *args: str) -> Terminal:
        return self.devloop.terminal(command, "-n", self.namespace, *args)

    # --- what it does in the cluster

    def page(self, path: str = "/") -> str:
        """What the forwarded port answers now."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def left(self, kube: Kube) -> list[str]:
        """What the namespace holds but for what Kubernetes put there."""
        found = []
        for path in ("/apis/apps/v1/{}/deployments", "/apis/apps/v1/{}/replicasets", "/api/v1/{}/pods", "/api/v1/{}/services",
                     "/api/v1/{}/configmaps", "/api/v1/{}/persistentvolumeclaims"):
            listed = kube.get(path.format(f"namespaces/{self.namespace}"))
            found += [f"{listed['kind'].removesuffix('List').lower()}/{item['metadata']['name']}" for item in listed["items"]]
        return [name for name in found if name != "configmap/kube-root-ca.crt"]

    def deployment(self, kube: Kube, name: str = "hello") -> Object:
        return kube.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")

    def pods(self, kube: Kube) -> list[str]:
        """The running pods of the project that nobody has told to end."""
        items = kube.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector="app=hello")["items"]
        return [pod["metadata"]["name"] for pod in items if "deletionTimestamp" not in pod["metadata"]]


def other(**container: Any) -> str:
    """The manifest of a second Deployment; what its container has beside a script that sleeps."""
    return json.dumps({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "other"},
        "spec": {"selector": {"matchLabels": {"app": "other"}}, "template": {"metadata": {"labels": {"app": "other"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000"]} | container]}}}})


def eventually(what: Callable[[], T], timeout: float = PATIENCE) -> T:
    """The first true value of `what`: for conditions outside of devloop, which nobody tells us of."""
    deadline = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.1)
    return value
