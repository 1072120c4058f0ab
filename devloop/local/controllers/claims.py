"""PersistentVolumeClaims are bound at once, to a volume of the Engine; pods that wait for one get their node then."""

from __future__ import annotations

from collections.abc import Iterable

from devloop.clients.kube import Resource
from devloop.local.kinds import CLAIMS
from devloop.local.store import NODE, Store, now
from devloop.local.writes import missing_claims, scheduled
from devloop.model import Object
from devloop.pods import PODS


class Claims:
    kind = CLAIMS
    owns: tuple[Resource, ...] = ()

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> None:
        meta, spec = obj["metadata"], obj["spec"]
        if "volumeName" not in spec:
            self._store.update({**obj, "spec": {**spec, "volumeName": f"pvc-{meta['uid']}"}})
        self._store.set_status(CLAIMS, meta["namespace"], meta["name"], {
            "phase": "Bound", "accessModes": spec["accessModes"], "capacity": {"storage": spec["resources"]["requests"]["storage"]}})


class Scheduling:
    """Pods get the node when the claims that they mount are there; until then they are told to wait as by a scheduler."""

    kind = PODS
    owns: tuple[Resource, ...] = ()

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> None:
        meta, spec = obj["metadata"], obj["spec"]
        if spec.get("nodeName"):
            return
        placed = scheduled(self._store, obj)
        if placed["spec"].get("nodeName") == NODE:
            self._store.update(placed)
            return
        name = next(missing_claims(self._store, meta["namespace"], spec))
        text, status = f'0/1 nodes are available: persistentvolumeclaim "{name}" not found.', obj.get("status") or {}
        if any(c["message"] == text for c in status.get("conditions") or ()):
            return
        self._store.set_status(PODS, meta["namespace"], meta["name"], {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text, "lastTransitionTime": now()}]})
        self._store.event(obj, "Warning", "FailedScheduling", text, "default-scheduler")

    def heard(self, change: str, obj: Object) -> Iterable[tuple[Resource, str, str]]:
        if change != "ADDED" or obj["kind"] != CLAIMS.kind:
            return ()
        namespace = obj["metadata"]["namespace"]
        return [(PODS, namespace, pod["metadata"]["name"]) for pod in self._store.list(PODS, namespace) if not pod["spec"].get("nodeName")]
