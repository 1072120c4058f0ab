"""Whether a node uses our Engine: facts as kubelets and Engines report them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devloop.clients.docker import EngineInfo
from devloop.publish.shared import difference, this_machine

HERE = {"bootID": "b", "machineID": "m"}


def node(name: str = "node", kernel: str = "6.1.0", *, runtime: str = "docker://27.0.1", boot: str = "b",
         machine: str = "m") -> dict[str, Any]:
    info = {"kernelVersion": kernel, "containerRuntimeVersion": runtime, "bootID": boot, "machineID": machine}
    return {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "status": {"nodeInfo": info}}


def engine(name: str = "laptop", kernel: str = "6.1.0") -> EngineInfo:
    return EngineInfo(name, "linux/amd64", "27.0.1", "1.46", kernel, "Debian GNU/Linux 12 (bookworm)")


@pytest.mark.parametrize(("kind", "its", "ours", "here"), [
    ("loopback", node(), engine(), HERE),
    ("loopback", node("laptop", machine="other"), engine(), HERE),   # we are in a container that has the Engine's socket
    ("minikube", node("minikube", machine="kic"), engine("minikube"), {}),   # docker-env
    ("docker-desktop", node("docker-desktop", "6.6.12-linuxkit"), engine("docker-desktop", "6.6.12-linuxkit"), HERE | {"bootID": "mac"}),
    ("rancher-desktop", node("lima-rancher-desktop", "6.6-virt"), engine("something", "6.6-virt"), {}),
    ("colima", node("colima", "6.8.0"), engine("colima", "6.8.0"), HERE),
    ("orbstack", node("orbstack", "6.10-orbstack"), engine("orbstack", "6.10-orbstack"), HERE),
])
def test_nodes_that_use_our_engine(kind: str, its: dict[str, Any], ours: EngineInfo, here: dict[str, str]) -> None:
    assert difference(its, ours, kind, here) == ""


@pytest.mark.parametrize(("kind", "its", "ours", "here", "why"), [
    ("kind", node("kind-control-plane", runtime="containerd://1.7.18", machine="kic"), engine(), HERE, "runs containers with containerd://1.7.18"),
    # minikube's node is a container: it has this machine's kernel and boot ID, but a dockerd of its own
    ("minikube", node("minikube", machine="kic"), engine(), HERE, "has a Docker Engine of its own"),
    ("minikube", node("minikube-m02", machine="kic"), engine("minikube"), {}, "has a Docker Engine of its own"),
    ("docker-desktop", node("docker-desktop", "6.6.12-linuxkit"), engine("colima", "6.8.0"), {}, "is another machine than the Engine's"),
    ("docker-desktop", node("desktop-worker", runtime="containerd://1.7"), engine("docker-desktop"), {}, "runs containers with containerd"),
    ("loopback", node("server", boot="x", machine="y"), engine(), HERE, "has a Docker Engine of its own"),
    ("loopback", node(), engine(), {}, "has a Docker Engine of its own"),   # the Engine is elsewhere, this machine's identity says nothing
    ("remote", node("laptop", "5.10"), engine(), HERE, "is another machine than the Engine's"),
])
def test_nodes_that_do_not(kind: str, its: dict[str, Any], ours: EngineInfo, here: dict[str, str], why: str) -> None:
    assert why in difference(its, ours, kind, here)


@pytest.mark.parametrize(("files", "expected"), [
    ({"etc/machine-id": "m\n", "var/lib/dbus/machine-id": "other\n"}, {"bootID": "b", "machineID": "m"}),
    ({"var/lib/dbus/machine-id": "m\n"}, {"bootID": "b", "machineID": "m"}),
    ({"etc/machine-id": ""}, {}),
    ({}, {}),
])
def test_this_machine_is_known_as_a_kubelet_on_it_knows_it(tmp_path: Path, files: dict[str, str], expected: dict[str, str]) -> None:
    for name, text in {"proc/sys/kernel/random/boot_id": "b\n", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert this_machine(tmp_path) == expected
