"""The test cluster, made to look like one that a tool has made: all that devloop goes by is in the kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from project import Project

STANDINS = Path(__file__).parent


def disguise(project: Project, kubeconfig: str, cluster: str, *, minikube_home: Path | None = None) -> None:
    """Call the cluster so, for this project; with `minikube_home` as a minikube's profile there. The stand-ins are in its PATH."""
    content: dict[str, Any] = yaml.safe_load(Path(kubeconfig).read_text())
    entry = content["clusters"][0]
    entry["name"] = content["contexts"][0]["context"]["cluster"] = cluster
    environ = {"KUBECONFIG": str(project.path / "kubeconfig"), "PATH": f"{STANDINS}:{os.environ['PATH']}"}
    if minikube_home:
        entry["cluster"]["extensions"] = [{"name": "cluster_info", "extension": {"provider": "minikube.sigs.k8s.io"}}]
        environ["MINIKUBE_HOME"] = str(minikube_home)
    (project.path / "kubeconfig").write_text(yaml.safe_dump(content))
    project.devloop.environ |= environ
