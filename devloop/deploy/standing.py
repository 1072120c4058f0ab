"""How far a workload's rollout is, by what its controller says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from devloop.model import Object, ObjectRef
from devloop.pods import condition, owned_by, ready

REVISION = "deployment.kubernetes.io/revision"
DAEMON_GENERATION = "deprecated.daemonset.template.generation"


@dataclass(frozen=True)
class Standing:
    """`ready` of `total` pods serve what was applied. `done`: the rollout is over, `outcome` tells how; `remark`: what the user
    should know of it. `waiting`: what for. `failed`: the controller has given up, and why. `refused`: it may not create pods.
    `observed`: the controller has seen what was applied, so that one can tell its pods from older ones."""

    ready: int
    total: int
    waiting: str = ""
    done: bool = False
    outcome: str = ""
    remark: str = ""
    failed: str = ""
    refused: str = ""
    observed: bool = True


def waited_for(ref: ObjectRef) -> bool:
    """Whether devloop knows when an object of this kind is rolled out."""
    return (ref.group, ref.kind) in _STANDINGS


def standing(obj: Object) -> Standing:
    """Of an object of a kind that is `waited_for`."""
    ref = ObjectRef.of(obj)
    seen = (obj.get("status") or {}).get("observedGeneration", 0)
    if "deletionTimestamp" in obj["metadata"]:
        return Standing(0, 0, "it is being deleted", observed=False)
    if ref.group == "apps" and seen < obj["metadata"].get("generation", 0):
        return Standing(0, _replicas(obj), "its controller has not seen the change yet", observed=False)
    return _STANDINGS[ref.group, ref.kind](obj)


def _parts(obj: Object) -> tuple[Object, Object]:
    return obj.get("spec") or {}, obj.get("status") or {}


def _replicas(obj: Object) -> int:
    return int((obj.get("spec") or {}).get("replicas", 1))


def _done(ready_pods: int, total: int, remark: str = "") -> Standing:
    outcome = f"{ready_pods} of {total} pods ready" if total else "no pods wanted"
    return Standing(ready_pods, total, done=True, outcome=outcome, remark=remark)


def _deployment(obj: Object) -> Standing:
    spec, status = _parts(obj)
    wanted, updated = _replicas(obj), status.get("updatedReplicas", 0)
    available, all_pods = status.get("availableReplicas", 0), status.get("replicas", 0)
    if spec.get("paused"):
        return Standing(available, wanted, done=True, outcome="paused",
                        remark="is paused (spec.paused): nothing is rolled out until it is resumed")
    progressing, refused = condition(obj, "Progressing"), condition(obj, "ReplicaFailure")
    failed = progressing.get("message", "") if progressing.get("reason") == "ProgressDeadlineExceeded" else ""
    waiting = ""
    if updated < wanted:
        waiting = f"{updated} of {wanted} new pods created"
    elif available < updated:
        waiting = _ready_but_young(status.get("readyReplicas", 0), wanted, spec)
    elif all_pods > updated:
        waiting = f"{all_pods - updated} old {'pod' if all_pods - updated == 1 else 'pods'} to stop"
    if not waiting:
        return _done(available, wanted)
    return Standing(max(0, available - (all_pods - updated)), wanted, waiting, failed=failed, refused=_message(refused))


def _message(condition: Object) -> str:
    return str(condition.get("message", "")) if condition.get("status") == "True" else ""


def _ready_but_young(ready_pods: int, wanted: int, spec: Object) -> str:
    seconds = spec.get("minReadySeconds", 0)
    return f"ready, and to stay so for {seconds} s (minReadySeconds)" if seconds and ready_pods >= wanted else "pods are not ready yet"


def _stateful_set(obj: Object) -> Standing:
    spec, status = _parts(obj)
    wanted, ready_pods, updated = _replicas(obj), status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    strategy = spec.get("updateStrategy") or {}
    new = status.get("updateRevision") == status.get("currentRevision")
    if strategy.get("type") == "OnDelete":
        if ready_pods < wanted:
            return Standing(ready_pods, wanted, "pods are not ready yet")
        return _done(ready_pods, wanted, "" if new or updated >= wanted else _on_delete(wanted - updated))
    partition = _partition(strategy)
    due = max(0, wanted - partition)
    if not new and updated < due:
        return Standing(min(ready_pods, updated), wanted, f"{updated} of {due} pods replaced")
    if ready_pods < wanted or status.get("replicas", 0) > wanted:
        return Standing(ready_pods, wanted, "pods are not ready yet" if ready_pods < wanted else "surplus pods to stop")
    available = status.get("availableReplicas") if spec.get("minReadySeconds") else None   # since Kubernetes 1.22
    available = ready_pods if available is None else available
    if available < wanted:
        return Standing(available, wanted, _ready_but_young(ready_pods, wanted, spec))
    remark = f"keeps {min(partition, wanted)} of {wanted} pods at the old version (partition: {partition})" if partition and not new else ""
    return _done(ready_pods, wanted, remark)


def _daemon_set(obj: Object) -> Standing:
    spec, status = _parts(obj)
    wanted, available = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        if available < wanted:
            return Standing(available, wanted, "pods are not ready yet")
        return _done(available, wanted, _on_delete(wanted - updated) if updated < wanted else "")
    if updated < wanted:
        return Standing(min(available, updated), wanted, f"{updated} of {wanted} pods replaced")
    if available < wanted:
        return Standing(available, wanted, _ready_but_young(status.get("numberReady", 0), wanted, spec))
    return _done(available, wanted, "" if wanted else "runs nowhere: no node matches its node selector and tolerations")


def _on_delete(old: int) -> str:
    keep = "1 pod keeps the old version until it is" if old == 1 else f"{old} pods keep the old version until they are"
    return f"has updateStrategy OnDelete: {keep} deleted"


def _replica_set(obj: Object) -> Standing:
    spec, status = _parts(obj)
    wanted, available = _replicas(obj), status.get("availableReplicas", 0)
    if available >= wanted and status.get("replicas", 0) == wanted:
        return _done(available, wanted)
    return Standing(available, wanted, _ready_but_young(status.get("readyReplicas", 0), wanted, spec),
                    refused=_message(condition(obj, "ReplicaFailure")))


def _job(obj: Object) -> Standing:
    spec, status = _parts(obj)
    wanted, succeeded = spec.get("completions") or 1, status.get("succeeded", 0)
    failed = condition(obj, "Failed")
    if condition(obj, "Complete").get("status") == "True":
        return Standing(succeeded, wanted, done=True, outcome="completed")
    if spec.get("suspend"):
        return Standing(succeeded, wanted, done=True, outcome="suspended", remark="is suspended: it does not run until it is resumed")
    if failed.get("status") == "True":
        return Standing(succeeded, wanted, failed=failed.get("message") or failed.get("reason") or "it failed")
    return Standing(succeeded, wanted, "it has not completed yet")


def _pod(obj: Object) -> Standing:
    status = obj.get("status") or {}
    if status.get("phase") == "Succeeded":
        return Standing(1, 1, done=True, outcome="completed")
    if status.get("phase") == "Failed":
        return Standing(0, 1, failed=status.get("message") or status.get("reason") or "it ended and is not restarted")
    return _done(1, 1) if ready(obj) else Standing(0, 1, "it is not ready yet")


_STANDINGS: dict[tuple[str, str], Callable[[Object], Standing]] = {
    ("apps", "Deployment"): _deployment, ("apps", "StatefulSet"): _stateful_set, ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set, ("batch", "Job"): _job, ("", "Pod"): _pod,
}


def new_pods(obj: Object, pods: Iterable[Object], replica_sets: Iterable[Object]) -> list[Object]:
    """The pods of what was applied last: an older revision's are not this rollout's business. `replica_sets`: the namespace's."""
    meta, status = obj["metadata"], obj.get("status") or {}
    match obj.get("kind"):
        case "Pod":
            return [obj]
        case "Deployment":
            new = [r for r in replica_sets if owned_by(r, meta["uid"]) and _annotation(r, REVISION) == _annotation(obj, REVISION)]
            return [p for p in pods if any(owned_by(p, r["metadata"]["uid"]) for r in new)]
        case "StatefulSet":
            return [p for p in pods if owned_by(p, meta["uid"]) and _label(p, "controller-revision-hash") == status.get("updateRevision")]
        case "DaemonSet":
            generation = _annotation(obj, DAEMON_GENERATION)
            return [p for p in pods if owned_by(p, meta["uid"]) and _label(p, "pod-template-generation") == generation]
        case _:
            return [p for p in pods if owned_by(p, meta["uid"])]


def stuck_pods(obj: Object, pods: Iterable[Object]) -> list[Object]:
    """Pods of a StatefulSet that are of an older revision and not ready. Its controller waits for them to become ready before
    it replaces any (kubernetes/kubernetes#67250): a broken version would stay for ever, mended or not."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    if obj.get("kind") != "StatefulSet" or spec.get("podManagementPolicy") == "Parallel" or strategy.get("type") == "OnDelete":
        return []
    partition = _partition(strategy)
    return [p for p in pods if owned_by(p, obj["metadata"]["uid"]) and "deletionTimestamp" not in p["metadata"] and not ready(p)
            and _label(p, "controller-revision-hash") not in ("", status.get("updateRevision"))
            and int(p["metadata"]["name"].rpartition("-")[2]) >= partition]


def _partition(strategy: Object) -> int:
    """Pods with a lower ordinal keep the old version."""
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def _annotation(obj: Object, key: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(key, ""))


def _label(obj: Object, key: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(key, ""))
