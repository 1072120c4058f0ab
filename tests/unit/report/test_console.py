"""The moving part of the screen never costs a line of the part that scrolls."""

from __future__ import annotations

from devloop.events import GenerationStarted, StepOutput, StepProgress, StepStarted
from devloop.report.console import Console
from tests.unit.report.scene import Clock, Screen, Stream, log


class Window:
    """A terminal whose size can change, with our output in it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.stream, self.clock = Stream(), Clock()
        self.reporter = Console(self.stream, colours=False, size=lambda: self.size, clock=self.clock, now=self.clock.now)
        self.screen = Screen(columns)
        self._shown = 0

    def flush(self, wait: float = 0) -> list[str]:
        self.clock.seconds += wait
        self.reporter.flush()
        written = self.stream.getvalue()
        self.screen.feed(written[self._shown:])
        self._shown = len(written)
        return self.screen.rows

    def narrow(self, columns: int) -> None:
        """As a terminal does it: what is too long is broken."""
        self.size = (columns, self.size[1])
        broken = Screen(columns)
        broken.feed("\n".join(self.screen.rows))
        self.screen = broken


def build(window: Window, name: str, lines: int = 0) -> None:
    window.reporter.report(StepStarted("build", name))
    window.reporter.report(StepProgress("build", name, "RUN npm ci", 3, 5, "steps"))
    for number in range(lines):
        window.reporter.report(StepOutput("build", name, f"output {number}"))


def test_nothing_moves_before_a_second_has_passed() -> None:
    window = Window(80, 24)
    build(window, "web")
    assert window.flush(0.9) == [""]
    assert window.reporter.tick > 0
    assert [row[2:] for row in window.flush(0.2)] == ["build   web  1.1 s  step 3/5: RUN npm ci"]


def test_a_slow_build_shows_its_last_output() -> None:
    window = Window(80, 24)
    build(window, "web", lines=10)
    rows = window.flush(2)
    assert rows[0][2:] == "build   web  2.0 s  step 3/5: RUN npm ci"
    assert rows[1:] == [f"  │ output {n}" for n in range(6, 10)]


def test_builds_in_parallel_have_a_line_each() -> None:
    window = Window(80, 24)
    for name in ("web", "api", "worker", "db"):
        build(window, name, lines=10)
    assert [row.split()[2] for row in window.flush(2)] == ["web", "api", "worker", "db"]


def test_it_takes_at_most_half_of_the_window() -> None:
    window = Window(80, 10)
    for number in range(20):
        build(window, f"artifact-{number}")
    assert len(window.flush(2)) <= 5


def test_log_lines_scroll_above_it() -> None:
    window = Window(80, 24)
    build(window, "web", lines=2)
    for number in range(5):
        window.reporter.report(log(f"line {number}"))
        window.flush(0.7)
    assert [row.strip() for row in window.screen.rows[:5]] == [f"web     │ line {n}" for n in range(5)]
    assert len(window.screen.rows) == 8


def test_a_window_that_gets_narrower_keeps_what_scrolled() -> None:
    window = Window(80, 24)
    window.reporter.report(log("first"))
    build(window, "an-artifact-with-a-long-name", lines=4)
    window.flush(2)
    window.narrow(25)
    window.flush(0.1)
    window.reporter.report(log("second"))
    rows = window.flush(0.1)
    assert rows[:2] == ["web     │ first", "web │ second"]
    assert rows[3:] == [f"  │ output {n}" for n in range(4)]
    assert all(len(row) <= 25 for row in rows)


def test_at_the_end_nothing_of_it_is_left() -> None:
    window = Window(80, 24)
    window.reporter.report(log("last"))
    build(window, "web", lines=4)
    window.flush(3)
    window.reporter.close()
    assert window.flush() == ["web     │ last", ""]
    assert window.reporter.tick == 0


def test_a_new_generation_starts_with_a_clean_footer() -> None:
    window = Window(80, 24)
    build(window, "web")
    window.flush(3)
    window.reporter.report(GenerationStarted(2, ("a",), 1))
    assert window.flush(3)[1].startswith("▸ a changed")
    assert len(window.screen.rows) == 3


def test_a_source_keeps_its_colour_whichever_pod_it_runs_in() -> None:
    stream, clock = Stream(), Clock()
    reporter = Console(stream, colours=True, size=lambda: (80, 24), clock=clock, now=clock.now)
    for event in (log("a"), log("b", "api", "api-1", "deployment/api"), log("c", "web old", "web-0"), log("d", "web", "web-2")):
        reporter.report(event)
    reporter.close()
    a, b, c, d = (line.partition("m")[0] for line in stream.getvalue().splitlines())
    assert a == c == d != b
