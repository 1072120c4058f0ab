"""WHEN something is done. `Loop` owns all that changes while `devloop dev` runs, and is the only reader of its queue.

    files change ──► pending ──► a generation starts, on a worker thread ──► live: nothing is pending
                        ▲                  │ a newer save makes it stale: cancelled,          failed: pending stays,
                        └──────────────────┘ and the newest state is built                    the next save retries
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from devloop.cancel import Cancel
from devloop.errors import Cancelled, DevloopError
from devloop.events import Emit, Failure, GenerationFinished, GenerationStarted, Outcome
from devloop.plan import Plan

SHOWN_FILES = 5
STAYS = "What was in force before this edit stays."
GRACE = 5.0      # seconds that a cancelled generation may take to let go of what it holds


@dataclass(frozen=True)
class FilesChanged:
    """A settled batch of dirty paths."""

    paths: frozenset[Path]


@dataclass(frozen=True)
class GenerationDone:
    """The worker of a generation has ended; `error` says why it is not live."""

    error: DevloopError | None


@dataclass(frozen=True)
class Stop:
    """The user wants out."""


Message = FilesChanged | GenerationDone | Stop
Queue = SimpleQueue[Message]


class Work(Protocol):
    """What the loop sets going. `plan` returns at once; `start` too, and puts `GenerationDone` later."""

    @property
    def config_file(self) -> Path: ...

    def display(self, path: Path) -> str:
        """The path as the user would write it."""
        ...

    def reload(self) -> None:
        """Put the edited devloop.yaml in force. Raises `DevloopError` where it is broken, or names what does not answer: the old one stays
        in force, all of it."""
        ...

    def plan(self, changed: frozenset[Path] | None) -> Plan:
        """What these paths (None: everything) ask for."""
        ...

    def start(self, generation: int, plan: Plan, cancel: Cancel) -> None: ...


@dataclass
class _Running:
    cancel: Cancel
    started: float


class Loop:
    """One `devloop dev`. Call `run`, or `handle` for every message; nothing here blocks but the queue."""

    def __init__(self, work: Work, emit: Emit, queue: Queue) -> None:
        self._work = work
        self._emit = emit
        self._queue = queue
        self._pending: frozenset[Path] = frozenset()     # saved, and not live yet
        self._fresh: frozenset[Path] = frozenset()       # saved while the generation ran, perhaps for the second time
        self._everything = True                          # until a generation that covered everything was live
        self._called_off = False                         # the last generation that ended: what it covered is still to do
        self._running: _Running | None = None
        self.generation = 0
        self.failed = False              # the last generation that ended: the next save retries it, changed or not

    def run(self) -> None:
        """Start the first generation and go on until `Stop`; the generation that then runs is cancelled, and awaited for a while."""
        self._next()
        while not isinstance(message := self._queue.get(), Stop):
            self.handle(message)
        if self._running:
            self._running.cancel.cancel("interrupted")
            with suppress(Empty):
                while not isinstance(self._queue.get(timeout=GRACE), GenerationDone):
                    pass

    def handle(self, message: Message) -> None:
        match message:
            case FilesChanged(paths):
                if self._running:
                    self._fresh |= paths
                    self._running.cancel.cancel("a newer save")
                else:
                    self._pending |= paths
                    self._next()
            case GenerationDone(error):
                self._finish(error)
                self._pending |= self._fresh
                if self._fresh:
                    self._next()

    def _finish(self, error: DevloopError | None) -> None:
        assert self._running is not None
        outcome: Outcome = "live" if error is None else "stale" if isinstance(error, Cancelled) else "failed"
        self.failed, self._called_off = outcome == "failed", outcome == "stale"
        if error and self.failed:
            self._emit(failure(error))
        if outcome == "live":
            self._everything = False
            self._pending = frozenset()
        self._emit(GenerationFinished(self.generation, outcome, time.monotonic() - self._running.started))
        self._running = None

    def _next(self) -> None:
        """Start a generation for all that is pending, if it asks for anything."""
        self._fresh = frozenset()
        if self._work.config_file in self._pending:
            self._pending -= {self._work.config_file}
            try:
                self._work.reload()
                self._everything = True
            except DevloopError as error:
                self._emit(replace(failure(error), hint=f"{error.hint} {STAYS}".lstrip()))
                if not self._pending and not (self._everything and self._called_off):
                    return
        plan = self._work.plan(None if self._everything else self._pending)
        if plan.nothing:
            self._pending = frozenset()
            return
        self.generation += 1
        files = sorted(self._work.display(path) for path in self._pending)
        self._emit(GenerationStarted(self.generation, tuple(files[:SHOWN_FILES]), len(files)))
        self._running = _Running(Cancel(), time.monotonic())
        self._work.start(self.generation, plan, self._running.cancel)


def failure(error: DevloopError) -> Failure:
    """The error as an event."""
    return Failure(error.phase, error.message, error.hint, error.details, error.exit_code)
