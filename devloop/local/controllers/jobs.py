"""Jobs: pods that run until enough of them have succeeded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from devloop.local.controllers.making import child, counted, make_pod, owned, soonest, suffix, timestamp
from devloop.local.kinds import JOBS
from devloop.local.store import Store, now
from devloop.model import Object
from devloop.pods import PODS, condition, finished, terminating

COMPONENT = "job-controller"
INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 360.0     # seconds after a failed pod, doubling
_DONE = ("Complete", "Failed")


class Jobs:
    kind = JOBS
    owns = (PODS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> float | None:
        if over := next((condition(obj, kind) for kind in _DONE if condition(obj, kind).get("status") == "True"), None):
            return self._expire(obj, over)
        spec, pods = obj["spec"], [pod for pod in owned(self._store, PODS, obj) if not terminating(pod) or finished(pod)]
        if spec["suspend"]:
            self._end(pod for pod in pods if not finished(pod))
            self._tell(obj, pods, [_condition("Suspended", "JobSuspended", "Job suspended")])
            return None
        started = timestamp((obj.get("status") or {}).get("startTime") or now())
        running, succeeded = [pod for pod in pods if not finished(pod)], _succeeded(pods)
        if failure := self._failure(obj, pods, started):
            self._finish(obj, pods, "Failed", *failure)
            return None
        completions = spec.get("completions")
        if len(succeeded) >= completions if completions is not None else succeeded and not running:
            self._finish(obj, pods, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
            return None
        pause = self._fill(obj, pods, running, succeeded)
        self._tell(obj, owned(self._store, PODS, obj), [])
        deadline = started + spec["activeDeadlineSeconds"] - time.time() if "activeDeadlineSeconds" in spec else 0.0
        return soonest((pause, max(0.01, deadline) if deadline else 0.0))

    def _finish(self, obj: Object, pods: Sequence[Object], ending: str, reason: str, message: str) -> None:
        self._end(pod for pod in pods if not finished(pod))
        if ending == "Complete":
            self._store.event(obj, "Normal", "Completed", "Job completed", COMPONENT)
        else:
            self._store.event(obj, "Warning", reason, message, COMPONENT)
        target = "SuccessCriteriaMet" if ending == "Complete" else "FailureTarget"
        self._tell(obj, pods, [_condition(target, reason, message), _condition(ending, reason, message)])

    def _fill(self, obj: Object, pods: Sequence[Object], running: Sequence[Object], succeeded: Sequence[Object]) -> float:
        """Make the pods that are to run now; returns the seconds until more may be made."""
        spec, completions = obj["spec"], obj["spec"].get("completions")
        wanted = spec["parallelism"] if completions is None and not succeeded else \
            min(spec["parallelism"], completions - len(succeeded)) if completions is not None else len(running)
        failed = [pod for pod in pods if _phase(pod) == "Failed"]
        pause = self._pause(failed, succeeded)
        if len(running) < wanted and pause > 0:
            return pause
        taken = {_index(pod) for pod in (*running, *succeeded)}
        free = (str(n) for n in range(completions or 0) if str(n) not in taken)
        for _ in range(wanted - len(running)):
            self._make(obj, next(free) if spec["completionMode"] == "Indexed" else "")
        if len(running) > wanted:
            self._end(running[wanted:])
        return 0.0

    def _pause(self, failed: Sequence[Object], succeeded: Sequence[Object]) -> float:
        last = max(map(_ended, succeeded), default=0.0)
        since = [ended for ended in map(_ended, failed) if ended > last]
        if not since:
            return 0.0
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (len(since) - 1))
        return max(since) + pause - time.time()

    def _make(self, obj: Object, index: str) -> None:
        name, template = obj["metadata"]["name"], obj["spec"]["template"]
        pod = child(obj, f"{name}-{index}-{suffix()}" if index else f"{name}-{suffix()}", template, {INDEX: index} if index else None)
        if index:
            # as every container of an Indexed Job is told which one it is
            pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), INDEX: index}
            spec = pod["spec"] = {**pod["spec"], "hostname": f"{name}-{index}"}
            for key in ("containers", "initContainers"):
                if key in spec:
                    spec[key] = [{**c, "env": [*(c.get("env") or ()), {"name": "JOB_COMPLETION_INDEX", "value": index}]} for c in spec[key]]
        make_pod(self._store, pod, obj, COMPONENT)

    def _failure(self, obj: Object, pods: Sequence[Object], started: float) -> tuple[str, str] | None:
        spec = obj["spec"]
        failures = sum(_phase(pod) == "Failed" for pod in pods)
        if spec["template"]["spec"]["restartPolicy"] == "OnFailure":
            failures += sum(_restarts(pod) for pod in pods if not finished(pod))
            if failures and failures >= spec["backoffLimit"] and any(_restarts(pod) for pod in pods):
                return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if failures > spec["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if "activeDeadlineSeconds" in spec and time.time() >= started + spec["activeDeadlineSeconds"]:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _end(self, pods: Iterable[Object]) -> None:
        for pod in pods:
            meta = pod["metadata"]
            self._store.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])

    def _expire(self, obj: Object, over: Object) -> float | None:
        """Delete it, with its pods, when its ``ttlSecondsAfterFinished`` have passed."""
        ttl, meta = obj["spec"].get("ttlSecondsAfterFinished"), obj["metadata"]
        if ttl is None:
            return None
        left: float = timestamp(over["lastTransitionTime"]) + ttl - time.time()
        if left > 0:
            return left
        self._store.delete(JOBS, meta["namespace"], meta["name"], uid=meta["uid"])
        return None

    def _tell(self, obj: Object, pods: Sequence[Object], conditions: Sequence[Object]) -> None:
        meta, before = obj["metadata"], obj.get("status") or {}
        old = [c for c in before.get("conditions") or () if c["type"] != "Suspended"]
        suspended = conditions and conditions[0]["type"] == "Suspended"
        if suspended and condition(obj, "Suspended"):
            return
        done = any(c["type"] in _DONE for c in conditions)
        running = [] if done or suspended else [pod for pod in pods if not finished(pod) and not terminating(pod)]
        status = {**counted(active=len(running), succeeded=len(_succeeded(pods)), failed=sum(_phase(pod) == "Failed" for pod in pods)),
                  "ready": sum(condition(pod, "Ready").get("status") == "True" for pod in running)}
        if not suspended:
            status["startTime"] = before.get("startTime") or now()
        if done and conditions[-1]["type"] == "Complete":
            status["completionTime"] = now()
        if all_conditions := [*old, *conditions]:
            status["conditions"] = all_conditions
        self._store.set_status(JOBS, meta["namespace"], meta["name"], status)


def _condition(kind: str, reason: str, message: str) -> Object:
    moment = now()
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastProbeTime": moment, "lastTransitionTime": moment}


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _succeeded(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if _phase(pod) == "Succeeded"]


def _index(pod: Object) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(INDEX, ""))


def _restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    return sum(s.get("restartCount", 0) for s in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())))


def _ended(pod: Object) -> float:
    """When its last container ended."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    found = [s["state"]["terminated"].get("finishedAt") for s in statuses if "terminated" in (s.get("state") or {})]
    return max((timestamp(text) for text in found if text), default=timestamp(pod["metadata"]["creationTimestamp"]))
