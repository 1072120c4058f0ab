"""What is wrong with a pod, as a value; and the events Kubernetes recorded about it, which often say more than its status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from devloop.model import Object
from devloop.pods import Container

AT_ONCE = 0.0
NEVER = inf


@dataclass(frozen=True)
class Missing:
    """An object that a pod needs (``ConfigMap``, ``Secret``, ``PersistentVolumeClaim``), or a key in it."""

    kind: str
    name: str
    key: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What keeps a pod from serving.

    `topic` tells one diagnosis from another while its words change; `brief` is for a progress line. `message` says which pod,
    what Kubernetes said and what that means, `hint` what to do. `patience`: for how many seconds it may still heal by itself
    before the rollout has failed: `AT_ONCE` or 0 where it cannot, `NEVER` where only the deadline decides.

    `attempts`: how many times the container has crashed so far (then `patience` does not count: see `rollout`).
    `container`: whose last lines explain it, of the instance before this one where `previous`.
    `missing`: what was not there when the kubelet looked; `resource`: what no node has enough of.
    """

    topic: str
    brief: str
    message: str
    hint: str = ""
    patience: float = NEVER
    attempts: int = 0
    container: str = ""
    previous: bool = False
    missing: Missing | None = None
    resource: str = ""


def subject(pod: Object, container: Container | None = None) -> str:
    """``pod web-7d9f (container web)``"""
    name = f"pod {pod['metadata']['name']}"
    if container is None:
        return name
    return f"{name} ({'init container' if container.kind == 'init' else 'container'} {container.name})"


class Events:
    """The events of a namespace, by the object they are about. Objects come and go under one name (``web-0``): the uid decides."""

    def __init__(self, events: Iterable[Object] = ()) -> None:
        self._events: dict[str, Object] = {}
        for event in events:
            self.put(event)

    def put(self, event: Object) -> None:
        if event.get("type") == "Warning" or event.get("reason") in ("TriggeredScaleUp", "Killing"):
            self._events[event["metadata"]["uid"]] = event

    def about(self, kind: str, name: str, uid: str = "") -> list[Object]:
        """Those about one object, the latest first."""
        found = [(e, e["involvedObject"]) for e in self._events.values()]
        ours = [e for e, o in found if o.get("kind") == kind and o.get("name") == name and (not uid or o.get("uid") in (None, "", uid))]
        return sorted(ours, key=last_seen, reverse=True)

    def of_pod(self, pod: Object, *reasons: str, container: str = "") -> list[Object]:
        """Those of a pod with one of these reasons, of one container where that is named; the latest first."""
        meta = pod["metadata"]
        return [e for e in self.about("Pod", meta["name"], meta["uid"]) if e.get("reason") in reasons
                and (not container or f"{{{container}}}" in (e["involvedObject"].get("fieldPath") or ""))]


def last_seen(event: Object) -> str:
    """When it happened last, as RFC 3339: good for sorting."""
    times = ((event.get("series") or {}).get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"),
             event["metadata"].get("creationTimestamp"))
    return next((str(t) for t in times if t), "")


def said(event: Object) -> str:
    return " ".join((event.get("message") or "").split())


