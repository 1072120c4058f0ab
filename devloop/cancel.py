"""Cancelling blocking work by closing what it waits on.

A thread that sits in ``recv`` or ``wait`` cannot be told anything; it returns when its socket is shut down or its
process ends. So a `Cancel` is a flag plus the callbacks that close those things.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from devloop.errors import Cancelled


class Cancel:
    """A flag that is set once, and the callbacks that make blocked work notice it. Safe from every thread."""

    def __init__(self, parent: Cancel | None = None) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next = 0
        self.reason = ""
        self._detach = parent._add(lambda: self.cancel(parent.reason)) if parent else lambda: None

    @property
    def cancelled(self) -> bool:
        return self._set.is_set()

    def cancel(self, reason: str = "") -> None:
        """Set the flag and run every registered callback once, in this thread. Later calls do nothing."""
        with self._lock:
            if self._set.is_set():
                return
            self.reason = reason
            self._set.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise `Cancelled` if the flag is set."""
        if self._set.is_set():
            raise Cancelled(self.reason)

    def wait(self, seconds: float) -> None:
        """Sleep up to `seconds`; raise `Cancelled` as soon as the flag is set."""
        if self._set.wait(seconds):
            raise Cancelled(self.reason)

    def child(self) -> Cancel:
        """A Cancel of its own that is also cancelled when this one is. `detach` it when its work is over."""
        return Cancel(self)

    def detach(self) -> None:
        """Forget the parent: a finished child must not be kept alive by a long-lived one."""
        self._detach()

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """While inside, cancelling calls `close` (from the cancelling thread); leaving the block unregisters it.

        Already cancelled: raises `Cancelled` at once. An exception that leaves the block after a cancel becomes
        `Cancelled`: whatever the closed socket or process complained about was our doing.
        """
        self.check()
        remove = self._add(close)
        try:
            yield
        except Cancelled:
            raise
        except Exception as error:
            if self.cancelled:
                raise Cancelled(self.reason) from error
            raise
        finally:
            remove()
        self.check()

    def _add(self, callback: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            if not self._set.is_set():
                key = self._next
                self._next += 1
                self._callbacks[key] = callback
                return lambda: self._remove(key)
        callback()
        return lambda: None

    def _remove(self, key: int) -> None:
        with self._lock:
            self._callbacks.pop(key, None)
