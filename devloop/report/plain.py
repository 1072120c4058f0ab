"""For pipes, files and CI: one line after the other, nothing that moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import IO

from devloop.events import Event, LogLine
from devloop.report.reporter import Output
from devloop.report.session import Session
from devloop.report.story import Story
from devloop.report.style import Paint, symbols_for
from devloop.report.text import harmless

PATIENCE = 1.0         # seconds that a step may take without a word about it
INTERVAL = 10.0        # between two words about the same step


class Plain:
    """Log lines as ``[source] line``; steps when they are done, and now and then while they take long."""

    def __init__(self, stream: IO[str], *, verbose: bool = False, colours: bool = False, clock: Callable[[], float] = time.monotonic,
                 now: Callable[[], datetime] = datetime.now) -> None:
        self._output = Output(stream)
        self._paint = Paint(colours)
        self._clock = clock
        self._session = Session(clock)
        self._story = Story(self._session, self._paint, symbols_for(stream), verbose=verbose, live_output=True, now=now)
        self._text: list[str] = []

    @property
    def tick(self) -> float:
        return PATIENCE if self._session.running else 0.0

    def report(self, event: Event) -> None:
        if type(event) is LogLine:
            self._text += [f"[{event.source or f'{event.pod}/{event.container}'}] {part}\n"
                           for part in ((event.line,) if event.line.isprintable() else harmless(event.line, colours=self._paint.enabled))]
            return
        self._text += [line + "\n" for line in self._story.tell(event)]
        self._session.take(event)

    def flush(self) -> None:
        now = self._clock()
        for running in self._session.running.values():
            due = running.told + INTERVAL if running.told else running.started + PATIENCE
            if now >= due:
                self._text.append(self._story.status(running, now - running.started, "...") + "\n")
                running.told = now
        if self._text:
            text = "".join(self._text)
            self._text.clear()
            self._output.write(text)

    def close(self) -> None:
        self._session.running.clear()
        self._text += [line + "\n" for line in self._story.farewell()]
        self.flush()
