"""What the controllers share: making and counting what they own."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from devloop.clients.kube import Resource
from devloop.local.defaults import defaulted
from devloop.local.store import Store, now
from devloop.local.writes import scheduled
from devloop.model import Object
from devloop.pods import PODS, condition, finished, ready, terminating

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"     # Kubernetes': no vowels, so no words


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller that made the object."""
    return next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)


def owned(store: Store, kind: Resource, owner: Object) -> list[Object]:
    """What an object has made, the oldest first."""
    uid = owner["metadata"]["uid"]
    found = [o for o in store.list(kind, owner["metadata"]["namespace"]) if (c := controller_of(o)) and c["uid"] == uid]
    return sorted(found, key=lambda o: str(o["metadata"]["creationTimestamp"]))


def child(owner: Object, name: str, template: Object, labels: Mapping[str, str] | None = None) -> Object:
    """What a controller makes from a template: its metadata and its spec, owned by `owner`."""
    meta, own = template.get("metadata") or {}, owner["metadata"]
    made = {"name": name, "namespace": own["namespace"], "ownerReferences": [{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": own["name"], "uid": own["uid"], "controller": True,
        "blockOwnerDeletion": True}]}
    if found := {**(meta.get("labels") or {}), **(labels or {})}:
        made["labels"] = found
    if meta.get("annotations"):
        made["annotations"] = dict(meta["annotations"])
    return {"metadata": made, "spec": template["spec"]}


def make_pod(store: Store, pod: Object, owner: Object, component: str) -> Object:
    """Create a pod (as from `child`), and tell of it."""
    made = store.create(scheduled(store, defaulted({"apiVersion": "v1", "kind": "Pod", **pod})))
    store.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}", component)
    return made


def end_pod(store: Store, pod: Object, owner: Object, component: str) -> None:
    meta = pod["metadata"]
    store.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
    store.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}", component)


def active(pods: Iterable[Object]) -> list[Object]:
    return [pod for pod in pods if not finished(pod) and not terminating(pod)]


def available(pod: Object, seconds: int) -> float:
    """In how many seconds a pod will have been ready for `seconds`: 0 or less where it has; infinite where it is not ready."""
    if not ready(pod) or terminating(pod):
        return float("inf")
    return timestamp(condition(pod, "Ready").get("lastTransitionTime") or now()) + seconds - time.time() if seconds else 0.0


def expendable(pod: Object) -> tuple[Any, ...]:
    """Sorts pods: what to take away first comes first, as Kubernetes has it."""
    status = pod.get("status") or {}
    phases = ("Pending", "Unknown", "Running")
    phase = status.get("phase", "Pending")
    restarts = max((s.get("restartCount", 0) for s in status.get("containerStatuses") or ()), default=0)
    return (bool(pod["spec"].get("nodeName")), phases.index(phase) if phase in phases else 0, ready(pod), -restarts,
            -timestamp(pod["metadata"]["creationTimestamp"]))


def soonest(moments: Iterable[float]) -> float | None:
    """The first of the moments (in seconds from now) that is still to come and will come."""
    return min((m for m in moments if 0 < m < float("inf")), default=None)


def timestamp(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def counted(**numbers: int | None) -> Object:
    """Without those that are 0, as Kubernetes has it."""
    return {key: value for key, value in numbers.items() if value}


def suffix() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(5))


def first_pod(replica_set: str) -> str:
    """The name of a ReplicaSet's first pod: known beforehand. Those of the others are drawn."""
    return f"{replica_set}-{digest(replica_set)[:5]}"


def digest(value: Any) -> str:
    """A short name for it, as for a template."""
    number = int.from_bytes(hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:8], "big")
    letters = ""
    for _ in range(10):
        number, rest = divmod(number, len(_LETTERS))
        letters += _LETTERS[rest]
    return letters


def with_condition(conditions: Sequence[Object], kind: str, status: str, reason: str, message: str, *,
                   updated: bool = False) -> list[Object]:
    """The conditions with this one. Its lastUpdateTime is now where it says something else, or was `updated`."""
    old: Object = next((c for c in conditions if c["type"] == kind), {})
    moment = now()
    same = (old.get("status"), old.get("reason")) == (status, reason)
    new = {"type": kind, "status": status, "reason": reason, "message": message,
           "lastUpdateTime": old["lastUpdateTime"] if same and not updated else moment,
           "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == status else moment}
    return [*(c for c in conditions if c["type"] != kind), new]
