"""Events as lines for people: what both the screen and plain output say, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from devloop.events import (
    Checked,
    ConfigReloaded,
    Event,
    Failure,
    ForwardChanged,
    GenerationFinished,
    GenerationStarted,
    Notice,
    ObjectApplied,
    SessionStarted,
    StepFinished,
    StepOutput,
)
from devloop.report.session import Running, Session
from devloop.report.style import Paint, Symbols
from devloop.report.text import cells, fit, harmless, seconds, wrap

STEP_WIDTH = 8         # of the column that says build, deploy, rollout
CHECK_WIDTH = 12       # of the column that says what was checked
SUBJECT_WIDTH = 28     # subjects are aligned up to this
SHOWN_OBJECTS = 12     # of those that were cleaned up, by name
NARROW = 60            # columns below which nothing is aligned


class Story:
    """Turns events, but log lines, into finished lines. `width` 0: lines may be as long as they are."""

    def __init__(self, session: Session, paint: Paint, symbols: Symbols, *, verbose: bool, live_output: bool,
                 now: Callable[[], datetime]) -> None:
        """`live_output`: the output of steps is told as it comes, so a failure need not repeat it."""
        self._session = session
        self._paint = paint
        self._s = symbols
        self._verbose = verbose
        self._live_output = live_output
        self._now = now
        self._subject_width = 0
        self.width = 0

    def tell(self, event: Event) -> list[str]:
        """The lines about this event; often none. To be called before the session takes it."""
        match event:
            case SessionStarted():
                return self._started(event)
            case GenerationStarted():
                return self._generation(event)
            case GenerationFinished():
                return self._generation_end(event)
            case StepFinished():
                return self._step(event)
            case StepOutput() if self._live_output:
                return self._tool_output(event)
            case Failure():
                return self._failure(event)
            case Notice():
                return self._notice(event)
            case ObjectApplied():
                return self._object(event)
            case ForwardChanged():
                return self._forward(event)
            case Checked():
                return self._checked(event)
            case ConfigReloaded():
                return [f"{self._paint('cyan', self._s.changed)} {event.file} is in force"]
        return []

    def farewell(self) -> list[str]:
        """What there is to say at the end: what was cleaned up."""
        cleaned = self._session.cleaned
        if not cleaned or self._verbose:
            return []
        what = ", ".join(cleaned) if len(cleaned) <= SHOWN_OBJECTS else f"{len(cleaned)} objects"
        return self._hanging(self._paint("dim", self._s.stale), f"deleted {what}")

    def status(self, running: Running, elapsed: float, spin: str) -> str:
        """One running step, in one line of at most `width`."""
        head = self._head(running.step, running.subject)
        text = f"{head}  {seconds(elapsed)}" + (f"  {harmless(running.doing, colours=False)[0]}" if running.doing else "")
        shown = fit(text, self.width - 2, self._s.ellipsis) if self.width else text
        return f"{self._paint('cyan', spin)} {shown[:len(head)]}{self._paint('dim', shown[len(head):])}"

    def _started(self, event: SessionStarted) -> list[str]:
        where = f"{event.namespace} on {event.context}" if event.namespace else event.context
        reason = f"  ({event.reason})" if event.reason else ""
        return self._wrapped(f"{self._paint('bold', event.project)} {self._s.hint} {where}", reason)

    def _wrapped(self, text: str, rest: str) -> list[str]:
        """`rest` dimmed behind the text, or below it where it does not fit."""
        if self.width and rest and cells(_bare(text) + rest) > self.width:
            return [text, *(self._paint("dim", f"  {line}") for line in wrap(rest.strip(), self.width - 2))]
        return [text + self._paint("dim", rest)]

    def _generation(self, event: GenerationStarted) -> list[str]:
        if event.generation == 1 and not event.files:
            return []
        files = ", ".join(event.files)
        more = event.total_files - len(event.files)
        what = f"{files}{f' and {more} more' if more > 0 else ''} changed" if files else "everything again"
        time = self._now().strftime("%H:%M:%S")
        if self.width:
            what = fit(what, self.width - len(time) - 4, self._s.ellipsis)
        line = f"{self._paint('bold cyan', self._s.changed)} {self._paint('bold', what)}  {self._paint('dim', time)}"
        return ["", line] if self.width else [line]      # in plain output every line says something

    def _generation_end(self, event: GenerationFinished) -> list[str]:
        session = self._session
        if event.outcome == "stale":
            reason = ": there is a newer save" if session.command == "dev" else ""
            return self._hanging(self._paint("dim", self._s.stale), f"called off after {seconds(event.seconds)}{reason}", "dim")
        if event.outcome == "failed":
            if session.command != "dev":
                return []
            before = "what ran before still does; " if session.was_live else ""
            text = f"not live after {seconds(event.seconds)}: {before}the next save tries again"
            return self._hanging(self._paint("red", self._s.live), text)
        done = "live" if session.command else "done"
        parts = f" {self._s.dot} ".join(f"{step} {taken:.1f}" for step, taken in session.breakdown())
        links = "  ".join(session.links)
        line = f"{self._paint('bold green', self._s.live)} {self._paint('bold', f'{done} in {seconds(event.seconds)}')}"
        used = cells(_bare(line))
        for text, style in ((links, "cyan"), (f"({parts})" if parts else "", "dim")):
            used += len(text) + 2
            if text and (not self.width or used <= self.width):
                line += "  " + self._paint(style, text)
        return [line]

    def _step(self, event: StepFinished) -> list[str]:
        if event.cached and not self._verbose and event.step != "build":
            return []
        symbol = self._paint("dim", "=") if event.cached else self._paint("green", self._s.done)
        head = self._head(event.step, event.subject)
        taken = "cached" if event.cached else seconds(event.seconds)
        detail = event.detail if self._verbose or not self.width else _shorter(event)
        rest = f"  {taken}" + (f"  {detail}" if detail else "")
        if self.width and cells(head + rest) + 2 > self.width:
            rest = fit(rest, max(self.width - cells(head) - 2, len(taken) + 2), self._s.ellipsis)
        return [f"{symbol} {head}{self._paint('dim', rest)}"]

    def _tool_output(self, event: StepOutput) -> list[str]:
        head = f"{event.subject or event.step} {self._s.bar}" if self.width else f"[{event.step} {event.subject}]".replace(" ]", "]")
        return [self._paint("dim", f"{head} {line}") for line in harmless(event.line, colours=False)]

    def _head(self, step: str, subject: str) -> str:
        """``build   hello-web``, padded so that what follows stands in one column."""
        if not self.width or self.width < NARROW:
            return f"{step:{STEP_WIDTH}}{subject}".rstrip()
        self._subject_width = min(max(self._subject_width, len(subject)), SUBJECT_WIDTH)
        return f"{step:{STEP_WIDTH}}{subject:{self._subject_width}}"

    def _failure(self, event: Failure) -> list[str]:
        details = self._session.unseen(event) if self._live_output else event.details
        head = f"{event.phase:{STEP_WIDTH}}" if event.phase in ("build", "publish", "deploy", "rollout") else ""
        lines = self._hanging(self._paint("bold red", self._s.failed), head + event.message, "bold red")
        lines += [f"  {self._paint('red', self._s.bar)} {line}" for text in details
                  for line in harmless(text, colours=self._paint.enabled)]
        return lines + self._hint(event.hint)

    def _notice(self, event: Notice) -> list[str]:
        if event.level == "warning":
            return self._hanging(self._paint("bold yellow", self._s.warning), event.message, "yellow") + self._hint(event.hint)
        return self._hanging(self._paint("cyan", self._s.note), event.message) + self._hint(event.hint)

    def _checked(self, event: Checked) -> list[str]:
        symbol = self._paint("green", self._s.done) if event.ok else self._paint("bold red", self._s.failed)
        lines = self._hanging(symbol, f"{event.name:{CHECK_WIDTH}} {event.detail}", "" if event.ok else "red")
        return lines + self._hint(event.hint)

    def _hint(self, hint: str) -> list[str]:
        return self._hanging("  " + self._paint("cyan", self._s.hint), hint, indent=4) if hint else []

    def _hanging(self, symbol: str, text: str, style: str = "", indent: int = 2) -> list[str]:
        """Wrapped between words, with the symbol before the first line."""
        parts = wrap(text, self.width - indent) if self.width else text.splitlines()
        return [(f"{symbol} " if n == 0 else " " * indent) + self._paint(style, part) for n, part in enumerate(parts)]

    def _object(self, event: ObjectApplied) -> list[str]:
        surprising = event.action == "replaced" or (event.action == "deleted" and event.reason)
        if not self._verbose and not surprising:
            return []
        return self._hanging(self._paint("yellow" if surprising else "dim", self._s.note),
                             f"{event.resource} {event.action}" + (f": {event.reason}" if event.reason else ""))

    def _forward(self, event: ForwardChanged) -> list[str]:
        what = f"{event.resource}:{event.port}"
        if link := self._session.new_link(event):
            lines = self._wrapped(f"{self._paint('cyan', self._s.link)} {self._paint('bold cyan', link)}", f"  {what}")
            return lines + (self._hanging("  " + self._paint("yellow", self._s.warning), event.detail, "yellow", 4) if event.detail else [])
        if not self._verbose or event.state == "listening":
            return []
        pod = f" {self._s.hint} {event.pod}" if event.pod else ""
        return [self._paint("dim", f"{self._s.note} {what} {event.state}{pod}" + (f": {event.detail}" if event.detail else ""))]


def _shorter(event: StepFinished) -> str:
    """A detail for the screen: of a built image only the tag, and only its first characters."""
    repository, _, tag = event.detail.rpartition(":")
    return tag[:12] if event.step == "build" and repository.endswith(event.subject) else event.detail


def _bare(text: str) -> str:
    """Without our own colours."""
    return "".join(part.partition("m")[2] if n else part for n, part in enumerate(text.split("\x1b[")))
