"""Sandboxes made ahead of need, on the real Engine: whose they become, and that none is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.local.controllers import controllers
from devloop.local.kinds import DEPLOYMENTS
from devloop.local.network.network import ROLE
from devloop.local.network.spares import MOST
from devloop.model import Object
from devloop.pods import PODS, ready
from tests.cluster.localnet import LocalNet, eventually
from tests.cluster.localpods import Local, container, session

pytestmark = pytest.mark.cluster


@pytest.fixture
def net() -> Iterator[LocalNet]:
    found = LocalNet()
    try:
        yield found
    finally:
        found.close()      # fails where anything is left


def likely(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "main"}], **spec}}


def spare(net: LocalNet, name: str) -> str:
    """The sandbox that waits for this pod, once it runs."""
    return str(eventually(lambda: boxes(net.containers, net.project).get(name)))


def boxes(containers: EngineContainers, project: str) -> dict[str, str]:
    """The sandboxes that run, by the names of their pods."""
    found = containers.labelled([f"devloop.dev/name={project}", f"{ROLE}=sandbox"])
    return {each["Names"][0].removeprefix(f"/devloop-{project}-").rpartition("-")[0]: each["Id"] for each in found
            if each["State"] == "running"}


def test_the_pod_that_was_expected_gets_what_was_made_for_it(net: LocalNet) -> None:
    net.service("web")
    net.network.spares.expect("uid", likely("web-1"))
    box = spare(net, "web-1")
    pod = net.pod("web-1", "web")
    assert pod.sandbox.id == box
    assert pod.run("hostname").output == "web-1\n"
    assert eventually(lambda: pod.run("wget", "-qO-", "http://web").output) == "web-1\n"
    pod.end()


def test_another_pod_gets_its_own(net: LocalNet) -> None:
    net.network.spares.expect("uid", likely("web-1"))
    box = spare(net, "web-1")
    other = net.pod("web-2", "web")
    assert other.sandbox.id != box
    made = net.store.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default"}, "spec": {
        "containers": [{"name": "main"}], "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["db.test"]}]}})
    changed = net.network.sandbox(made, cancel=net.cancel)
    assert changed.id != box
    net.network.remove(changed)
    other.end()


def test_what_is_expected_no_more_goes(net: LocalNet) -> None:
    net.network.spares.expect("uid", likely("web-1"))
    spare(net, "web-1")
    net.network.spares.expect("uid", likely("web-2"))
    spare(net, "web-2")
    assert "web-1" not in boxes(net.containers, net.project)
    net.network.spares.expect("uid", None)
    eventually(lambda: not boxes(net.containers, net.project))


def test_only_so_many_are_made_and_none_takes_the_machines_ports(net: LocalNet) -> None:
    net.network.spares.expect("port", likely("port", containers=[{"name": "main", "ports": [{"containerPort": 80, "hostPort": 18080}]}]))
    for number in range(MOST + 1):
        net.network.spares.expect(f"{number}", likely(f"web-{number}"))
    last = [f"web-{number}" for number in range(1, MOST + 1)]
    eventually(lambda: sorted(boxes(net.containers, net.project)) == last)


def test_a_pod_that_comes_early_does_not_wait_for_its_turn(net: LocalNet) -> None:
    for number in range(3):
        net.network.spares.expect(f"{number}", likely(f"web-{number}"))
    pods = [net.pod(f"web-{number}", "web", "sleep", "1000") for number in range(3)]
    assert [pod.run("hostname").output for pod in pods] == [f"web-{number}\n" for number in range(3)]
    for pod in pods:
        pod.end()


# --- with all that makes pods


@pytest.fixture
def local() -> Iterator[Local]:
    engine = DockerEngine()
    with session(engine) as local:
        manager = controllers(local.store, local.network.spares.expect)
        yield local
        manager.close()
        local.network.spares.close()
    engine.close()


def deployment(script: str) -> Object:
    template = {"metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container("main", script)]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template, "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}}


def only(local: Local) -> str:
    """The one pod there is, once it is ready."""
    def found() -> str:
        pods = local.store.list(PODS)
        return str(pods[0]["metadata"]["name"]) if len(pods) == 1 and ready(pods[0]) else ""

    return str(local.await_(found, lambda: local.store.list(PODS)))


def test_an_update_finds_its_sandbox_made(local: Local) -> None:
    local.store.create(deployment("exec sleep 1000"))
    containers, pods = EngineContainers(local.engine), [only(local)]
    for version in (1, 2):
        name, box = eventually(lambda: [each for each in boxes(containers, local.project).items() if each[0] not in pods])[0]
        live = local.store.get(DEPLOYMENTS, "default", "web")
        assert live
        local.store.update({**live, "spec": deployment(f"hostname; exec sleep {1000 + version}")["spec"]})
        pod = local.pod_when(name, ready)
        assert local.says(name, "\n") == f"{name}\n"
        identifier = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
        assert containers.inspect(identifier)["HostConfig"]["NetworkMode"] == f"container:{box}"
        pods.append(only(local))
        assert pods[-1] == name
