"""`Kube` for the local target: the same questions, answered by this process."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from devloop.cancel import Cancel
from devloop.clients.kube import KUBECTL, ByteStream, Endpoint, Kube, Query, WatchEvent
from devloop.errors import UnreachableError
from devloop.local.api import Api
from devloop.local.logs import LogSource
from devloop.local.routes import route
from devloop.local.selectors import field_matcher, matcher
from devloop.local.store import Store
from devloop.model import Object

REMOVE_CLAIMS = "devloop delete --local --volumes"
_REMOVE_CLAIM = re.compile(r"kubectl delete persistentvolumeclaim .*")
_NEXT_SENTENCE = re.compile(r"(?<=[.?!]) (?=[A-Z'])")

Change = tuple[Literal["ADDED", "MODIFIED", "DELETED"], Object]


class LocalKube(Kube):
    """A request is a function call, a watch a queue that the store fills. `engine`: the Engine's address, for messages; `platform`:
    the programs that it runs.

    Objects that it answers are the store's own: never change one in place.
    """

    def __init__(self, store: Store, logs: LogSource, *, engine: str, platform: str = "linux/amd64") -> None:
        self.context = "docker"
        self.namespace = "default"
        self.cluster_entry = {}
        self.context_entry = {}
        self.in_cluster = False
        self.server = f"the Docker Engine at {engine}"
        self._api = Api(store, logs)
        store.furnish(self.namespace, platform)
        self._resources = {}
        self._lock = threading.Lock()

    def hint(self, text: str) -> str:
        """Without the sentences that name kubectl, which would ask another cluster: what is here only this process knows."""
        sentences = _NEXT_SENTENCE.split(_REMOVE_CLAIM.sub(REMOVE_CLAIMS, text))
        return " ".join(sentence for sentence in sentences if not KUBECTL.search(sentence))

    def close(self) -> None:
        self._api.close()

    def request(self, method: str, path: str, *, query: Query | None = None, body: Any = None,
                content_type: str = "application/json", timeout: float = 60, cancel: Cancel | None = None) -> Object:
        if cancel is not None:
            cancel.check()
        return self._api.request(method, path, query or {}, body, content_type)

    @contextmanager
    def open(self, path: str, *, query: Query | None = None, cancel: Cancel, read_timeout: float | None = None) -> Iterator[ByteStream]:
        """A pod's log."""
        cancel.check()
        with self._api.log(path, query or {}, cancel) as stream:
            yield stream

    def watch(self, path: str, *, cancel: Cancel, query: Query | None = None) -> Iterator[WatchEvent]:
        """As on a cluster, except that it never breaks: there is one ``SNAPSHOT``, at the start."""
        cancel.check()
        where, query = route(path), query or {}
        labels, fields = matcher(str(query.get("labelSelector", ""))), field_matcher(str(query.get("fieldSelector", "")))
        inbox: queue.SimpleQueue[Change | None] = queue.SimpleQueue()

        def chosen(obj: Object) -> bool:
            meta = obj["metadata"]
            return where.namespace in ("", meta.get("namespace")) and labels(meta.get("labels") or {}) and fields(obj)

        with self._api.store.lock:
            snapshot = tuple(self._api.chosen(where, query))
            stop = self._api.store.listen(where.kind, lambda change, obj: inbox.put((change, obj)))   # type: ignore[arg-type]
        try:
            with cancel.closing(lambda: inbox.put(None)):
                yield WatchEvent("SNAPSHOT", snapshot)
                seen = {obj["metadata"]["uid"] for obj in snapshot}
                while (item := inbox.get()) is not None:
                    change, obj = item
                    uid = obj["metadata"]["uid"]
                    if change != "DELETED" and chosen(obj):
                        yield WatchEvent("MODIFIED" if uid in seen else "ADDED", (obj,))
                        seen.add(uid)
                    elif uid in seen:      # it is gone, or is no longer what was asked for
                        yield WatchEvent("DELETED", (obj,))
                        seen.discard(uid)
        finally:
            stop()

    def endpoint(self) -> Endpoint:
        raise UnreachableError("pods on the Docker Engine alone are not reached through an API server")
