"""What is about to be there, for those who had better wait for it."""

from __future__ import annotations

import threading
from collections.abc import Hashable

from devloop.cancel import Cancel


class Coming:
    """Things that have been asked for and are not there yet. Safe from every thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: set[Hashable] = set()

    def add(self, key: Hashable) -> None:
        with self._changed:
            self._pending.add(key)

    def done(self, key: Hashable) -> None:
        """It is there, or will not be."""
        with self._changed:
            self._pending.discard(key)
            self._changed.notify_all()

    def wait(self, cancel: Cancel) -> None:
        """Until all that is coming now is done. Raises `Cancelled`."""
        with self._changed:
            before = set(self._pending)
        with cancel.closing(self._wake), self._changed:
            self._changed.wait_for(lambda: cancel.cancelled or not before & self._pending)
        cancel.check()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
