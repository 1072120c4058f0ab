"""ReplicaSets: as many pods as they say."""

from __future__ import annotations

from devloop.local.controllers.making import (
    active,
    available,
    child,
    counted,
    end_pod,
    expendable,
    first_pod,
    make_pod,
    owned,
    soonest,
    suffix,
)
from devloop.local.kinds import REPLICA_SETS
from devloop.local.selectors import selects
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS, ready

COMPONENT = "replicaset-controller"


class ReplicaSets:
    kind = REPLICA_SETS
    owns = (PODS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> float | None:
        meta, spec = obj["metadata"], obj["spec"]
        pods = active(owned(self._store, PODS, obj))
        missing = spec["replicas"] - len(pods)
        new = not obj.get("status")
        for _ in range(missing):
            name = first_pod(meta["name"]) if new and not pods else f"{meta['name']}-{suffix()}"
            pods.append(make_pod(self._store, child(obj, name, spec["template"]), obj, COMPONENT))
        if missing < 0:
            for pod in sorted(pods, key=expendable)[:-missing]:
                end_pod(self._store, pod, obj, COMPONENT)
                pods.remove(pod)
        waits = [available(pod, spec.get("minReadySeconds", 0)) for pod in pods]
        labels = selects({"matchLabels": spec["template"]["metadata"].get("labels") or {}})
        self._store.set_status(REPLICA_SETS, meta["namespace"], meta["name"], {"replicas": len(pods), **counted(
            fullyLabeledReplicas=sum(labels(pod["metadata"].get("labels") or {}) for pod in pods),
            readyReplicas=sum(map(ready, pods)), availableReplicas=sum(wait <= 0 for wait in waits),
            observedGeneration=meta["generation"])})
        return soonest(waits)
