"""What the bus knows of reporters."""

from __future__ import annotations

import os
from typing import IO, Protocol

from devloop.events import Event


class Reporter(Protocol):
    """One way to show events. Used by one thread at a time."""

    @property
    def tick(self) -> float:
        """Seconds after which `flush` wants to be called though nothing happened; 0: no need."""
        ...

    def report(self, event: Event) -> None:
        """Take in one event."""
        ...

    def flush(self) -> None:
        """Write what was taken in. Raises `OutputClosed`."""
        ...

    def close(self) -> None:
        """Write what is left and leave the output as it was found. Raises `OutputClosed`."""
        ...


class OutputClosed(Exception):
    """Nobody reads any more: the pipe is closed, the terminal gone, or the disk full."""


class Output:
    """A stream that tells in one way that it is closed."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        """Write and flush, in one go so that nothing flickers."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError) as error:
            self._abandon()
            raise OutputClosed(str(error)) from error

    def _abandon(self) -> None:
        """Python flushes its standard output at the end, and would complain then: give it somewhere to go."""
        try:
            descriptor = self.stream.fileno()
        except (OSError, ValueError):
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
