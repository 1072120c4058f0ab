"""The objects of the local target, in memory. What happens to them is told in the order in which it happened."""

from __future__ import annotations

import queue
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from devloop.clients.kube import Resource
from devloop.local.kinds import EVENTS, NAMESPACES, group, kind_of
from devloop.local.refusals import already_exists, conflict, not_found
from devloop.local.selectors import matcher
from devloop.model import Object
from devloop.pods import PODS

Heard = Callable[[str, Object], None]
"""``ADDED``, ``MODIFIED`` or ``DELETED``, and the object as it is then."""

NODE = "docker"
"""The one node. A pod is the kubelet's from the moment its ``spec.nodeName`` says this."""

DEFAULT_GRACE = 30
MOST_EVENTS = 1000

Key = tuple[str, str]


@dataclass(eq=False)
class _Listener:
    """`put` is called by whoever changes something, inside the lock."""

    kind: Resource | None
    put: Heard


@dataclass(eq=False)
class _Delivery:
    """To a subscriber, from the delivering thread."""

    heard: Heard
    wanted: bool = True


class Store:
    """Safe from every thread. Objects that come out of it are never changed in place by anyone, nor those that were put in.

    `lock` may be held to read and write without anybody in between.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._objects: dict[Resource, dict[Key, Object]] = {}
        self._version = 1
        self._listeners: list[_Listener] = []
        self._due: queue.SimpleQueue[tuple[_Delivery, str, Object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._deliver, name="local-store", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the deliveries. Not to be called from one."""
        self._due.put(None)
        self._thread.join()

    def furnish(self, namespace: str, platform: str) -> None:
        """Make what there always is: a namespace, and the node, which runs programs for `platform` (``linux/amd64``)."""
        system, _, architecture = platform.partition("/")
        self.create({"apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Active"}, "metadata": {
            "name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}})
        self.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"operatingSystem": system, "architecture": architecture}}})

    # --- reading

    @property
    def version(self) -> str:
        """The resourceVersion of all that is in it."""
        with self.lock:
            return str(self._version)

    def get(self, kind: Resource, namespace: str, name: str) -> Object | None:
        with self.lock:
            return self._objects.get(kind, {}).get((namespace, name))

    def list(self, kind: Resource, namespace: str = "", selector: str = "") -> list[Object]:
        """Those of a namespace (all where it is empty) that match a label selector's text, by namespace and name."""
        matches = matcher(selector)
        with self.lock:
            found = sorted(self._objects.get(kind, {}).items())
        return [obj for (place, _), obj in found if namespace in ("", place) and matches(obj["metadata"].get("labels") or {})]

    # --- writing

    def create(self, obj: Object) -> Object:
        """Sets uid (where there is none), creationTimestamp, resourceVersion and generation. Raises `ApiError`: 409 where the name is
        taken."""
        kind = kind_of(obj)
        meta = {**obj["metadata"], "uid": obj["metadata"].get("uid") or str(uuid.uuid4()), "creationTimestamp": now()}
        if group(kind):
            meta["generation"] = 1
        with self.lock:
            if _key(obj) in self._objects.setdefault(kind, {}):
                raise already_exists(kind, meta["name"])
            return self._put(kind, "ADDED", {**obj, "metadata": meta})

    def update(self, obj: Object) -> Object:
        """The object with this ``metadata.uid``, except for its status. A new spec raises the generation; the last finalizer that
        goes from what is deleted takes it away. Raises `ApiError`: 404, or 409 where the uid or the resourceVersion is another."""
        kind, meta = kind_of(obj), obj["metadata"]
        with self.lock:
            live = self._need(kind, *_key(obj), uid=meta["uid"])
            old = live["metadata"]
            if meta.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
                raise conflict(kind, meta["name"])
            kept = {key: old[key] for key in ("uid", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp",
                                              "deletionGracePeriodSeconds") if key in old}
            new = {**obj, "metadata": {**meta, **kept}}
            new.pop("status", None)
            if "status" in live:
                new["status"] = live["status"]
            if new == live:
                return live
            if "generation" in old and new.get("spec") != live.get("spec"):
                new["metadata"]["generation"] = old["generation"] + 1
            if kind != PODS and "deletionTimestamp" in old and not meta.get("finalizers"):
                return self._drop(kind, new)
            return self._put(kind, "MODIFIED", new)

    def set_status(self, kind: Resource, namespace: str, name: str, status: Object) -> None:
        """Only where it differs; no error where the object has gone."""
        with self.lock:
            live = self.get(kind, namespace, name)
            if live is not None and live.get("status") != status:
                self._put(kind, "MODIFIED", {**live, "status": status})

    def delete(self, kind: Resource, namespace: str, name: str, *, uid: str = "", grace: int | None = None) -> None:
        """A pod that has a node is told to end (deletionTimestamp, deletionGracePeriodSeconds: `grace` seconds, else its own) and stays
        until `remove`, as a namespace does; what has finalizers stays until an update takes the last; others go at once.
        Raises `ApiError`: 404, 409."""
        with self.lock:
            live = self._need(kind, namespace, name, uid=uid)
            meta = live["metadata"]
            if kind == PODS and live["spec"].get("nodeName"):
                wanted = live["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE) if grace is None else grace
                if "deletionTimestamp" in meta and wanted >= meta["deletionGracePeriodSeconds"]:
                    return
                ending = {"deletionTimestamp": now(wanted), "deletionGracePeriodSeconds": wanted}
            elif kind == NAMESPACES or (kind != PODS and meta.get("finalizers")):
                if "deletionTimestamp" in meta:
                    return
                ending = {"deletionTimestamp": now()}
            else:
                self._drop(kind, live)
                return
            self._put(kind, "MODIFIED", {**live, "metadata": {**meta, **ending}})

    def remove(self, kind: Resource, namespace: str, name: str, uid: str) -> None:
        """The object is gone: the kubelet's word that a pod has ended. No error where it has gone already."""
        with self.lock:
            live = self.get(kind, namespace, name)
            if live is not None and live["metadata"]["uid"] == uid:
                self._drop(kind, live)

    def event(self, about: Object, type: str, reason: str, message: str, component: str = "kubelet",  # noqa: PLR0917
              field_path: str = "") -> None:
        """Record a core/v1 Event about an object; one that is there already is counted up. `type`: ``Normal`` or ``Warning``."""
        involved = _reference(about, field_path)
        namespace, source, moment = involved.get("namespace", "default"), {"component": component}, now()
        said = {"type": type, "reason": reason, "message": message, "source": source}
        with self.lock:
            known = self._objects.setdefault(EVENTS, {})
            same = next((e for e in known.values() if e["involvedObject"] == involved and all(e[k] == v for k, v in said.items())), None)
            if same:
                self._put(EVENTS, "MODIFIED", {**same, "count": same["count"] + 1, "lastTimestamp": moment})
                return
            if len(known) >= MOST_EVENTS:
                self._drop(EVENTS, min(known.values(), key=lambda e: int(e["metadata"]["resourceVersion"])))
            self.create({"apiVersion": "v1", "kind": "Event",
                         "metadata": {"name": f"{involved['name']}.{secrets.token_hex(8)}", "namespace": namespace},
                         "involvedObject": involved, **said, "count": 1, "firstTimestamp": moment, "lastTimestamp": moment,
                         "reportingComponent": "", "reportingInstance": ""})

    # --- telling

    def subscribe(self, kind: Resource, heard: Heard) -> Callable[[], None]:
        """``ADDED`` for all there are, then every change, in order. Returns the unsubscribe.

        All calls, of all subscribers, come from one thread: `heard` must neither block nor raise. After the unsubscribe (from
        anywhere) at most the call that is under way comes to its end.
        """
        delivery = _Delivery(heard)
        with self.lock:
            for _, obj in sorted(self._objects.get(kind, {}).items()):
                self._due.put((delivery, "ADDED", obj))
            stop = self.listen(kind, lambda change, obj: self._due.put((delivery, change, obj)))

        def unsubscribe() -> None:
            stop()
            delivery.wanted = False

        return unsubscribe

    def listen(self, kind: Resource | None, put: Heard) -> Callable[[], None]:
        """Every change from now on, of every kind where that is None, told at once by whoever makes it, inside the lock: `put` may
        only put it away. Returns what ends it."""
        listener = _Listener(kind, put)
        with self.lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self.lock:
                self._listeners = [other for other in self._listeners if other is not listener]

        return stop

    def _deliver(self) -> None:
        while item := self._due.get():
            delivery, change, obj = item
            if delivery.wanted:
                try:
                    delivery.heard(change, obj)
                except Exception:  # noqa: BLE001  one subscriber's mistake must not stop the others; the hook tells of it
                    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))

    # --- inside the lock

    def _need(self, kind: Resource, namespace: str, name: str, uid: str) -> Object:
        live = self.get(kind, namespace, name)
        if live is None:
            raise not_found(kind, name)
        if uid and uid != live["metadata"]["uid"]:
            raise conflict(kind, name, f"the UID in the precondition ({uid}) does not match the UID in record ({live['metadata']['uid']}). "
                           "The object might have been deleted and then recreated")
        return live

    def _put(self, kind: Resource, change: str, obj: Object) -> Object:
        self._version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self._objects[kind][_key(obj)] = obj
        self._tell(kind, change, obj)
        return obj

    def _drop(self, kind: Resource, obj: Object) -> Object:
        self._version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        del self._objects[kind][_key(obj)]
        self._tell(kind, "DELETED", obj)
        return obj

    def _tell(self, kind: Resource, change: str, obj: Object) -> None:
        for listener in self._listeners:
            if listener.kind in (None, kind):
                listener.put(change, obj)


def now(later: float = 0) -> str:
    """The time as objects have it, some seconds `later`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + later))


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _reference(obj: Object, field_path: str) -> Object:
    meta: dict[str, Any] = obj["metadata"]
    parts: Iterable[tuple[str, Any]] = (
        ("kind", obj["kind"]), ("namespace", meta.get("namespace")), ("name", meta["name"]), ("uid", meta.get("uid")),
        ("apiVersion", obj["apiVersion"]), ("fieldPath", field_path))
    return {key: value for key, value in parts if value}
