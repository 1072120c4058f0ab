"""One stream of events, from every thread, to one reader."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from devloop.events import Event, LogLine, StepOutput
from devloop.interrupt import hang_up
from devloop.report.reporter import OutputClosed, Reporter

LIMIT = 1 << 21        # characters of lines that may wait to be shown
SPACING = 0.01         # seconds between two writes: a flood of lines is written by the hundred, which takes a quarter of the time


class Bus:
    """Hands events to the reporter in the order they came, on a thread of its own: a slow terminal does not hold up the work.

    Lines (logs, builds) wait when more than `LIMIT` are on the way, so memory is bounded and nothing is dropped; other events
    never wait. A fault of the reporter costs the event it happened on and nothing more; `close` tells the first on standard error.
    """

    def __init__(self, reporter: Reporter, *, on_closed: Callable[[], None] = hang_up) -> None:
        """`on_closed` is called once, from the bus' thread, if the output is closed, to have all end; events are dropped from then on."""
        self._reporter = reporter
        self._on_closed = on_closed
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._queue: deque[Event] = deque()
        self._held = 0
        self._idle = False
        self._ending = False
        self.output_closed = False
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        """Safe from every thread; after `close` events are dropped."""
        with self._lock:
            if isinstance(event, (LogLine, StepOutput)):
                while self._held > LIMIT and not self._ending:
                    self._room.wait()
                self._held += len(event.line) + 100
            if self._ending:
                return
            self._queue.append(event)
            if self._idle:
                self._idle = False
                self._news.notify()

    def close(self) -> None:
        """Show what was emitted before, then end."""
        with self._lock:
            self._ending = True
            self._news.notify()
            self._room.notify_all()
        self._thread.join()
        if self.fault:
            sys.stderr.write(f"devloop: an event could not be shown: {type(self.fault).__name__}: {self.fault}\n")

    def _run(self) -> None:
        written = 0.0
        while True:
            batch, ending = self._take(written + SPACING)
            for event in batch:
                self._guard(lambda event=event: self._reporter.report(event))  # type: ignore[misc]
            self._guard(self._reporter.flush)
            written = time.monotonic()
            if ending:
                self._guard(self._reporter.close)
                return

    def _take(self, earliest: float) -> tuple[deque[Event], bool]:
        """What has come, or nothing when the reporter's tick is due; and whether that was the last."""
        with self._lock:
            while (early := earliest - time.monotonic()) > 0 and not self._ending:
                self._news.wait(early)
            if not self._queue and not self._ending:
                self._idle = True
                self._news.wait(self._reporter.tick or None)
                self._idle = False
            batch, self._queue = self._queue, deque()
            self._held = 0
            self._room.notify_all()
            return batch, self._ending

    def _guard(self, act: Callable[[], None]) -> None:
        if self.output_closed:
            return
        try:
            act()
        except OutputClosed:
            self.output_closed = True
            self._on_closed()
        except Exception as error:  # noqa: BLE001 - whatever it is, the work goes on
            self.fault = self.fault or error
