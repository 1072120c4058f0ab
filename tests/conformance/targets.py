"""The two targets that the conformance set runs on, and projects on them."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harness import Devloop, Result, Session

from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.local.pods.owner import purge
from tests.conformance.cases import HERE, Case

LACKS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": {
        "dns": "the tests' cluster runs no DNS server (no image of one can be had); its Services are found by variable and address",
        "sidecars": "the tests' cluster is older than Kubernetes 1.28, which brought restartPolicy of init containers",
    },
    "docker": {},
}
"""What the targets cannot show, and why: the cases and lines of the data that need it are not looked at there."""


@dataclass(frozen=True)
class Target:
    """`flags` of devloop that choose it; `environ` leads to it."""

    name: str
    namespace: str
    flags: Sequence[str]
    environ: Mapping[str, str]

    @property
    def lacks(self) -> Mapping[str, str]:
        return LACKS[self.name]


@dataclass(frozen=True)
class Project:
    """A devloop.yaml and the manifests of some cases, on a target. `image`: what its artifact is to be called, where it has one."""

    target: Target
    name: str
    devloop: Devloop

    @classmethod
    def create(cls, target: Target, path: Path, manifests: Sequence[Case], *, image: str = "",
               config: Mapping[str, Any] | None = None) -> Project:
        """In the directory `path`. `config`: what its devloop.yaml has in deploy or other maps."""
        project = cls(target, f"conformance-{secrets.token_hex(4)}", Devloop(path, dict(target.environ)))
        (path / "k8s").mkdir(parents=True)
        for case in manifests:
            project.file(case).write_text(case.manifests)
        forwards = [forward for case in manifests for forward in case.forwards]
        content: dict[str, Any] = {
            "apiVersion": "devloop/v1", "name": project.name, "deploy": {"manifests": ["k8s/*.yaml"]},
            "portForward": [{"resource": resource, "port": port, "localPort": free_port()} for resource, port in forwards]}
        if image:
            shutil.copytree(HERE / "image", path / "image")
            content["build"] = {"artifacts": [{"image": image, "context": "image"}]}
        for key, value in (config or {}).items():
            content[key] |= value
        (path / "devloop.yaml").write_text(yaml.safe_dump(content))
        return project

    def file(self, case: Case) -> Path:
        return self.devloop.cwd / "k8s" / f"{case.name}.yaml"

    def start(self, command: str, *args: str) -> Session:
        return self.devloop.start(command, "-n", self.target.namespace, *self.target.flags, *args)

    def clean(self) -> None:
        """Remove what was deployed to the Engine, without a process more; on the cluster it goes with the namespace."""
        if self.target.name == "docker":
            with closing(DockerEngine(os.environ)) as engine:
                purge(EngineContainers(engine), self.name, volumes=True)

    def run(self, command: str, *args: str, timeout: float = 300) -> Result:
        return self.devloop.json(command, "-n", self.target.namespace, *self.target.flags, *args, timeout=timeout)


def values(target: Target, directory: Path, image: str) -> dict[str, Any]:
    """What stands for ``@NAME@`` in the cases."""
    return {"NAMESPACE": target.namespace, "IMAGE": image, "DIRECTORY": directory,
            "HOST_PORT": free_port_of(20000, 4000), "HOST_PORT_2": free_port_of(24000, 4000), "NODE_PORT": free_port_of(30000, 2768)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def free_port_of(first: int, count: int) -> int:
    """One that stays free until a pod wants it: below those that this machine's own connections get. From 30000 to 32767 are NodePorts; a
    process has one open where a cluster on this machine has given it away."""
    while True:
        port = first + secrets.randbelow(count)
        try:
            socket.create_server(("", port)).close()
        except OSError:
            continue
        return port
