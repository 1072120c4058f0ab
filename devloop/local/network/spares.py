"""Sandboxes made ahead of need. To start one takes the Engine longer than all else that a pod waits for, and an update is what
everybody waits for: the first pod of a version that may come finds its sandbox there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from devloop.cancel import Cancel
from devloop.errors import DevloopError
from devloop.local.network.gate import Inner
from devloop.local.network.sandbox import configure, host_ports
from devloop.model import Object

QUIET = 1.0     # seconds since a pod last wanted a sandbox: pods come first
MOST = 4        # of those that were expected last: an idle container is cheap, not free


Made = tuple[str, Inner]
"""A sandbox that runs: its container's id, and its relay."""


@dataclass
class _Spare:
    config: Object
    needless: Cancel = field(default_factory=Cancel)
    made: Future[Made] = field(init=False)


class Spares:
    """Safe from every thread. `make` and `discard` are called on a thread of its own; what fails there the pod finds out by itself."""

    def __init__(self, make: Callable[[Object], Made], discard: Callable[[str], object]) -> None:
        self._make, self._discard = make, discard
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "spare-sandboxes")
        self._spares: dict[str, _Spare] = {}      # by whom a pod is expected of
        self._wanted = 0.0
        self._closed = False

    def expect(self, of: str, pod: Object | None) -> None:
        """The next pod of `of` will have this name and this spec, as far as one can tell; None: there will be none."""
        config = _config(pod) if pod and not host_ports(pod) else None      # the ports are the present pod's
        with self._lock:
            old = self._spares.get(of)
            if self._closed or (old and old.config) == config:
                return
            if old:
                self._drop(of)
            if pod and config:
                spare = self._spares[of] = _Spare(config)
                spare.made = self._thread.submit(self._work, pod, spare.needless)
                if len(self._spares) > MOST:
                    self._drop(next(iter(self._spares)))

    def take(self, pod: Object) -> Made | None:
        """What was made for this pod; None where that is nothing. May wait for one that is being made."""
        config = _config(pod)
        with self._lock:
            self._wanted = time.monotonic()
            spare = next((self._spares.pop(of) for of, each in self._spares.items() if each.config == config), None)
        if spare is None:
            return None
        spare.needless.cancel()
        if not spare.made.cancel():
            with suppress(DevloopError):
                return spare.made.result()
        return None

    def close(self) -> None:
        """Remove what nobody took; nothing is made any more."""
        with self._lock:
            self._closed = True
            for of in list(self._spares):
                self._drop(of)
        self._thread.shutdown()

    def _work(self, pod: Object, needless: Cancel) -> Made:
        while (pause := self._wanted + QUIET - time.monotonic()) > 0:
            needless.wait(pause)
        return self._make(pod)

    def _drop(self, of: str) -> None:
        spare = self._spares.pop(of)
        spare.needless.cancel()
        if not spare.made.cancel():
            self._thread.submit(self._remove, spare.made)

    def _remove(self, made: Future[Made]) -> None:
        with suppress(DevloopError):      # it was not made; or the session's end removes it
            self._discard(made.result()[0])


def _config(pod: Object) -> Object:
    """All that a sandbox has of its pod."""
    return configure(pod, {"HostConfig": {}}, dns="")
