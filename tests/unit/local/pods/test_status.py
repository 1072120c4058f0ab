from __future__ import annotations

from typing import Any

import pytest

from devloop.local.pods import runs as planning
from devloop.local.pods.runs import Run
from devloop.local.pods.status import container_status, quality, status
from devloop.model import Object
from devloop.pods import condition, ready

RUNNING: Object = {"running": {"startedAt": "t"}}


def ended(code: int) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}


def pod(*, inits: int = 0, mains: int = 1, **spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {
        "containers": [{"name": f"main{n}", "image": "i"} for n in range(mains)],
        "initContainers": [{"name": f"init{n}", "image": "i"} for n in range(inits)], **spec}}


def put(run: Run, state: Object, *, last: Object | None = None) -> None:
    run.state, run.container = state, "id"
    run.started = run.ready = "running" in state
    run.last = last or {}


def told(of: Object, runs: list[Run]) -> Object:
    return {**of, "status": status(of, runs, ip="10.0.0.1", host_ip="127.0.0.1", started_at="t")}


@pytest.mark.parametrize(("policy", "states", "phase"), [
    ("Always", [{"waiting": {}}], "Pending"), ("Always", [RUNNING], "Running"), ("Always", [RUNNING, {"waiting": {}}], "Pending"),
    ("Always", [ended(1)], "Running"), ("Never", [ended(0), ended(0)], "Succeeded"), ("Never", [ended(0), ended(1)], "Failed"),
    ("Never", [ended(1), RUNNING], "Running"), ("OnFailure", [ended(1)], "Running"), ("OnFailure", [ended(0)], "Succeeded")])
def test_phases(policy: str, states: list[Object], phase: str) -> None:
    of = pod(mains=len(states), restartPolicy=policy)
    runs = planning.runs(of)
    for run, state in zip(runs, states, strict=True):
        run.state = state
    assert told(of, runs)["status"]["phase"] == phase


def test_a_pod_is_ready_when_all_its_containers_are_and_nobody_else_has_a_word() -> None:
    of = pod(mains=2)
    runs = planning.runs(of)
    put(runs[0], RUNNING)
    assert condition(told(of, runs), "Ready")["message"] == "containers with unready status: [main1]"
    put(runs[1], RUNNING)
    assert ready(told(of, runs))
    gated = pod(mains=2, readinessGates=[{"conditionType": "x"}])
    assert condition(told(gated, runs), "Ready")["reason"] == "ReadinessGatesNotReady"
    assert condition(told(gated, runs), "ContainersReady")["status"] == "True"
    gated["status"] = {"conditions": [{"type": "x", "status": "True"}]}
    assert ready(told(gated, runs))
    assert condition(told(gated, runs), "x")["status"] == "True"


def test_the_time_of_a_change_stays_until_the_next() -> None:
    of = pod()
    runs = planning.runs(of)
    of["status"] = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "then"}]}
    assert condition(told(of, runs), "Ready")["lastTransitionTime"] == "then"
    put(runs[0], RUNNING)
    assert condition(told(of, runs), "Ready")["lastTransitionTime"] != "then"


def test_init_containers_hold_up_the_rest_in_their_order() -> None:
    of = pod(inits=2)
    of["spec"]["initContainers"][1]["restartPolicy"] = "Always"
    first, second, main = runs = planning.runs(of)
    assert planning.startable(of, runs) == [first]
    assert condition(told(of, runs), "Initialized")["message"] == "containers with incomplete status: [init0 init1]"
    put(first, RUNNING)
    assert planning.startable(of, runs) == []
    put(first, ended(0))
    assert planning.startable(of, runs) == [second]
    put(second, RUNNING)
    second.started = False
    assert planning.startable(of, runs) == []
    second.started = True
    assert planning.startable(of, runs) == [main]
    put(main, RUNNING)
    put(second, ended(0))
    assert planning.startable(of, runs) == [second]


@pytest.mark.parametrize(("policy", "code", "again"), [
    ("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 0, False), ("Never", 1, False)])
def test_who_is_started_again(policy: str, code: int, again: bool) -> None:
    of = pod(restartPolicy=policy)
    [run] = runs = planning.runs(of)
    put(run, ended(code))
    assert (planning.startable(of, runs) == [run]) is again
    assert planning.done(of, runs) is not again
    run.again = True
    assert planning.startable(of, runs) == [run]


@pytest.mark.parametrize(("policy", "failed"), [("Always", False), ("OnFailure", False), ("Never", True)])
def test_an_init_container_that_fails_ends_the_pod_only_where_nothing_is_started_again(policy: str, failed: bool) -> None:
    of = pod(inits=1, restartPolicy=policy)
    runs = planning.runs(of)
    put(runs[0], ended(1))
    assert planning.done(of, runs) is failed
    assert told(of, runs)["status"]["phase"] == ("Failed" if failed else "Pending")


def test_pauses_double_until_a_container_has_run_for_long() -> None:
    run = Run({"name": "c"}, "main", {})
    dues = []
    for _ in range(8):
        run.pause_after(1.0, now=0.0)
        dues.append(run.due)
    assert dues == [0, 10, 20, 40, 80, 160, 300, 300]
    run.pause_after(601.0, now=0.0)
    assert (run.due, run.pause) == (0, 10)


def test_a_containers_status_has_a_kubelets_shape() -> None:
    run = Run({"name": "c", "image": "i"}, "main", RUNNING, container="abc", image_id="docker://sha256:1",
              ready=True, started=True, restarts=2)
    assert container_status(run) == {
        "name": "c", "image": "i", "imageID": "docker://sha256:1", "containerID": "docker://abc", "ready": True, "started": True,
        "restartCount": 2, "state": RUNNING, "lastState": {}}


@pytest.mark.parametrize(("resources", "quality_"), [
    ({}, "BestEffort"), ({"limits": {"cpu": 1, "memory": 1}}, "Guaranteed"), ({"requests": {"cpu": 1}}, "Burstable"),
    ({"limits": {"cpu": 1, "memory": 2}, "requests": {"memory": 1}}, "Burstable")])
def test_quality_of_service(resources: Object, quality_: str) -> None:
    of = pod()
    of["spec"]["containers"][0]["resources"] = resources
    assert quality(of) == quality_
