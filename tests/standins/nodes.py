"""Nodes as kind and k3d make them: containers of the Engine, with their labels, and in each a real containerd with Kubernetes' part."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import docker
import pytest
from harness import PATIENCE

HERE = Path(__file__).parent
IMAGE = "devloop-test-node:1"
LABELS = {"kind": ("io.x-k8s.kind.cluster", "io.x-k8s.kind.role", "control-plane", "worker"),
          "k3d": ("k3d.cluster", "k3d.role", "server", "agent")}


class Nodes:
    """The containers of one cluster. `close` it."""

    def __init__(self, api: docker.APIClient, tool: str, cluster: str, count: int) -> None:
        self._api = api
        self.cluster = cluster
        cluster_label, role_label, first, other = LABELS[tool]
        names = {"kind": [f"{cluster}-control-plane", *(f"{cluster}-worker{n}" for n in range(2, count + 1))],
                 "k3d": [f"k3d-{cluster}-server-0", *(f"k3d-{cluster}-agent-{n}" for n in range(count - 1))]}[tool]
        self.names = names
        self._all = [*names, f"{cluster}-balancer"]     # the load balancer has the labels, too, and no containerd
        roles = [first, *[other] * (count - 1), {"kind": "external-load-balancer", "k3d": "loadbalancer"}[tool]]
        for name, role in zip(self._all, roles, strict=True):
            command = ["containerd"] if name in names else ["sleep", "1000"]
            labels = {cluster_label: cluster, role_label: role}
            api.create_container(IMAGE, command, name=name, labels=labels, volumes=["/var/lib/containerd"])
            api.start(name)
        for name in names:
            self._await(name)

    def _await(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.run(name, "test", "-S", "/run/containerd/containerd.sock")[0] or self.run(name, "/usr/bin/ctr", "version")[0]:
            assert time.monotonic() < deadline, self._api.logs(name).decode()
            time.sleep(0.05)

    def run(self, name: str, *argv: str) -> tuple[int, str]:
        """Exit code and output of a program in the node."""
        execution = self._api.exec_create(name, list(argv))["Id"]
        output = self._api.exec_start(execution).decode()
        return self._api.exec_inspect(execution)["ExitCode"], output

    def images(self, name: str) -> set[str]:
        """The images' names in the node's containerd."""
        return set(self.run(name, "/usr/bin/ctr", "-n", "k8s.io", "images", "ls", "-q")[1].split())

    def break_(self, name: str, script: str) -> None:
        """From now on imports into the node run this instead."""
        self.run(name, "sh", "-c", f"cat >/fault <<'END'\n{script}\nEND\n")

    def stop(self, name: str) -> None:
        self._api.stop(name, timeout=0)

    def start(self, name: str) -> None:
        """After `stop`."""
        self._api.start(name)
        self._await(name)

    def close(self) -> None:
        for name in self._all:
            self._api.remove_container(name, v=True, force=True)


def build_node_image(api: docker.APIClient) -> None:
    """The nodes' image: busybox with this machine's containerd in it."""
    programs = [shutil.which(name) for name in ("containerd", "ctr")]
    if None in programs:
        pytest.skip("missing: containerd (Debian's package of that name)")
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for program in programs:
            assert program
            tar.add(Path(program).resolve(), f"root/usr/bin/{Path(program).name}")
            libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
            for library in re.findall(r"(?:=> )?(/\S+) \(0x", libraries):
                tar.add(Path(library).resolve(), f"root{library}")
        for name in ("ctr", "crictl"):
            tar.add(HERE / name, f"root/usr/local/bin/{name}")
        for name, content in (("Dockerfile", b"FROM busybox:1.36\nCOPY root /\n"), ("root/etc/containerd/config.toml", b"version = 2\n")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    context.seek(0)
    said = list(api.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True, forcerm=True, decode=True))
    assert not any("error" in message for message in said), said
