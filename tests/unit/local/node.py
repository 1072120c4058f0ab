"""A node for the controllers' tests: it says of pods what a kubelet would, without running anything."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from devloop.local.controllers import controllers
from devloop.local.kube import LocalKube
from devloop.local.store import NODE, Store, now
from devloop.model import Object
from devloop.pods import PODS

PATIENCE = 30.0


class Node:
    """Every pod that gets the node runs and is ready at once, unless `hold` says of it that it is not to be; a pod that is told to end
    is gone at once, unless `linger` says that it is not to be. `steps`: what happened, in order; `expected`: the pods
    that may come next, by their Deployments' uids. Both are for tests to read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.hold: Callable[[Object], bool] = lambda pod: False
        self.linger: Callable[[Object], bool] = lambda pod: False
        self.steps: list[str] = []
        self.expected: dict[str, Object | None] = {}
        self._started: set[str] = set()
        self._changes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ends = [store.subscribe(PODS, self._pod), store.listen(None, lambda change, obj: self._changes.put(change))]

    def close(self) -> None:
        for end in self._ends:
            end()

    def _pod(self, change: str, pod: Object) -> None:
        meta = pod["metadata"]
        if change == "DELETED" or pod["spec"].get("nodeName") != NODE:
            return
        if "deletionTimestamp" in meta:
            if not self.linger(pod):
                self.end(pod)
        elif meta["uid"] not in self._started:
            self._started.add(meta["uid"])
            self.steps.append(f"{meta['name']} starts")
            self.say(pod, ready=not self.hold(pod))

    def end(self, pod: Object) -> None:
        meta = pod["metadata"]
        self.steps.append(f"{meta['name']} ends")
        self._store.remove(PODS, meta["namespace"], meta["name"], meta["uid"])

    def say(self, pod: Object, *, ready: bool) -> None:
        """The pod's containers run, ready or not."""
        self.status(pod, "Running", {"running": {"startedAt": now()}}, ready=ready)

    def exit(self, pod: Object, code: int) -> None:
        """The pod's containers have ended, for good."""
        ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}}
        self.status(pod, "Failed" if code else "Succeeded", ended, ready=False)

    def status(self, pod: Object, phase: str, state: Object, *, ready: bool, **more: Any) -> None:
        meta = pod["metadata"]
        containers = [{"name": c["name"], "ready": ready, "restartCount": 0, "state": state, "image": c["image"], **more}
                      for c in pod["spec"]["containers"]]
        self._store.set_status(PODS, meta["namespace"], meta["name"], {
            "phase": phase, "containerStatuses": containers, "conditions": [
                {"type": kind, "status": str(ready or kind in ("PodScheduled", "Initialized")), "lastTransitionTime": now()}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")]})

    def expect(self, of: str, pod: Object | None) -> None:
        self.expected[of] = pod
        self._changes.put("EXPECTED")

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait until something is so of the objects."""
        while not (found := true()):
            self._changes.get(timeout=PATIENCE)
        return found


@contextmanager
def cluster() -> Iterator[tuple[LocalKube, Store, Node]]:
    """A local target with controllers, on a `Node`."""
    store = Store()
    kube = LocalKube(store, NoLogs(), engine="unix:///nowhere")
    node = Node(store)
    manager = controllers(store, node.expect)
    try:
        yield kube, store, node
    finally:
        manager.close()
        node.close()
        kube.close()
        store.close()


class NoLogs:
    """Nothing runs, so nothing is said."""

    def open(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("no log was to be read")
