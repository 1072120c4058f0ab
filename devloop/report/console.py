"""The screen: what is done scrolls by, what is being done stays at the bottom and moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import IO

from devloop.events import Event, LogLine
from devloop.report.reporter import Output
from devloop.report.session import Session
from devloop.report.story import NARROW, Story
from devloop.report.style import SOURCES, Paint, symbols_for
from devloop.report.text import cells, fit, harmless

PATIENCE = 1.0         # seconds after which a step shows that it is being worked on
FRAME = 0.1
SHOWN_STEPS = 6        # of those that run at once
SHOWN_OUTPUT = 4       # last lines of a step's output, below it
LABEL_WIDTH = (7, 20)  # within these, log lines are aligned


class Console:
    """A terminal. `size` gives its columns and rows, asked for at every write because windows are resized."""

    def __init__(self, stream: IO[str], *, verbose: bool = False, colours: bool = True, size: Callable[[], tuple[int, int]],
                 clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = datetime.now) -> None:
        self._output = Output(stream)
        self._size = size
        self._clock = clock
        self._verbose = verbose
        self._paint = Paint(colours)
        self._symbols = symbols_for(stream)
        self._session = Session(clock)
        self._story = Story(self._session, self._paint, self._symbols, verbose=verbose, live_output=verbose, now=now)
        self._story.width = size()[0]
        self._text: list[str] = []
        self._footer: list[str] = []           # as it stands on the screen, the cursor behind its last line
        self._frame = 0
        self._labels: dict[str, str] = {}      # source → coloured prefix of its lines
        self._colours: dict[tuple[str, str, str], str] = {}
        self._label_width = LABEL_WIDTH[0]

    @property
    def tick(self) -> float:
        return FRAME if self._session.running else 0.0

    def report(self, event: Event) -> None:
        if type(event) is LogLine:
            name = event.source or f"{event.pod}/{event.container}"
            label = self._labels.get(name) or self._label(name, event)
            if event.line.isprintable():
                self._text.append(f"{label}{event.line}\n")
            else:
                self._text += [f"{label}{part}\n" for part in harmless(event.line, colours=self._paint.enabled)]
            return
        self._text += [line + "\n" for line in self._story.tell(event)]
        self._session.take(event)

    def flush(self) -> None:
        """One write: the old footer away, what is new, the new footer."""
        columns, rows = self._size()
        if columns != self._story.width:
            self._story.width = columns
            self._labels.clear()
        footer = self._footer_lines(columns, rows)
        if self._text or footer or self._footer:
            text = self._erase(columns) + "".join(self._text) + "\n".join(footer)
            self._text.clear()
            self._footer = footer
            self._output.write(text)

    def close(self) -> None:
        self._session.running.clear()
        self._text += [line + "\n" for line in self._story.farewell()]
        self.flush()

    def _label(self, name: str, event: LogLine) -> str:
        """``web  │ ``, in the colour its container has had from its first line on, whichever pod it runs in."""
        if len(name) > self._label_width:
            self._label_width = min(len(name), LABEL_WIDTH[1])
            self._labels.clear()
        key = (event.namespace, event.workload or event.pod, event.container)
        colour = self._colours.setdefault(key, SOURCES[len(self._colours) % len(SOURCES)])
        padding = " " * (self._label_width - len(name) if self._story.width >= NARROW else 0)
        label = self._labels[name] = self._paint(colour, f"{name}{padding} {self._symbols.bar}") + " "
        return label

    def _footer_lines(self, columns: int, rows: int) -> list[str]:
        now = self._clock()
        slow = [r for r in self._session.running.values() if now - r.started >= PATIENCE]
        self._frame += 1
        spin = self._symbols.spinner[self._frame % len(self._symbols.spinner)]
        room = max(1, rows // 2 - 1)
        lines = []
        for running in slow[:min(SHOWN_STEPS, room)]:
            lines.append(self._story.status(running, now - running.started, spin))
            if not self._verbose and len(slow) <= 3:
                lines += [self._paint("dim", fit(f"  {self._symbols.bar} {harmless(line, colours=False)[-1]}", columns - 1,
                                                 self._symbols.ellipsis)) for line in list(running.output)[-SHOWN_OUTPUT:]]
        if len(slow) > min(SHOWN_STEPS, room):
            lines.append(self._paint("dim", f"  and {len(slow) - min(SHOWN_STEPS, room)} more"))
        return lines[:room]

    def _erase(self, columns: int) -> str:
        """Back to where the footer began. A window made narrower since has broken its lines."""
        if not self._footer:
            return ""
        height = sum(max(1, -(-cells(_visible(line)) // columns)) for line in self._footer)
        return "\r" + (f"\x1b[{height - 1}A" if height > 1 else "") + "\x1b[J"


def _visible(line: str) -> str:
    return harmless(line, colours=False)[0]
