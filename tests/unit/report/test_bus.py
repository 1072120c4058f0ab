"""Every event reaches the reporter, in order; nothing the reporter does reaches who emitted it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from devloop.events import Event, Notice, StepOutput
from devloop.report.bus import LIMIT, Bus
from devloop.report.reporter import OutputClosed

PATIENCE = 20.0


class Recorder:
    """A reporter that does `then` with every event."""

    tick = 0.0

    def __init__(self, then: Callable[[Event], None] = lambda _: None) -> None:
        self.events: list[Event] = []
        self.closed = False
        self._then = then

    def report(self, event: Event) -> None:
        self.events.append(event)
        self._then(event)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_each_threads_events_keep_their_order_and_none_is_lost() -> None:
    recorder = Recorder()
    bus = Bus(recorder)

    def emit(who: str) -> None:
        for number in range(500):
            bus.emit(StepOutput("build", who, str(number)))

    threads = [threading.Thread(target=emit, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bus.close()
    for who in "abcd":
        assert [e.line for e in recorder.events if isinstance(e, StepOutput) and e.subject == who] == [str(n) for n in range(500)]
    assert recorder.closed


def test_lines_wait_for_a_slow_reporter_and_other_events_do_not() -> None:
    go = threading.Event()
    recorder = Recorder(lambda _: (go.wait(PATIENCE), None)[1])
    bus = Bus(recorder)
    line = StepOutput("build", "web", "x" * (LIMIT // 8))
    full = threading.Event()

    def flood() -> None:
        for _ in range(20):
            bus.emit(line)
        full.set()

    thread = threading.Thread(target=flood)
    thread.start()
    for number in range(100):
        bus.emit(Notice(str(number)))
    assert not full.is_set(), "20 lines of an eighth of the limit fit nowhere while none is shown"
    go.set()
    thread.join(PATIENCE)
    bus.close()
    assert len(recorder.events) == 120


def test_closing_lets_go_of_who_waits() -> None:
    go = threading.Event()
    bus = Bus(Recorder(lambda _: (go.wait(PATIENCE), None)[1]))
    waiting = threading.Thread(target=lambda: [bus.emit(StepOutput("build", "web", "x" * LIMIT)) for _ in range(5)])
    waiting.start()
    closing = threading.Thread(target=bus.close)
    closing.start()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    bus.emit(Notice("late"))


def test_a_fault_of_the_reporter_costs_one_event_and_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    def then(event: Event) -> None:
        if event == Notice("bad"):
            raise RuntimeError("a fault")

    recorder = Recorder(then)
    bus = Bus(recorder)
    for message in ("one", "bad", "two"):
        bus.emit(Notice(message))
    bus.close()
    assert recorder.events == [Notice("one"), Notice("bad"), Notice("two")]
    assert capsys.readouterr().err == "devloop: an event could not be shown: RuntimeError: a fault\n"


def test_a_closed_output_is_told_once_and_then_nothing_is_written() -> None:
    told: list[str] = []

    def then(_event: Event) -> None:
        raise OutputClosed

    recorder = Recorder(then)
    bus = Bus(recorder, on_closed=lambda: told.append("closed"))
    for number in range(10):
        bus.emit(Notice(str(number)))
    bus.close()
    assert told == ["closed"]
    assert bus.output_closed
    assert len(recorder.events) == 1
