"""What builds say, on its way to events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

from devloop.events import Emit, StepProgress

TAIL = 20            # so many last lines of a failed step are shown with its error
PATIENCE = 1.0       # seconds that something may take without its progress being shown
INTERVAL = 0.25      # seconds between two progress events
LONGEST_LINE = 1 << 16

_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def shown(line: str) -> str:
    """A line as it would stand in a terminal: colours and control characters gone, what a carriage return overwrote gone."""
    last = next((part for part in reversed(line.split("\r")) if part.strip()), "")
    return _CONTROL.sub("", last)


class Lines:
    """Pieces of text → lines as `shown`. A line that does not end is given in pieces of 64 KiB."""

    def __init__(self, skip: str = "") -> None:
        """`skip`: what to leave out where the first piece is just that."""
        self._skip = skip
        self._rest = ""

    def feed(self, text: str) -> Iterator[str]:
        skip, self._skip = self._skip, ""
        if skip and text == skip:
            return
        *whole, self._rest = (self._rest + text).split("\n")
        yield from map(shown, whole)
        if len(self._rest) > LONGEST_LINE:
            yield from self.end()

    def end(self) -> Iterator[str]:
        """The last line, where it lacks its end."""
        rest, self._rest = shown(self._rest), ""
        if rest:
            yield rest


class Progress:
    """How far a build is, a few times a second, for whatever takes longer than a second."""

    def __init__(self, subject: str, emit: Emit, clock: Callable[[], float] = time.monotonic) -> None:
        self._subject = subject
        self._emit = emit
        self._clock = clock
        self._detail = ""
        self._due = 0.0

    def step(self, detail: str, current: int, total: int) -> None:
        """A step begins."""
        self._emit(StepProgress("build", self._subject, detail, current, total, "steps"))

    def sent(self, detail: str, current: int, total: int) -> None:
        """So many bytes are through."""
        now = self._clock()
        if detail != self._detail:
            self._detail, self._due = detail, now + PATIENCE
        if now >= self._due:
            self._due = now + INTERVAL
            self._emit(StepProgress("build", self._subject, detail, current, max(current, total), "bytes"))

    def counted(self, chunks: Iterable[bytes], total: int) -> Iterator[bytes]:
        """The context on its way out."""
        count = 0
        for chunk in chunks:
            count += len(chunk)
            self.sent("sending the context", count, total)
            yield chunk
