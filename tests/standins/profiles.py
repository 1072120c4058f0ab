"""Profiles of the minikube stand-in, as a test wants them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Profile:
    """One profile in this MINIKUBE_HOME, and what its nodes have."""

    def __init__(self, home: Path, name: str = "minikube", *, nodes: int = 1, runtime: str = "docker", driver: str = "docker",
                 registry: bool = False) -> None:
        self.name = name
        self._directory = home / "profiles" / name
        self._directory.mkdir(parents=True)
        self.nodes: Sequence[str] = [name, *(f"{name}-m{n:02}" for n in range(2, nodes + 1))]
        described = [{"Name": "" if n == 0 else f"m{n + 1:02}", "IP": f"192.168.49.{n + 2}", "Port": 8443, "ControlPlane": n == 0,
                      "Worker": True} for n in range(nodes)]
        self._write("config.json", {"Name": name, "Driver": driver, "KubernetesConfig": {"ContainerRuntime": runtime}, "Nodes": described,
                                    "Addons": {"registry": registry}})
        self._write("nodes.json", {"nodes": {node: {"host": "Running", "images": {}, "used": []} for node in self.nodes}})

    def change(self, **state: Any) -> None:
        """Of all of it: ``docker-env`` (as docker_env), ``faults``, ``gone``."""
        self._write("nodes.json", self.state | {key.replace("_", "-"): value for key, value in state.items()})

    def change_node(self, name: str, **state: Any) -> None:
        """Of one node: ``host``, ``images``, ``used``."""
        nodes = self.state["nodes"]
        self._write("nodes.json", self.state | {"nodes": nodes | {name: nodes[name] | state}})

    def images(self, node: str) -> dict[str, str]:
        return dict(self.state["nodes"][node]["images"])

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self._directory / "nodes.json").read_text()))

    @property
    def config(self) -> dict[str, Any]:
        return dict(json.loads((self._directory / "config.json").read_text()))

    def _write(self, file: str, content: dict[str, Any]) -> None:
        (self._directory / file).write_text(json.dumps(content))
