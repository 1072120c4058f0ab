"""What is going on, as far as the events have told: the memory of the reporters for people."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from devloop.events import (
    Event,
    Failure,
    ForwardChanged,
    GenerationFinished,
    GenerationStarted,
    ObjectApplied,
    SessionStarted,
    StepFinished,
    StepOutput,
    StepProgress,
    StepStarted,
)
from devloop.report.text import size

OUTPUT_LINES = 64      # of each running step, to know what of a failure's details was on the screen already

_NOT_HTTP = re.compile(r"22|25|53|1433|1521|3306|5432|5672|6379|9042|9092|11211|27017|50051"
                       r"|.*(?:sql|postgres|redis|mongo|amqp|kafka|grpc|ssh|tcp).*")


@dataclass
class Running:
    """A step that has started and not finished."""

    step: str
    subject: str
    started: float
    doing: str = ""
    output: deque[str] = field(default_factory=lambda: deque(maxlen=OUTPUT_LINES))
    told: float = 0.0      # when a reporter that writes rarely last wrote about it


class Session:
    """Pass it every event. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spans: dict[str, list[float]] = {}
        self._links: dict[tuple[str, str], str] = {}
        self.running: dict[tuple[str, str], Running] = {}
        self._generating = False
        self.command = ""
        self.was_live = False
        self.cleaned: list[str] = []           # what was deleted outside of any generation

    def take(self, event: Event) -> None:
        match event:
            case SessionStarted():
                self.command = event.command
            case GenerationStarted():
                self._generating = True
                self.running.clear()
                self._spans.clear()
            case GenerationFinished():
                self._generating = False
                self.running.clear()
                self.was_live = self.was_live or event.outcome == "live"
            case StepStarted():
                self._spans.setdefault(event.step, [self._clock(), 0.0])
                self.running[event.step, event.subject] = Running(event.step, event.subject, self._clock(), event.detail)
            case StepProgress():
                self._progress(event)
            case StepOutput() if running := self.running.get((event.step, event.subject)):
                running.output.append(event.line)
            case StepFinished():
                self.running.pop((event.step, event.subject), None)
                if span := self._spans.get(event.step):
                    span[1] = self._clock()
            case ObjectApplied() if event.action == "deleted" and not self._generating:
                self.cleaned.append(event.resource)
            case Failure():
                self.running = {key: running for key, running in self.running.items() if running.step != event.phase}

    def _progress(self, event: StepProgress) -> None:
        whole = self.running.get((event.step, ""))
        running = self.running.get((event.step, event.subject)) or whole
        if running is None:
            running = self.running[event.step, event.subject] = Running(event.step, event.subject, self._clock())
        doing = doing_text(event)
        running.doing = f"{event.subject}: {doing}" if running is whole and event.subject else doing

    def breakdown(self) -> list[tuple[str, float]]:
        """How long each kind of step of this generation took, from the first that started to the last that finished."""
        return [(step, end - start) for step, (start, end) in self._spans.items() if end - start >= 0.05]

    def unseen(self, failure: Failure) -> tuple[str, ...]:
        """The details without the last output of the step that failed: for readers who have shown that already.

        To be asked before the failure is taken."""
        details = failure.details
        for running in self.running.values():
            if running.step == failure.phase and running.output:
                shown = tuple(running.output)
                for count in range(min(len(details), len(shown)), 0, -1):
                    if details[-count:] == shown[-count:]:
                        return details[:-count]
        return details

    def new_link(self, event: ForwardChanged) -> str:
        """The address to show for a forward that begins to listen; empty if it was shown before."""
        key, link = (event.resource, event.port), link_text(event)
        if event.state == "closed":
            self._links.pop(key, None)
        if event.state != "listening" or self._links.get(key) == link:
            return ""
        self._links[key] = link
        return link

    @property
    def links(self) -> list[str]:
        return list(self._links.values())


def doing_text(event: StepProgress) -> str:
    """How far the step is: ``step 3/5: RUN npm ci``, ``sending the context: 3.1 of 20 MB``."""
    if event.unit == "steps" and event.total:
        return f"step {event.current}/{event.total}: {event.detail}"
    if event.unit == "bytes" and event.total:
        return f"{event.detail}: {size(event.current)} of {size(event.total)}"
    if event.unit == "bytes" and event.current:
        return f"{event.detail}: {size(event.current)}"
    return event.detail


def link_text(event: ForwardChanged) -> str:
    """``http://localhost:8080``, or ``localhost:5432`` where the port is known to speak something else."""
    host = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::1": "localhost", "::": "localhost"}.get(event.address, event.address)
    host = f"[{host}]" if ":" in host else host
    port = event.port.lower()
    if _NOT_HTTP.fullmatch(port):
        return f"{host}:{event.local_port}"
    scheme = "https" if "https" in port or port in ("443", "8443") else "http"
    return f"{scheme}://{host}:{event.local_port}"
