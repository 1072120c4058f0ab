"""How long trouble may last, and whose it is. Time is a number here."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from devloop.deploy.causes.diagnosis import Events
from devloop.deploy.causes.placement import ADMISSION_PATIENCE, SCHEDULER_PATIENCE
from devloop.deploy.following import GONE_PATIENCE, RETRY_PATIENCE, Followed
from devloop.model import ObjectRef

Json = dict[str, Any]


def state_of(restarts: int, **state: Any) -> Json:
    return {"name": "web", "restartCount": restarts, "ready": False, **state}


def crashed(restarts: int) -> Json:
    return state_of(restarts, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": 1}})


def running(restarts: int) -> Json:
    return state_of(restarts, state={"running": {"startedAt": "x"}})


def backing_off() -> Json:
    return state_of(0, state={"waiting": {"reason": "ImagePullBackOff", "message": "unauthorized"}})


def pod(name: str = "web-0", container: Json | None = None, **more: Any) -> Json:
    return {"metadata": {"name": name, "uid": name, "namespace": "demo", "labels": {"controller-revision-hash": "b"},
                         "ownerReferences": [{"uid": "w", "controller": True}], **more.pop("meta", {})},
            "spec": {"nodeName": "node1", "containers": [{"name": "web", "image": "web"}]},
            "status": {"containerStatuses": [container] if container else [], **more}}


class Case:
    """One workload and what is heard of it; the first pods are those the rollout begins with."""

    def __init__(self, *pods: Json, kind: str = "StatefulSet", spec: Json | None = None, status: Json | None = None) -> None:
        api_version = "batch/v1" if kind == "Job" else "apps/v1"
        self.followed = Followed(ObjectRef(api_version, kind, "demo", "web"))
        self.events = Events()
        self.obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web", "namespace": "demo", "uid": "w", "generation": 1},
                    "spec": {"replicas": 1, **(spec or {})}, "status": {"observedGeneration": 1, "updateRevision": "b", **(status or {})}}
        self.followed.hear(self.obj, 0.0)
        self.hear(*pods)

    def hear(self, *pods: Json) -> None:
        self.followed.hear_pods({p["metadata"]["uid"]: p for p in pods})

    def due(self, now: float, *, hopeful: bool = False) -> float:
        self.followed.look(self.events, (), now, closer=True)
        return self.followed.due(hopeful)


def test_one_restart_is_no_failure_two_crashes_are() -> None:
    case = Case(pod())
    case.hear(pod(container=state_of(0, state={"terminated": {"exitCode": 1}})))
    assert case.due(1) == inf
    case.hear(pod(container=running(1)))
    assert case.due(2) == inf
    case.hear(pod(container=crashed(1)))
    assert case.due(3) == -inf


def test_while_others_are_coming_up_one_more_crash_is_none() -> None:
    case = Case(pod())
    case.hear(pod(container=crashed(1)))
    assert case.due(3, hopeful=True) == inf
    case.hear(pod(container=crashed(2)))
    assert case.due(13, hopeful=True) == -inf


def test_what_crashed_before_the_rollout_gets_another_try() -> None:
    case = Case(pod(container=crashed(5)))
    assert case.due(1) == 1 + RETRY_PATIENCE
    case.hear(pod(container=running(6)))
    assert case.due(9) == inf
    case.hear(pod(container=crashed(6)))
    assert case.due(10) == -inf


def test_a_pull_that_failed_before_the_rollout_gets_another_try() -> None:
    assert Case(pod(container=backing_off())).due(1) == 1 + RETRY_PATIENCE
    new = Case(pod())
    new.hear(pod(container=backing_off()))
    assert new.due(1) == 1


def test_a_jobs_pods_count_together() -> None:
    failed = [pod(f"web-{n}", state_of(0, state={"terminated": {"exitCode": 1}}), phase="Failed") for n in range(3)]
    case = Case(*failed[:2], kind="Job")
    assert case.due(1) == inf
    case.hear(*failed)
    assert case.due(2) == -inf


def test_a_job_remembers_what_its_pod_died_of() -> None:
    case = Case(pod(container=crashed(1)), kind="Job")
    case.due(1)
    case.hear()
    case.due(2)
    trouble = case.followed.verdict()
    assert trouble
    assert "exit code 1" in trouble.diagnosis.message


def test_patience_runs_from_the_first_sight_and_ends_with_the_trouble() -> None:
    homeless = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient cpu."}])
    case = Case(homeless)
    assert case.due(10) == case.due(12) == 10 + SCHEDULER_PATIENCE
    case.hear(pod(container=running(0)))
    assert case.due(13) == inf
    case.hear(homeless)
    assert case.due(20) == 20 + SCHEDULER_PATIENCE


def test_an_old_pod_that_goes_may_make_room() -> None:
    homeless = pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "1 Insufficient cpu."}])
    case = Case(homeless, pod("old", meta={"deletionTimestamp": "2024-01-01T00:00:00Z"}))
    case.due(10)
    assert case.due(30) == 30 + SCHEDULER_PATIENCE
    case.hear(homeless)
    assert case.due(31) == 30 + SCHEDULER_PATIENCE


@pytest.mark.parametrize("status", [{}, {"observedGeneration": 0}], ids=["seen", "not seen yet"])
def test_a_refusal_counts_while_pods_are_lacking(status: Json) -> None:
    case = Case(status=status)
    case.events.put({"metadata": {"uid": "e"}, "type": "Warning", "reason": "FailedCreate", "message": "exceeded quota: small",
                     "involvedObject": {"kind": "StatefulSet", "name": "web", "uid": "w"}})
    assert case.due(1) == 1 + ADMISSION_PATIENCE
    case.hear(pod(container=running(0)))
    assert case.due(2) == (inf if not status else 1 + ADMISSION_PATIENCE)


def test_before_the_controller_has_seen_the_change_old_pods_are_not_taken_for_new() -> None:
    case = Case(pod(), status={"observedGeneration": 0})
    case.hear(pod(container=crashed(9)))
    assert case.due(1) == inf


def test_what_was_mended_gets_time() -> None:
    case = Case(pod(container=state_of(0, state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s" not found'}})))
    assert case.due(1) == 1
    trouble = case.followed.worst()
    assert trouble
    case.followed.pardon(trouble, 1)
    assert case.due(2) == 1 + RETRY_PATIENCE


def test_what_is_gone_may_be_on_its_way_back() -> None:
    case = Case(pod())
    case.followed.hear(None, 5)
    assert case.due(6) == 5 + GONE_PATIENCE
    assert not case.followed.lost(6)
    assert case.followed.lost(5 + GONE_PATIENCE)
    case.followed.hear(case.obj, 8)
    assert case.due(9) == inf


ENDED = [({"type": "Complete", "status": "True"}, True, ""),
         ({"type": "Failed", "status": "True", "message": "no tries left"}, False, "no tries left")]


@pytest.mark.parametrize(("condition", "done", "failed"), ENDED, ids=["complete", "failed"])
def test_how_a_job_has_ended_is_known_though_it_deletes_itself(condition: Json, done: bool, failed: str) -> None:
    case = Case(kind="Job")
    ended = {**case.obj, "status": {"conditions": [condition]}}
    case.followed.hear(ended, 3)
    case.followed.hear({**ended, "metadata": {**ended["metadata"], "deletionTimestamp": "2024-01-01T00:00:00Z"}}, 3)
    case.followed.hear(None, 3)
    assert (case.followed.standing.done, case.followed.standing.failed) == (done, failed)
    assert not case.followed.lost(3 + GONE_PATIENCE)
    again = {**case.obj, "metadata": {**case.obj["metadata"], "uid": "another"}}
    case.followed.hear(again, 4)
    assert not case.followed.standing.done


def test_a_job_that_is_deleted_before_its_end_is_gone() -> None:
    case = Case(kind="Job")
    case.followed.hear(None, 3)
    assert case.followed.lost(3 + GONE_PATIENCE)


def test_progress_is_told_once() -> None:
    case = Case(pod())
    case.due(1)
    assert case.followed.progress() == "0 of 1 pods ready, web-0: ContainerCreating"
    assert case.followed.progress() == ""
    case.hear(pod(container=crashed(1)))
    case.due(2)
    assert case.followed.progress() == "0 of 1 pods ready, web-0: CrashLoopBackOff, exit code 1"
