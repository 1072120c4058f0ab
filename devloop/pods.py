"""The pods, watched once for everyone who follows them: rollouts, tails and forwards. And what a pod's status says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from devloop.clients.kube import Kube, Resource, WatchEvent
from devloop.clients.watches import Watches
from devloop.events import Emit
from devloop.model import Object

PODS = Resource("v1", "Pod", "pods", True)

OnChange = Callable[[Mapping[str, Object]], None]


@dataclass(eq=False)
class _Watch:
    """One watch and who listens to it. `pods` is replaced, never changed in place; None until the first list."""

    stop: Callable[[], None] = field(default=lambda: None)
    pods: Mapping[str, Object] | None = None
    subscriptions: list[_Subscription] = field(default_factory=list)


@dataclass(eq=False)
class _Subscription:
    watch: _Watch
    on_change: OnChange
    due: bool = False


class Pods:
    """Shared watches of pods: one per namespace and label selector, however many ask. Safe from every thread.

    `watches` may be used for watches of other things, so that all of them together tell of a lost connection once.
    """

    def __init__(self, kube: Kube, emit: Emit) -> None:
        self.watches = Watches(kube, emit)
        self._lock = threading.Lock()
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._due: queue.SimpleQueue[_Subscription | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="pods", daemon=True)
        self._thread.start()

    def subscribe(self, namespace: str, selector: str, on_change: OnChange) -> Callable[[], None]:
        """Follow the pods of a namespace (all where it is empty) that match a label selector. Returns the unsubscribe.

        `on_change` gets all current pods by uid, once after the first list and then whenever they changed: the state, not
        every step to it. It must neither block nor raise; calls come one at a time from one thread. After an unsubscribe
        (from anywhere, `on_change` included) at most the call that is under way comes to its end.
        """
        key = (namespace, selector)
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                watch = self._watches[key] = _Watch()
                watch.stop = self._start(key, watch)
            subscription = _Subscription(watch, on_change)
            watch.subscriptions.append(subscription)
            if watch.pods is not None:
                self._mark(subscription)
        return lambda: self._unsubscribe(key, subscription)

    def close(self) -> None:
        """End every watch and every delivery. Not to be called from a callback."""
        self.watches.close()
        self._due.put(None)
        self._thread.join()

    def _start(self, key: tuple[str, str], watch: _Watch) -> Callable[[], None]:
        namespace, selector = key
        query = {"labelSelector": selector} if selector else {}
        return self.watches.start(PODS.path(namespace), query, lambda event: self._changed(watch, event))

    def _changed(self, watch: _Watch, event: WatchEvent) -> None:
        changed = {pod["metadata"]["uid"]: pod for pod in event.objects}
        with self._lock:
            if event.type == "SNAPSHOT":
                watch.pods = changed
            elif event.type == "DELETED":
                watch.pods = {uid: pod for uid, pod in (watch.pods or {}).items() if uid not in changed}
            else:
                watch.pods = {**(watch.pods or {}), **changed}
            for subscription in watch.subscriptions:
                self._mark(subscription)

    def _mark(self, subscription: _Subscription) -> None:
        if not subscription.due:
            subscription.due = True
            self._due.put(subscription)

    def _deliver(self) -> None:
        while subscription := self._due.get():
            with self._lock:
                subscription.due = False
                pods = subscription.watch.pods
                wanted = subscription in subscription.watch.subscriptions
            if wanted and pods is not None:
                subscription.on_change(pods)

    def _unsubscribe(self, key: tuple[str, str], subscription: _Subscription) -> None:
        watch = subscription.watch
        with self._lock:
            if subscription not in watch.subscriptions:
                return
            watch.subscriptions.remove(subscription)
            last = not watch.subscriptions
            if last:
                del self._watches[key]
        if last:
            watch.stop()


# --- what a pod's status says


@dataclass(frozen=True)
class Container:
    """One container of a pod: `spec` and `status` as in the pod; `status` is empty until the kubelet has reported it."""

    name: str
    kind: Literal["init", "main"]
    spec: Object
    status: Object

    @property
    def lasting(self) -> bool:
        """It is to run as long as the pod: a main container, or a sidecar (from Kubernetes 1.28: an init container that restarts)."""
        return self.kind == "main" or self.spec.get("restartPolicy") == "Always"

    @property
    def waiting(self) -> Object:
        return self._state("state", "waiting")

    @property
    def running(self) -> Object:
        return self._state("state", "running")

    @property
    def terminated(self) -> Object:
        return self._state("state", "terminated")

    @property
    def last_terminated(self) -> Object:
        """How the instance before the present one ended."""
        return self._state("lastState", "terminated")

    @property
    def restarts(self) -> int:
        return int(self.status.get("restartCount", 0))

    def _state(self, which: str, what: str) -> Object:
        return (self.status.get(which) or {}).get(what) or {}


def containers(pod: Object) -> Iterator[Container]:
    """The init containers first, in the order they run."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kinds: tuple[tuple[Literal["init", "main"], str, str], ...] = (
        ("init", "initContainers", "initContainerStatuses"), ("main", "containers", "containerStatuses"))
    for kind, specs, statuses in kinds:
        known = {s["name"]: s for s in status.get(statuses) or ()}
        for container in spec.get(specs) or ():
            yield Container(container["name"], kind, container, known.get(container["name"], {}))


def condition(obj: Object, kind: str) -> Object:
    """One of the status' conditions by its type; empty where there is none."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), {})


def ready(pod: Object) -> bool:
    """All containers run and their readiness probes pass."""
    return condition(pod, "Ready").get("status") == "True"


def assigned(pod: Object) -> bool:
    """A node was chosen: its kubelet can be asked for logs, ports and commands, long before the pod's phase says Running."""
    return bool((pod.get("spec") or {}).get("nodeName"))


def terminating(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def finished(pod: Object) -> bool:
    """It ended and will not run again: a Job's pod, or one that was evicted."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def owned_by(pod: Object, uid: str) -> bool:
    """The object with this uid is the pod's controller."""
    return any(o.get("uid") == uid and o.get("controller") for o in pod["metadata"].get("ownerReferences") or ())


def selector_text(selector: Mapping[str, Any]) -> str:
    """A ``LabelSelector`` (matchLabels and matchExpressions) as the API's query wants it."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values") or ())
        match expression["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)
