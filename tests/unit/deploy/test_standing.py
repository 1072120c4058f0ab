"""When a rollout is over, by the controllers' own numbers: those that last too short to be seen on a real cluster."""

from __future__ import annotations

from typing import Any

import pytest

from devloop.deploy.standing import new_pods, standing, stuck_pods, waited_for
from devloop.model import ObjectRef

Json = dict[str, Any]


def workload(kind: str, spec: Json, status: Json, **meta: Any) -> Json:
    group = {"Job": "batch/v1", "Pod": "v1"}.get(kind, "apps/v1")
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "web", "namespace": "demo", "uid": "w", "generation": 2, **meta},
            "spec": spec, "status": {"observedGeneration": 2, **status}}


def deployment(spec: Json, **status: Any) -> Json:
    return workload("Deployment", spec, status)


WAITING = {
    "the controller has not seen it": (
        deployment({"replicas": 1}, observedGeneration=1, updatedReplicas=1, availableReplicas=1, replicas=1), "has not seen the change"),
    "it is being deleted": (workload("Deployment", {}, {}, deletionTimestamp="2024-01-01T00:00:00Z"), "being deleted"),
    "pods are to be created": (deployment({"replicas": 3}, updatedReplicas=1, replicas=4, availableReplicas=3), "1 of 3 new pods created"),
    "pods are not ready": (deployment({"replicas": 3}, updatedReplicas=3, replicas=3, availableReplicas=2), "not ready yet"),
    "an old pod serves still": (deployment({"replicas": 1}, updatedReplicas=1, replicas=2, availableReplicas=2), "1 old pod to stop"),
    "pods are too young": (
        deployment({"replicas": 1, "minReadySeconds": 9}, updatedReplicas=1, replicas=1, readyReplicas=1), "9 s (minReadySeconds)"),
    "a set's pods are to be replaced": (
        workload("StatefulSet", {"replicas": 2}, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b",
                                                  "currentRevision": "a"}), "1 of 2 pods replaced"),
    "a set is scaled down": (
        workload("StatefulSet", {"replicas": 1}, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 1, "updateRevision": "b",
                                                  "currentRevision": "b"}), "surplus pods"),
    "a node's pod is to be replaced": (
        workload("DaemonSet", {}, {"desiredNumberScheduled": 3, "numberAvailable": 3, "updatedNumberScheduled": 1}), "1 of 3 pods repl"),
    "a Job runs": (workload("Job", {"completions": 3}, {"succeeded": 2, "active": 1}), "not completed yet"),
}


@pytest.mark.parametrize("case", WAITING)
def test_it_is_not_over_while(case: str) -> None:
    obj, told = WAITING[case]
    found = standing(obj)
    assert (found.done, found.failed) == (False, "")
    assert told in found.waiting


DONE = {
    "all is replaced": deployment({"replicas": 2}, updatedReplicas=2, replicas=2, availableReplicas=2),
    "nothing is wanted": deployment({"replicas": 0}),
    "a set is replaced": workload("StatefulSet", {"replicas": 2}, {"replicas": 2, "readyReplicas": 2, "updatedReplicas": 2,
                                                                  "updateRevision": "b", "currentRevision": "a"}),
    "a Job is suspended": workload("Job", {"suspend": True}, {}),
    "a pod did its work": workload("Pod", {}, {"phase": "Succeeded"}),
}


@pytest.mark.parametrize("case", DONE)
def test_it_is_over_when(case: str) -> None:
    assert standing(DONE[case]).done


def test_old_pods_do_not_count_as_ready() -> None:
    found = standing(deployment({"replicas": 3}, updatedReplicas=2, replicas=4, availableReplicas=3))
    assert (found.ready, found.total) == (1, 3)


def test_a_deadline_that_has_passed_is_a_failure_only_while_it_is_not_over() -> None:
    late = {"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}
    assert standing(deployment({"replicas": 1}, updatedReplicas=1, replicas=1, **late)).failed == "timed out"
    assert standing(deployment({"replicas": 1}, updatedReplicas=1, replicas=1, availableReplicas=1, **late)).done


@pytest.mark.parametrize(("api_version", "kind", "waited"), [
    ("apps/v1", "Deployment", True), ("batch/v1", "Job", True), ("v1", "Pod", True), ("batch/v1", "CronJob", False),
    ("v1", "Service", False), ("example.com/v1", "Deployment", False)])
def test_what_is_waited_for(api_version: str, kind: str, waited: bool) -> None:
    assert waited_for(ObjectRef(api_version, kind, "demo", "x")) is waited


def owned(name: str, owner: str, labels: Json | None = None, annotations: Json | None = None, **status: Any) -> Json:
    return {"metadata": {"name": name, "uid": name, "labels": labels or {}, "annotations": annotations or {},
                         "ownerReferences": [{"uid": owner, "controller": True}]}, "status": status}


def test_a_deployments_new_pods_are_its_newest_replica_sets() -> None:
    revision = "deployment.kubernetes.io/revision"
    obj = workload("Deployment", {}, {}, annotations={revision: "7"})
    sets = [owned("old", "w", annotations={revision: "6"}), owned("new", "w", annotations={revision: "7"}),
            owned("other", "x", annotations={revision: "7"})]
    pods = [owned("old-1", "old"), owned("new-1", "new"), owned("other-1", "other")]
    assert [p["metadata"]["name"] for p in new_pods(obj, pods, sets)] == ["new-1"]


def test_a_sets_new_pods_are_those_of_its_update_revision() -> None:
    pods = [owned("web-0", "w", {"controller-revision-hash": "a"}), owned("web-1", "w", {"controller-revision-hash": "b"})]
    assert [p["metadata"]["name"] for p in new_pods(workload("StatefulSet", {}, {"updateRevision": "b"}), pods, ())] == ["web-1"]


def test_a_daemon_sets_new_pods_are_those_of_its_template_generation() -> None:
    obj = workload("DaemonSet", {}, {}, annotations={"deprecated.daemonset.template.generation": "2"})
    pods = [owned("a", "w", {"pod-template-generation": "1"}), owned("b", "w", {"pod-template-generation": "2"})]
    assert [p["metadata"]["name"] for p in new_pods(obj, pods, ())] == ["b"]


@pytest.mark.parametrize(("spec", "stuck"), [
    ({}, ["web-0", "web-1"]),
    ({"updateStrategy": {"rollingUpdate": {"partition": 1}}}, ["web-1"]),
    ({"updateStrategy": {"type": "OnDelete"}}, []),
    ({"podManagementPolicy": "Parallel"}, []),
])
def test_pods_that_keep_a_set_from_being_mended_are_found(spec: Json, stuck: list[str]) -> None:
    old, new = {"controller-revision-hash": "a"}, {"controller-revision-hash": "b"}
    pods = [owned("web-0", "w", old), owned("web-1", "w", old), owned("web-2", "w", new),
            owned("web-3", "w", old, conditions=[{"type": "Ready", "status": "True"}])]
    assert [p["metadata"]["name"] for p in stuck_pods(workload("StatefulSet", spec, {"updateRevision": "b"}), pods)] == stuck
