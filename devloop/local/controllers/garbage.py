"""What goes with its owner, and with its namespace."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from devloop.clients.kube import Resource
from devloop.errors import ApiError
from devloop.local.kinds import EVENTS, KINDS, NAMESPACES
from devloop.local.store import Store
from devloop.model import Object


class Garbage:
    """Deletes what the last owner of has gone."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def heard(self, change: str, obj: Object) -> Iterable[tuple[Resource, str, str]]:
        if change == "DELETED":
            uid = obj["metadata"]["uid"]
            for kind in KINDS:
                for found in self._store.list(kind):
                    owners = [owner["uid"] for owner in found["metadata"].get("ownerReferences") or ()]
                    if uid in owners and not any(map(self._alive, found["metadata"]["ownerReferences"])):
                        _delete(self._store, kind, found)
        return ()

    def _alive(self, owner: Object) -> bool:
        return any(obj["metadata"]["uid"] == owner["uid"] for kind in KINDS if kind.kind == owner["kind"] for obj in self._store.list(kind))


class Namespaces:
    """A namespace that is deleted goes when everything in it has gone."""

    kind = NAMESPACES
    owns: tuple[Resource, ...] = ()

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> None:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta:
            return
        self._store.set_status(NAMESPACES, "", meta["name"], {"phase": "Terminating"})
        inside = [(kind, found) for kind in KINDS if kind.namespaced for found in self._store.list(kind, meta["name"])]
        for kind, found in inside:
            if "deletionTimestamp" not in found["metadata"]:
                _delete(self._store, kind, found)
        if not any(kind != EVENTS and self._store.list(kind, meta["name"]) for kind in KINDS if kind.namespaced):
            self._store.remove(NAMESPACES, "", meta["name"], meta["uid"])

    def heard(self, change: str, obj: Object) -> Iterable[tuple[Resource, str, str]]:
        namespace = obj["metadata"].get("namespace")
        return [(NAMESPACES, "", namespace)] if change == "DELETED" and namespace and obj["kind"] != EVENTS.kind else ()


def _delete(store: Store, kind: Resource, obj: Object) -> None:
    meta = obj["metadata"]
    with suppress(ApiError):      # it has gone meanwhile
        store.delete(kind, meta.get("namespace", ""), meta["name"], uid=meta["uid"])
