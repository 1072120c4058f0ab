"""How far a transfer is, and how fast, as events."""

from __future__ import annotations

import threading
import time

from devloop.events import Emit, StepProgress

EVERY = 0.1     # seconds between two events


class Meter:
    """Counts one image's bytes. Safe from every thread."""

    def __init__(self, artifact: str, emit: Emit) -> None:
        self._artifact, self._emit = artifact, emit
        self._lock = threading.Lock()
        self._begun = self._told = 0.0      # when the first byte went out, and when that was last said
        self.sent = 0
        self.total = 0

    def expect(self, size: int) -> None:
        """So much more is to be sent."""
        with self._lock:
            self.total += size

    def add(self, size: int) -> None:
        """So much more was sent."""
        with self._lock:
            self._show(self.sent + size, self.total)

    def set(self, sent: int, total: int) -> None:
        """This is how far it is."""
        with self._lock:
            self._show(sent, total)

    def _show(self, sent: int, total: int) -> None:
        self.sent, self.total = sent, total
        now = time.monotonic()
        if not self._begun:
            self._begun = self._told = now
        elif now - self._told >= EVERY:
            self._told = now
            self._emit(StepProgress("publish", self._artifact, f"{size(sent / (now - self._begun))}/s", sent, total, "bytes"))


def size(count: float) -> str:
    """``1.5 MB``, in units of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
