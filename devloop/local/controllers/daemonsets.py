"""DaemonSets: one pod, since there is one node."""

from __future__ import annotations

from devloop.local.controllers.making import active, available, child, counted, digest, end_pod, make_pod, owned, soonest, suffix
from devloop.local.kinds import DAEMON_SETS
from devloop.local.store import Store
from devloop.local.writes import DAEMON_GENERATION
from devloop.model import Object
from devloop.pods import PODS, finished, ready, terminating

COMPONENT = "daemonset-controller"
GENERATION = "pod-template-generation"
HASH = "controller-revision-hash"


class DaemonSets:
    kind = DAEMON_SETS
    owns = (PODS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> float | None:
        meta, spec = obj["metadata"], obj["spec"]
        version = digest(spec["template"])
        for pod in owned(self._store, PODS, obj):
            if finished(pod) and not terminating(pod):
                end_pod(self._store, pod, obj, COMPONENT)
        self._step(obj, version)
        pods = active(owned(self._store, PODS, obj))
        waits = [available(pod, spec.get("minReadySeconds", 0)) for pod in pods]
        up = min(1, sum(wait <= 0 for wait in waits))
        self._store.set_status(DAEMON_SETS, meta["namespace"], meta["name"], {
            "currentNumberScheduled": min(1, len(pods)), "desiredNumberScheduled": 1, "numberMisscheduled": 0,
            "numberReady": min(1, sum(map(ready, pods))), **counted(
                observedGeneration=meta["generation"], numberAvailable=up, numberUnavailable=1 - up,
                updatedNumberScheduled=min(1, sum(_version(pod) == version for pod in pods)))})
        return soonest(waits)

    def _step(self, obj: Object, version: str) -> None:
        spec, rolling = obj["spec"], obj["spec"]["updateStrategy"].get("rollingUpdate") or {}
        there = [pod for pod in owned(self._store, PODS, obj) if not finished(pod)]
        pods = active(there)
        new = [pod for pod in pods if _version(pod) == version]
        old = [pod for pod in pods if pod not in new]
        surge = str(rolling.get("maxSurge", 0)).rstrip("%") != "0"
        if spec["updateStrategy"]["type"] == "RollingUpdate" and old:
            if surge and not new:
                self._make(obj, version)
            elif not surge or available(new[0], spec.get("minReadySeconds", 0)) <= 0:
                for pod in old:
                    end_pod(self._store, pod, obj, COMPONENT)
        elif not there:
            self._make(obj, version)

    def _make(self, obj: Object, version: str) -> None:
        generation = str((obj["metadata"].get("annotations") or {}).get(DAEMON_GENERATION, ""))
        pod = child(obj, f"{obj['metadata']['name']}-{suffix()}", obj["spec"]["template"], {HASH: version, GENERATION: generation})
        make_pod(self._store, pod, obj, COMPONENT)


def _version(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH, ""))
