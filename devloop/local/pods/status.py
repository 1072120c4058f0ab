"""A pod's status as a kubelet reports it, of what its containers do. Nothing is done here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devloop.local.pods.runs import Run, policy
from devloop.local.store import now
from devloop.model import Object
from devloop.pods import condition


def status(pod: Object, runs: Sequence[Run], *, ip: str, host_ip: str, started_at: str, failure: Object | None = None) -> Object:
    """`failure`: reason and message where the pod as a whole was ended by its node."""
    found = phase(pod, runs) if not failure else "Failed"
    result: Object = {"phase": found, "conditions": conditions(pod, runs, found), "hostIP": host_ip, "hostIPs": [{"ip": host_ip}],
                      "startTime": started_at, "qosClass": quality(pod), **(failure or {})}
    if ip:
        result |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    for kind, key in (("init", "initContainerStatuses"), ("main", "containerStatuses")):
        if statuses := [container_status(run) for run in runs if run.kind == kind]:
            result[key] = statuses
    return result


def container_status(run: Run) -> Object:
    result: Object = {"name": run.name, "image": run.spec.get("image", ""), "imageID": run.image_id, "ready": is_ready(run),
                      "started": run.running and run.started, "restartCount": run.restarts, "state": run.state, "lastState": run.last}
    if run.container:
        result["containerID"] = f"docker://{run.container}"
    return result


def is_ready(run: Run) -> bool:
    """An init container that has done its work is ready, too."""
    if run.kind == "init" and not run.sidecar:
        return run.passed
    return run.running and run.started and run.ready


def phase(pod: Object, runs: Sequence[Run]) -> str:
    """As the kubelet's getPhase."""
    again = policy(pod)
    inits = [run for run in runs if run.kind == "init"]
    mains = [run for run in runs if run.kind == "main"]
    if any(run.state.get("terminated") and not run.passed and not run.sidecar and again == "Never" for run in inits):
        return "Failed"
    begun = any(run.running or run.ended for run in mains)
    if not begun and not all(run.passed for run in inits):
        return "Pending"
    if any("waiting" in run.state and not run.ended for run in mains):
        return "Pending"
    if any(run.running for run in mains):
        return "Running"
    if again == "Always":
        return "Running"
    if all("terminated" in run.state and run.ended.get("exitCode") == 0 for run in mains):
        return "Succeeded"
    return "Failed" if again == "Never" else "Running"


def conditions(pod: Object, runs: Sequence[Run], found: str) -> list[Object]:
    completed = {"reason": "PodCompleted"} if found == "Succeeded" else None
    unready = [run.name for run in runs if (run.kind == "main" or run.sidecar) and not is_ready(run)]
    incomplete = [run.name for run in runs if run.kind == "init" and not run.passed]
    begun = any(run.kind == "main" and (run.running or run.ended) for run in runs)
    contained = completed or (_reason("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]") if unready else {})
    ready = contained or _gates(pod)
    initialized = _reason("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]")
    if found == "Failed":
        contained = ready = {"reason": "PodFailed"}
    told: list[tuple[str, Object]] = [
        ("Initialized", (completed and {**completed, "status": "True"}) or ({} if begun or not incomplete else initialized)),
        ("Ready", ready), ("ContainersReady", contained), ("PodScheduled", {})]
    others = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] not in dict(told)]
    return [_condition(pod, kind, because) for kind, because in told] + others


def _gates(pod: Object) -> Object:
    """Why the pod is not ready though its containers are: somebody else has a word in it."""
    missing = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()
               if condition(pod, gate["conditionType"]).get("status") != "True"]
    told = "; ".join(f'corresponding condition of pod readiness gate "{gate}" does not exist.' for gate in missing)
    return _reason("ReadinessGatesNotReady", told) if missing else {}


def _reason(reason: str, message: str) -> Object:
    return {"reason": reason, "message": message}


def _condition(pod: Object, kind: str, because: Object) -> Object:
    """True where nothing speaks against it."""
    value = {"status": "False" if because else "True", **because}
    old = condition(pod, kind)
    since = old["lastTransitionTime"] if old.get("status") == value["status"] else now()
    return {"type": kind, "lastProbeTime": None, "lastTransitionTime": since, **value}


def quality(pod: Object) -> str:
    """``qosClass``"""
    resources: list[Any] = [c.get("resources") or {} for c in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))]
    if not any(r.get("limits") or r.get("requests") for r in resources):
        return "BestEffort"
    guaranteed = all({"cpu", "memory"} <= set(r.get("limits") or ()) and all((r.get("requests") or r["limits"]).get(k, v) == v
                     for k, v in r["limits"].items()) for r in resources)
    return "Guaranteed" if guaranteed else "Burstable"
