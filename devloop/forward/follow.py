"""Following a forward's resource and its pods: both may appear, change and go at any time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

from devloop.clients.kube import WatchEvent
from devloop.forward.target import Candidate, Target, Unresolved, candidates, selector
from devloop.model import Object
from devloop.pods import Pods

OnChange = Callable[[Sequence[Candidate], str], None]


class Follower:
    """Tells `on_change` the candidates for a target's port, best first, and where there are none why. Lives in one event loop."""

    def __init__(self, pods: Pods, target: Target, port: int | str, namespace: str, on_change: OnChange) -> None:
        self._pods, self._target, self._port, self._namespace, self._on_change = pods, target, port, namespace, on_change
        self._loop = asyncio.get_running_loop()
        self._object: Object | None = None
        self._selector = ""
        self._matching: Mapping[str, Object] = {}
        self._seen: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stop = pods.watches.start(target.resource.path(namespace), {"fieldSelector": f"metadata.name={target.name}"},
                                        lambda event: self._post(self._object_changed, event))

    def stop(self) -> None:
        self._stop()
        self._unsubscribe()

    def _post(self, call: Callable[..., None], *args: object) -> None:
        """From a watch's thread; a last word after the loop's end is lost, as it should be."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _object_changed(self, event: WatchEvent) -> None:
        self._object = event.objects[0] if event.objects and event.type != "DELETED" else None
        if self._target.kind == "Pod":
            self._matching = {self._object["metadata"]["uid"]: self._object} if self._object else {}
        else:
            self._select()
        self._tell()

    def _select(self) -> None:
        try:
            wanted = selector(self._target, self._object) if self._object else ""
        except Unresolved:
            wanted = ""
        if wanted == self._selector:
            return
        self._unsubscribe()
        self._selector, self._matching, self._unsubscribe = wanted, {}, lambda: None
        if wanted:
            self._unsubscribe = self._pods.subscribe(
                self._namespace, wanted, lambda pods: self._post(self._pods_changed, wanted, pods))

    def _pods_changed(self, selected: str, pods: Mapping[str, Object]) -> None:
        if selected == self._selector:
            self._matching = pods
            self._tell()

    def _tell(self) -> None:
        self._seen = {uid: self._seen.get(uid) or next(self._numbers) for uid in self._matching}
        if self._object is None:
            self._on_change((), f"there is no {self._target} in namespace {self._namespace} yet")
            return
        try:
            if self._target.kind != "Pod":
                selector(self._target, self._object)
            found = candidates(self._target, self._object, self._port, self._matching, self._seen)
        except Unresolved as problem:
            self._on_change((), str(problem))
        else:
            self._on_change(found, "" if found else f"{self._target} has no pod yet")
