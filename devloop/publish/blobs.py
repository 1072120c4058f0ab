"""Who sends which blob: two artifacts that share a layer send it once."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from devloop.cancel import Cancel


class Blobs:
    """What the uploads to one registry know of its blobs together. Safe from every thread.

    `homes`: a repository of the registry that has the blob, as far as known.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._claimed: set[str] = set()
        self.homes: dict[str, str] = {}

    def take(self, digests: Collection[str], cancel: Cancel) -> None:
        """Wait until nobody deals with any of them, then claim them all at once. Raises `Cancelled`.

        Who waits here may hold others only while these are on their way without him: else two could wait for each other.
        """
        with cancel.closing(self._wake), self._changed:
            self._changed.wait_for(lambda: cancel.cancelled or self._claimed.isdisjoint(digests))
            cancel.check()
            self._claimed.update(digests)

    def give(self, digests: Collection[str]) -> None:
        """These are there now, or given up."""
        with self._changed:
            self._claimed.difference_update(digests)
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Layers:
    """What pushes to one place send of the same layers: while one sends some, others that have them, too, wait, and find them there."""

    def __init__(self, blobs: Blobs | None = None) -> None:
        self._blobs = blobs or Blobs()
        self._there: frozenset[str] = frozenset()      # pushed in this session: nobody waits for these

    @contextmanager
    def pushed(self, diff_ids: Collection[str], cancel: Cancel) -> Iterator[None]:
        """Push an image of these layers inside. Raises `Cancelled` while others push some of them."""
        new = frozenset(diff_ids) - self._there
        self._blobs.take(new, cancel)
        try:
            yield
            self._there |= new
        finally:
            self._blobs.give(new)
