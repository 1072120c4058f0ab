"""Workloads become pods, version after version. The tests play the node."""

from __future__ import annotations

import time
from typing import Any

import pytest

from devloop.errors import ApiError
from devloop.local.defaults import defaulted
from devloop.local.kinds import CLAIMS, DAEMON_SETS, DEPLOYMENTS, EVENTS, JOBS, REPLICA_SETS, STATEFUL_SETS
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS, condition, ready
from tests.unit.local.node import Node
from tests.unit.local.objects import apply, container, job, path, template, thing, workload


def image(version: int) -> Object:
    return template(container(image=f"web:{version}"))


class World:
    """The local target, and what the tests ask of it."""

    def __init__(self, kube: LocalKube, store: Store, node: Node) -> None:
        self.kube, self.store, self.node = kube, store, node

    def pods(self) -> list[Object]:
        return self.store.list(PODS, "default")

    def running(self, count: int = 1) -> list[Object]:
        """Wait until so many pods have been started."""
        found: list[Object] = self.node.until(lambda: len(pods := self.pods()) == count and all(p.get("status") for p in pods) and pods)
        return found

    def names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods()]

    def images(self) -> list[str]:
        return [pod["spec"]["containers"][0]["image"] for pod in self.pods() if "deletionTimestamp" not in pod["metadata"]]

    def live(self, obj: Object) -> Object:
        return self.kube.get(path(obj))

    def status(self, obj: Object, **expected: Any) -> Object:
        """Wait until the status says this; None: says nothing of it."""
        def found() -> Object | None:
            status = self.live(obj).get("status") or {}
            return status if all(status.get(key) == value for key, value in expected.items()) else None

        status: Object = self.node.until(found)
        return status

    def up(self, obj: Object, replicas: int = 1) -> None:
        generation = self.live(obj)["metadata"]["generation"]
        self.status(obj, observedGeneration=generation, readyReplicas=replicas, updatedReplicas=replicas, replicas=replicas)


@pytest.fixture
def world(kube: LocalKube, store: Store, node: Node) -> World:
    return World(kube, store, node)


# --- Deployments

def test_a_deployment_has_its_pods_and_says_so(world: World) -> None:
    obj = workload("Deployment", replicas=2)
    apply(world.kube, obj)
    world.up(obj, 2)
    world.node.until(lambda: condition(world.live(obj), "Progressing").get("reason") == "NewReplicaSetAvailable")
    status = world.live(obj)["status"]
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable")}
    made, = world.store.list(REPLICA_SETS, "default")
    for pod in world.pods():
        meta = pod["metadata"]
        assert meta["name"].startswith(made["metadata"]["name"] + "-")
        assert meta["labels"] == {"app": "web", "pod-template-hash": made["metadata"]["labels"]["pod-template-hash"]}
        assert meta["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        assert pod["spec"]["nodeName"] == "docker"
    revision = "deployment.kubernetes.io/revision"
    assert made["metadata"]["annotations"][revision] == world.live(obj)["metadata"]["annotations"][revision] == "1"


def test_a_new_pod_is_ready_before_the_old_one_is_told_to_end(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", pod=image(1)))
    world.up(obj)
    old, = world.names()
    world.node.hold = lambda pod: "web:2" in str(pod)
    apply(world.kube, workload("Deployment", pod=image(2)))
    new = world.node.until(lambda: [p for p in world.pods() if p["metadata"]["name"] != old and p.get("status")])[0]
    world.status(obj, replicas=2, readyReplicas=1, updatedReplicas=1, unavailableReplicas=1)
    assert "deletionTimestamp" not in world.kube.get(f"/api/v1/namespaces/default/pods/{old}")["metadata"]
    world.node.say(new, ready=True)
    world.node.until(lambda: world.names() == [new["metadata"]["name"]])
    assert world.node.steps == [f"{old} starts", f"{new['metadata']['name']} starts", f"{old} ends"]
    world.up(obj)


def test_the_first_pod_of_the_next_version_is_known_beforehand(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", pod=image(1), replicas=2))
    uid = world.live(obj)["metadata"]["uid"]

    def expected() -> str:
        """A pod of a version that is not there yet."""
        pod = world.node.expected.get(uid) or {"metadata": {"name": ""}}
        name = str(pod["metadata"]["name"])
        return "" if name.rpartition("-")[0] in {r["metadata"]["name"] for r in world.store.list(REPLICA_SETS)} else name

    for version in (2, 3):
        world.up(obj, 2)
        name = world.node.until(expected)
        apply(world.kube, workload("Deployment", pod=image(version), replicas=2))
        world.node.until(lambda name=name: name in world.names())
        world.node.until(lambda version=version: world.images() == [f"web:{version}"] * 2)
    apply(world.kube, workload("Deployment", pod=image(3), replicas=0))
    world.node.until(lambda: world.node.expected[uid] is None)
    apply(world.kube, workload("Deployment", pod=image(3)))
    world.node.until(lambda: world.node.expected[uid])
    world.kube.request("DELETE", path(obj))
    world.node.until(lambda: world.node.expected[uid] is None)


def test_a_version_that_never_gets_ready_is_given_up_for_the_next_and_costs_no_pod_that_serves(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", pod=image(1), replicas=2))
    world.up(obj, 2)
    world.node.hold = lambda pod: "web:2" in str(pod)
    apply(world.kube, workload("Deployment", pod=image(2), replicas=2))
    world.node.until(lambda: sorted(world.images()) == ["web:1", "web:1", "web:2"])
    apply(world.kube, workload("Deployment", pod=image(3), replicas=2))
    world.node.until(lambda: world.images() == ["web:3", "web:3"])
    world.up(obj, 2)


def test_the_version_before_is_the_newest_when_it_comes_back(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", pod=image(1)))
    world.up(obj)
    for version in (2, 1):
        apply(world.kube, workload("Deployment", pod=image(version)))
        world.node.until(lambda version=version: world.images() == [f"web:{version}"])
    assert len(world.store.list(REPLICA_SETS)) == 2
    assert world.live(obj)["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_only_so_many_earlier_versions_are_kept(world: World) -> None:
    for version in range(1, 5):
        apply(world.kube, obj := workload("Deployment", pod=image(version), revisionHistoryLimit=1))
        world.node.until(lambda version=version: world.images() == [f"web:{version}"])
    world.node.until(lambda: len(world.store.list(REPLICA_SETS)) == 2)
    world.up(obj)


def test_recreate_waits_until_the_old_pods_are_gone(world: World) -> None:
    strategy = {"type": "Recreate"}
    apply(world.kube, obj := workload("Deployment", pod=image(1), strategy=strategy))
    world.up(obj)
    world.node.linger = lambda pod: True
    apply(world.kube, workload("Deployment", pod=image(2), strategy=strategy))
    old = world.node.until(lambda: [p for p in world.pods() if "deletionTimestamp" in p["metadata"]])[0]
    assert len(world.pods()) == 1
    world.node.end(old)
    world.up(obj)
    assert world.images() == ["web:2"]


def test_a_deployment_is_scaled_without_new_pods_for_the_others(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", replicas=3))
    world.up(obj, 3)
    before = set(world.names())
    apply(world.kube, workload("Deployment", replicas=1))
    world.node.until(lambda: len(world.names()) == 1)
    assert set(world.names()) < before
    apply(world.kube, workload("Deployment", replicas=0))
    world.node.until(lambda: not world.pods())


def test_a_paused_deployment_rolls_nothing_out(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", pod=image(1)))
    world.up(obj)
    apply(world.kube, workload("Deployment", pod=image(2), paused=True, replicas=2))
    world.status(obj, observedGeneration=2, replicas=2)
    assert world.images() == ["web:1", "web:1"]
    apply(world.kube, workload("Deployment", pod=image(2), replicas=2))
    world.node.until(lambda: world.images() == ["web:2", "web:2"])


def test_a_rollout_that_makes_no_progress_fails_at_its_deadline(world: World) -> None:
    world.node.hold = lambda pod: True
    apply(world.kube, obj := workload("Deployment", progressDeadlineSeconds=1))
    world.node.until(lambda: condition(world.live(obj), "Progressing").get("reason") == "ProgressDeadlineExceeded")
    name = world.store.list(REPLICA_SETS)[0]["metadata"]["name"]
    told = condition(world.live(obj), "Progressing")
    assert (told["status"], told["message"]) == ("False", f'ReplicaSet "{name}" has timed out progressing.')


def test_ready_pods_are_available_after_min_ready_seconds(world: World) -> None:
    apply(world.kube, obj := workload("Deployment", minReadySeconds=500))
    assert "availableReplicas" not in world.status(obj, readyReplicas=1, unavailableReplicas=1)
    apply(world.kube, workload("Deployment", minReadySeconds=1))
    world.status(obj, availableReplicas=1, unavailableReplicas=None)
    assert len(world.node.steps) == 1


def test_a_pod_that_is_deleted_or_has_ended_is_replaced(world: World) -> None:
    apply(world.kube, obj := workload("Deployment"))
    world.up(obj)
    first, = world.pods()
    world.kube.request("DELETE", path(first))
    world.node.until(lambda: first["metadata"]["name"] not in world.names())
    world.node.exit(world.running()[0], 1)
    world.node.until(lambda: len(world.pods()) == 2)


def test_what_an_object_made_goes_with_it(world: World) -> None:
    apply(world.kube, obj := workload("Deployment"))
    world.up(obj)
    world.kube.request("DELETE", path(obj))
    world.node.until(lambda: not world.pods() and not world.store.list(REPLICA_SETS))


# --- StatefulSets

def test_a_stateful_sets_pods_come_one_after_the_other(world: World) -> None:
    world.node.hold = lambda pod: True
    apply(world.kube, obj := workload("StatefulSet", replicas=3))
    for number in range(3):
        world.node.until(lambda number=number: len(world.pods()) == number + 1 and world.pods()[-1].get("status"))
        world.node.say(world.pods()[-1], ready=True)
    assert world.node.steps == ["web-0 starts", "web-1 starts", "web-2 starts"]
    world.up(obj, 3)
    pod = world.pods()[1]
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-1", "web")
    assert pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "web-1"
    assert pod["metadata"]["labels"]["controller-revision-hash"] == world.live(obj)["status"]["updateRevision"]


def test_a_stateful_set_is_updated_from_the_last_to_the_first(world: World) -> None:
    apply(world.kube, obj := workload("StatefulSet", replicas=3, pod=image(1)))
    world.up(obj, 3)
    world.node.steps.clear()
    apply(world.kube, workload("StatefulSet", replicas=3, pod=image(2)))
    world.node.until(lambda: world.images() == ["web:2"] * 3 and all(map(ready, world.pods())))
    assert world.node.steps == [f"web-{n} {what}" for n in (2, 1, 0) for what in ("ends", "starts")]
    status = world.status(obj, updatedReplicas=3, readyReplicas=3)
    assert status["currentRevision"] == status["updateRevision"]


def test_a_partition_keeps_the_first_pods_at_their_version_even_when_they_are_made_anew(world: World) -> None:
    strategy = {"rollingUpdate": {"partition": 1}}
    apply(world.kube, obj := workload("StatefulSet", replicas=2, pod=image(1), updateStrategy=strategy))
    world.up(obj, 2)
    apply(world.kube, workload("StatefulSet", replicas=2, pod=image(2), updateStrategy=strategy))
    world.node.until(lambda: world.images() == ["web:1", "web:2"])
    first = world.pods()[0]
    world.kube.request("DELETE", path(first))
    world.node.until(lambda: len(world.images()) == 2 and world.pods()[0]["metadata"]["uid"] != first["metadata"]["uid"])
    assert world.images() == ["web:1", "web:2"]
    status = world.status(obj, updatedReplicas=1, readyReplicas=2)
    assert status["currentRevision"] != status["updateRevision"]


def test_on_delete_pods_keep_their_version_until_they_are_deleted(world: World) -> None:
    strategy = {"type": "OnDelete"}
    apply(world.kube, obj := workload("StatefulSet", pod=image(1), updateStrategy=strategy))
    world.up(obj)
    apply(world.kube, workload("StatefulSet", pod=image(2), updateStrategy=strategy))
    world.status(obj, observedGeneration=2, readyReplicas=1)
    assert world.images() == ["web:1"]
    world.kube.request("DELETE", path(world.pods()[0]))
    world.node.until(lambda: world.images() == ["web:2"])


def test_each_pod_of_a_stateful_set_has_a_claim_of_its_own_that_outlives_it(world: World) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    spec: dict[str, Any] = {"pod": template(container(volumeMounts=[{"name": "data", "mountPath": "/d"}]), volumes=[
        {"name": "data", "emptyDir": {}}]), "volumeClaimTemplates": [claim], "podManagementPolicy": "Parallel"}
    apply(world.kube, obj := workload("StatefulSet", replicas=2, **spec))
    world.up(obj, 2)
    assert [claim["metadata"]["name"] for claim in world.store.list(CLAIMS)] == ["data-web-0", "data-web-1"]
    assert [pod["spec"]["volumes"] for pod in world.pods()] == [
        [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-web-{n}"}}] for n in (0, 1)]
    world.kube.request("DELETE", path(obj))
    world.node.until(lambda: not world.pods())
    assert len(world.store.list(CLAIMS)) == 2


def test_a_parallel_stateful_set_starts_all_at_once_and_scales_down_from_the_last(world: World) -> None:
    world.node.hold = lambda pod: True
    apply(world.kube, obj := workload("StatefulSet", replicas=3, podManagementPolicy="Parallel"))
    world.node.until(lambda: len(world.pods()) == 3)
    apply(world.kube, workload("StatefulSet", replicas=1, podManagementPolicy="Parallel"))
    world.node.until(lambda: world.names() == ["web-0"])
    world.status(obj, replicas=1)


# --- DaemonSets

def test_a_daemon_set_has_one_pod_which_is_replaced(world: World) -> None:
    apply(world.kube, obj := workload("DaemonSet", pod=image(1)))
    world.status(obj, desiredNumberScheduled=1, numberAvailable=1, updatedNumberScheduled=1, numberReady=1, observedGeneration=1)
    apply(world.kube, workload("DaemonSet", pod=image(2)))
    world.status(obj, numberAvailable=1, updatedNumberScheduled=1, observedGeneration=2)
    assert world.images() == ["web:2"]
    live = world.live(obj)
    assert live["metadata"]["annotations"]["deprecated.daemonset.template.generation"] == "2"
    assert world.pods()[0]["metadata"]["labels"]["pod-template-generation"] == "2"


def test_a_daemon_set_with_surge_has_the_new_pod_ready_first(world: World) -> None:
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    apply(world.kube, obj := workload("DaemonSet", pod=image(1), updateStrategy=strategy))
    world.status(obj, numberAvailable=1)
    old, = world.names()
    apply(world.kube, workload("DaemonSet", pod=image(2), updateStrategy=strategy))
    world.node.until(lambda: world.images() == ["web:2"] and len(world.pods()) == 1)
    assert world.node.steps == [f"{old} starts", f"{world.names()[0]} starts", f"{old} ends"]


# --- Jobs

def test_a_job_is_complete_when_its_pod_has_succeeded(world: World) -> None:
    apply(world.kube, obj := job())
    world.status(obj, active=1, ready=1)
    world.node.exit(world.pods()[0], 0)
    world.node.until(lambda: condition(world.live(obj), "Complete"))
    status = world.status(obj, succeeded=1, active=None)
    assert [c["type"] for c in status["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert status["startTime"] <= status["completionTime"]
    assert len(world.pods()) == 1
    labels = world.pods()[0]["metadata"]["labels"]
    assert (labels["job-name"], labels["controller-uid"]) == ("once", world.live(obj)["metadata"]["uid"])


def test_a_job_runs_as_many_pods_at_once_as_it_may_until_all_completions_are_there(world: World) -> None:
    apply(world.kube, obj := job(completions=3, parallelism=2, completionMode="Indexed"))
    world.running(2)
    index = "batch.kubernetes.io/job-completion-index"
    world.node.exit(world.pods()[0], 0)
    world.running(3)
    assert sorted(pod["metadata"]["annotations"][index] for pod in world.pods()) == ["0", "1", "2"]
    assert world.pods()[0]["spec"]["containers"][0]["env"] == [
        {"name": "JOB_COMPLETION_INDEX", "value": world.pods()[0]["metadata"]["annotations"][index]}]
    for pod in world.pods():
        world.node.exit(pod, 0)
    world.node.until(lambda: condition(world.live(obj), "Complete"))
    world.status(obj, succeeded=3, active=None)
    assert len(world.pods()) == 3


def test_a_job_fails_when_its_pods_have_failed_too_often(world: World) -> None:
    apply(world.kube, obj := job(backoffLimit=0))
    world.node.exit(world.running()[0], 1)
    world.node.until(lambda: condition(world.live(obj), "Failed"))
    status = world.status(obj, failed=1, active=None)
    assert [(c["type"], c["reason"], c["message"]) for c in status["conditions"]] == [
        (kind, "BackoffLimitExceeded", "Job has reached the specified backoff limit") for kind in ("FailureTarget", "Failed")]
    assert any(event["reason"] == "BackoffLimitExceeded" for event in world.store.list(EVENTS))


def test_restarts_in_place_count_as_failures(world: World) -> None:
    obj = job(backoffLimit=2)
    obj["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    apply(world.kube, obj)
    pod, = world.running()
    world.node.status(pod, "Running", {"waiting": {"reason": "CrashLoopBackOff"}}, ready=False, restartCount=2)
    world.node.until(lambda: condition(world.live(obj), "Failed").get("reason") == "BackoffLimitExceeded")
    world.node.until(lambda: not world.pods())


def test_a_job_that_takes_too_long_is_ended(world: World) -> None:
    apply(world.kube, obj := job(activeDeadlineSeconds=1))
    world.node.until(world.pods)
    world.node.until(lambda: condition(world.live(obj), "Failed").get("reason") == "DeadlineExceeded")
    world.node.until(lambda: not world.pods())


def test_a_finished_job_goes_after_its_time_with_its_pods(world: World) -> None:
    apply(world.kube, job(ttlSecondsAfterFinished=0))
    world.node.exit(world.running()[0], 0)
    world.node.until(lambda: not world.store.list(JOBS) and not world.pods())


def test_a_suspended_job_runs_nothing_until_it_is_resumed(world: World) -> None:
    apply(world.kube, obj := job(suspend=True))
    world.node.until(lambda: condition(world.live(obj), "Suspended").get("status") == "True")
    assert not world.pods()
    apply(world.kube, job(suspend=False))
    world.status(obj, active=1)


# --- CronJobs

def cron_job(**spec: Any) -> Object:
    return thing("CronJob", "often", "batch/v1", spec={"schedule": "* * * * *", "jobTemplate": {"spec": job()["spec"]}, **spec})


def overdue(world: World, **spec: Any) -> str:
    """A CronJob that should have run within the last minute, and is not to run again today. Returns when it ran before that."""
    present = time.time()
    due, before = time.gmtime(present // 60 * 60), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(present - 61))
    spec["schedule"] = f"{due.tm_min} {due.tm_hour} * * *"
    # made with its status: the controller looks at it from now on, and says what it has seen
    world.store.create({**defaulted(cron_job(suspend=True, **spec)), "status": {"lastScheduleTime": before}})
    apply(world.kube, cron_job(suspend=False, **spec))
    return before


def test_a_cron_job_makes_a_job_when_its_time_has_come(world: World) -> None:
    overdue(world)
    made = world.node.until(lambda: world.store.list(JOBS))[0]
    assert made["metadata"]["name"].startswith("often-")
    pod, = world.running()
    status = world.status(cron_job())
    assert status["active"][0]["name"] == made["metadata"]["name"]
    world.node.exit(pod, 0)
    world.node.until(lambda: "active" not in (world.live(cron_job()).get("status") or {}))
    assert len(world.store.list(JOBS)) == 1


def test_a_cron_job_that_is_too_late_waits_for_its_next_time(world: World) -> None:
    before = overdue(world, startingDeadlineSeconds=0)
    world.node.until(lambda: world.live(cron_job())["status"]["lastScheduleTime"] != before)
    assert not world.store.list(JOBS)


# --- claims

def test_a_claim_is_bound_at_once_and_a_pod_waits_for_its_claim(world: World) -> None:
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    apply(world.kube, workload("Deployment", pod=template(container(), volumes=volumes)))
    pod = world.node.until(lambda: [p for p in world.pods() if condition(p, "PodScheduled")])[0]
    told = condition(pod, "PodScheduled")
    assert (told["reason"], told["message"]) == (
        "Unschedulable", '0/1 nodes are available: persistentvolumeclaim "data" not found.')
    assert "nodeName" not in pod["spec"]
    claim = thing("PersistentVolumeClaim", "data", spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}})
    apply(world.kube, claim)
    world.node.until(lambda: ready(world.pods()[0]))
    assert world.status(claim, phase="Bound")["capacity"] == {"storage": "1Gi"}
    assert apply(world.kube, claim)["spec"]["volumeName"]


def test_an_object_with_two_owners_goes_with_the_last(world: World) -> None:
    owners = [apply(world.kube, thing("ConfigMap", name)) for name in ("a", "b")]
    meta = {"name": "c", "namespace": "default", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]} for o in owners]}
    apply(world.kube, {**thing("Secret", "c"), "metadata": meta})
    world.kube.request("DELETE", path(owners[0]))
    apply(world.kube, obj := workload("Deployment"))
    world.up(obj)       # what was deleted has long been heard of by now
    assert world.kube.get("/api/v1/namespaces/default/secrets/c")
    world.kube.request("DELETE", path(owners[1]))

    def gone() -> bool:
        try:
            world.kube.get("/api/v1/namespaces/default/secrets/c")
        except ApiError as error:
            return error.status == 404
        return False

    world.node.until(gone)


def test_nothing_moves_when_nothing_happens(world: World) -> None:
    """Controllers that answered each other for ever would keep a core busy."""
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        obj = workload(kind)
        apply(world.kube, {**obj, "metadata": {**obj["metadata"], "name": kind.lower()}})
    apply(world.kube, job())
    world.node.until(lambda: len(world.pods()) == 4 and all(map(ready, world.pods())))
    kinds = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS)
    world.node.until(lambda: all(world.store.list(kind)[0].get("status") for kind in kinds))
    settled, since = world.store.version, time.monotonic()
    while time.monotonic() - since < 0.5:
        if world.store.version != settled:
            settled, since = world.store.version, time.monotonic()
        time.sleep(0.01)
