"""devloop's own deploying, rollouts and teardown on the local target. The tests play the node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from devloop.cancel import Cancel
from devloop.deploy.apply import Applier
from devloop.deploy.manifests import render
from devloop.deploy.rollout import ClusterRollout
from devloop.errors import DeployError, EngineError, RolloutError
from devloop.events import Event, Notice, ObjectApplied, StepFinished
from devloop.local.deployer import LocalDeployer
from devloop.local.kinds import CONFIG_MAPS, DEPLOYMENTS, JOBS, REPLICA_SETS
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Manifest, Object, ObjectRef
from devloop.pods import PODS, Pods
from tests.unit.local.node import Node
from tests.unit.local.objects import container, job, template, thing, workload


class Project:
    """One session of devloop on the local target."""

    def __init__(self, kube: LocalKube, store: Store, node: Node) -> None:
        self.kube, self.store, self.node = kube, store, node
        self.events: list[Event] = []
        self.pods = Pods(kube, self.events.append)
        self.applier = Applier(kube, name="shop", namespace="default")
        self.rollout = ClusterRollout(kube, self.pods, timeout=60)

    def deploy(self, *objects: Object) -> tuple[ObjectRef, ...]:
        plain = [{**o, "metadata": {k: v for k, v in o["metadata"].items() if k != "namespace"}} for o in objects]
        rendered = render([Manifest(o, "k8s/app.yaml") for o in plain], [], name="shop")
        self.events.clear()
        return self.applier.deploy(rendered.manifests, self.events.append, Cancel())

    def roll_out(self, *objects: Object) -> None:
        self.rollout.wait(self.deploy(*objects), self.events.append, Cancel())

    def actions(self) -> dict[str, str]:
        return {event.resource: event.action for event in self.events if isinstance(event, ObjectApplied)}


@pytest.fixture
def project(kube: LocalKube, store: Store, node: Node) -> Iterator[Project]:
    project = Project(kube, store, node)
    yield project
    project.pods.close()


def image(version: int) -> Object:
    return workload("Deployment", pod=template(container(image=f"web:{version}")))


def test_a_project_comes_up_is_updated_and_goes(project: Project) -> None:
    settings = thing("ConfigMap", "settings", data={"a": "1"})
    project.roll_out(settings, image(1))
    assert project.actions() == {"configmap/settings": "created", "deployment/web": "created"}
    project.roll_out(settings, image(2))
    assert project.actions() == {"configmap/settings": "unchanged", "deployment/web": "configured"}
    finished = [event for event in project.events if isinstance(event, StepFinished)]
    assert [(event.subject, event.detail) for event in finished] == [("deployment/web", "1 of 1 pods ready")]
    project.node.until(lambda: [p["spec"]["containers"][0]["image"] for p in project.store.list(PODS)] == ["web:2"])
    project.roll_out(image(2))
    assert project.actions() == {"configmap/settings": "deleted", "deployment/web": "unchanged"}
    project.applier.delete(project.events.append, Cancel())
    for kind in (DEPLOYMENTS, REPLICA_SETS, PODS, CONFIG_MAPS):
        assert project.store.list(kind) == []


def test_all_workloads_are_waited_for(project: Project) -> None:
    stateful, daemon = workload("StatefulSet", replicas=2), workload("DaemonSet")
    stateful["metadata"]["name"], daemon["metadata"]["name"] = "db", "agent"
    project.roll_out(image(1), stateful, daemon)
    assert {event.subject for event in project.events if isinstance(event, StepFinished)} == {
        "deployment/web", "statefulset/db", "daemonset/agent"}


def test_a_job_is_waited_for_and_replaced_when_it_changes(project: Project) -> None:
    def runs(obj: Object) -> None:
        done: Future[None] = Future()

        def roll_out() -> None:
            try:
                done.set_result(project.roll_out(obj))
            except BaseException as error:  # noqa: BLE001  told to the test's own thread
                done.set_exception(error)

        thread = threading.Thread(target=roll_out)
        thread.start()
        pod = project.node.until(lambda: [p for p in project.store.list(PODS) if (p.get("status") or {}).get("phase") == "Running"])[0]
        project.node.exit(pod, 0)
        done.result(60)
        thread.join()

    runs(job())
    again = job(backoffLimit=6)
    again["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    runs(again)
    assert project.actions() == {"job/once": "replaced"}
    assert len(project.store.list(JOBS)) == 1


def test_a_selector_that_cannot_change_has_the_workload_replaced(project: Project) -> None:
    project.roll_out(image(1))
    labels = {"app": "web", "tier": "front"}
    project.roll_out(workload("Deployment", selector={"matchLabels": labels}, pod={**template(), "metadata": {"labels": labels}}))
    assert project.actions() == {"deployment/web": "replaced"}


def test_a_manifest_that_is_refused_is_told_with_its_field(project: Project) -> None:
    with pytest.raises(DeployError) as caught:
        project.deploy(workload("Deployment", pod=template(container(imag="x"))))
    assert 'containers[name="web"].imag: field not declared in schema' in caught.value.message
    with pytest.raises(DeployError, match="the cluster has no kind Deployment in apps/v1beta1") as caught:
        project.deploy({**workload("Deployment"), "apiVersion": "apps/v1beta1"})
    assert "It has one in apps/v1" in caught.value.hint


@pytest.mark.parametrize(("status", "message"), [
    ({"phase": "Pending", "state": {"waiting": {"reason": "ErrImageNeverPull", "message": 'Container image "web:1" is not present with '
                                                                                        'pull policy of Never'}}}, "web:1"),
    ({"phase": "Pending", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}}},
     "ConfigMap 'settings' does not exist in namespace default"),
])
def test_why_a_pod_does_not_start_is_told(project: Project, status: dict[str, Any], message: str) -> None:
    def held(pod: Object) -> bool:
        project.node.status(pod, status["phase"], status["state"], ready=False)
        return True

    project.node.hold = held
    say, project.node.say = project.node.say, lambda pod, *, ready: None       # what `hold` has said stays
    with pytest.raises(RolloutError) as caught:
        project.roll_out(image(1))
    assert message in caught.value.message
    project.node.hold, project.node.say = (lambda pod: False), say


def test_two_projects_do_not_touch_each_others_objects(project: Project) -> None:
    project.roll_out(image(1))
    other = Applier(project.kube, name="other", namespace="default")
    other.deploy(render([Manifest(thing("ConfigMap", "a"), "a.yaml")], [], name="other").manifests, project.events.append, Cancel())
    other.delete(project.events.append, Cancel())
    assert [o["metadata"]["name"] for o in project.store.list(DEPLOYMENTS)] == ["web"]
    assert not any(isinstance(event, Notice) and event.level == "warning" for event in project.events)


class Refused:
    """An Engine that runs nothing."""

    started = False

    def start(self, cancel: Cancel) -> None:
        raise EngineError("runc: setting rlimits: operation not permitted", status=500)

    def purge(self, *, volumes: bool) -> tuple[list[str], list[str]]:
        return [], []


def test_an_engine_that_runs_nothing_fails_the_deploy_and_not_the_build(project: Project) -> None:
    deployer = LocalDeployer(project.applier, Refused(), strict=False)
    with pytest.raises(DeployError, match="operation not permitted") as refused:
        deployer.deploy([], project.events.append, Cancel())
    assert refused.value.exit_code == 12
    assert "docker run" in refused.value.hint
