"""The thread that the controllers run on. Each looks at one object at a time and makes a step towards what its spec says."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from devloop.clients.kube import Resource
from devloop.errors import ApiError
from devloop.local.controllers.making import controller_of
from devloop.local.kinds import kind_of
from devloop.local.store import Store
from devloop.model import Object

Clock = Callable[[], float]

RETRY = 1.0    # seconds


class Controller(Protocol):
    """Looks after the objects of `kind`; whatever happens to one of them, or to an object of the kinds in `owns` that has it as its
    controller, is followed by a `sync`."""

    @property
    def kind(self) -> Resource: ...

    @property
    def owns(self) -> Sequence[Resource]: ...

    def sync(self, obj: Object) -> float | None:
        """Make a step. Returns after how many seconds to look again, whatever happens until then; None: not before something does."""
        ...


class Watchful(Protocol):
    """Hears of every change of every object."""

    def heard(self, change: str, obj: Object) -> Iterable[tuple[Resource, str, str]]:
        """Kind, namespace and name of what is to be synced because of it."""
        ...


Due = tuple[Controller, str, str]


class Manager:
    """Runs controllers from its making to `close`. `clock` as ``time.monotonic``."""

    def __init__(self, store: Store, controllers: Sequence[Controller], watchful: Sequence[Watchful] = (),
                 clock: Clock = time.monotonic) -> None:
        self._store, self._clock, self._watchful = store, clock, watchful
        self._controllers = {controller.kind: controller for controller in controllers}
        self._owners = {(controller.kind.kind, owned): controller for controller in controllers for owned in controller.owns}
        self._inbox: queue.SimpleQueue[tuple[str, Object] | None] = queue.SimpleQueue()
        self._later: dict[Due, float] = {}
        with store.lock:
            self._stop = store.listen(None, lambda change, obj: self._inbox.put((change, obj)))
            for kind in self._controllers:
                for obj in store.list(kind):
                    self._inbox.put(("ADDED", obj))
        self._thread = threading.Thread(target=self._run, name="local-controllers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop()
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        due: dict[Due, None] = {}
        while self._hear(due):
            for item in list(due):
                self._sync(item)
            due.clear()

    def _hear(self, due: dict[Due, None]) -> bool:
        """Wait until something is to be done; False at the end."""
        try:
            wait = max(0.0, min(self._later.values()) - self._clock()) if self._later else None
            item = self._inbox.get(timeout=wait)
            while item is not None:
                due |= dict.fromkeys(self._concerned(*item))
                item = self._inbox.get_nowait()
            return False
        except queue.Empty:
            pass
        due |= {item: None for item, moment in self._later.items() if moment <= self._clock()}
        return True

    def _concerned(self, change: str, obj: Object) -> Iterable[Due]:
        meta, kind = obj["metadata"], kind_of(obj)
        if kind in self._controllers and change != "DELETED":
            yield self._controllers[kind], meta.get("namespace", ""), meta["name"]
        if (owner := controller_of(obj)) and (controller := self._owners.get((owner["kind"], kind))):
            yield controller, meta.get("namespace", ""), owner["name"]
        for watchful in self._watchful:
            for wanted, namespace, name in watchful.heard(change, obj):
                yield self._controllers[wanted], namespace, name

    def _sync(self, item: Due) -> None:
        controller, namespace, name = item
        self._later.pop(item, None)
        obj = self._store.get(controller.kind, namespace, name)
        if obj is None:
            return
        try:
            again = controller.sync(obj)
        except ApiError:
            again = RETRY      # somebody else was faster, and what they did comes to us; or a name is taken
        except Exception:  # noqa: BLE001  one object's trouble must not stop the others; the hook tells of it
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))
            return
        if again is not None:
            self._later[item] = self._clock() + again
