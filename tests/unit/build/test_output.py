"""From pieces of a build's output to lines and progress."""

from __future__ import annotations

import pytest

from devloop.build.output import LONGEST_LINE, Lines, Progress, shown
from devloop.events import Event, StepProgress


@pytest.mark.parametrize(("line", "expected"), [
    ("plain", "plain"),
    ("", ""),
    ("10%\r50%\r100%", "100%"),
    ("100%\r", "100%"),
    ("done\r      ", "done"),
    ("\x1b[31mred\x1b[0m and \x1b[1;38;5;208mbold\x1b[m", "red and bold"),
    ("\x1b]0;a title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
    ("\x1b[2K\x1b[1Aover\x1b(B", "over"),
    ("tab\tstays, bell\x07 and null\x00 go", "tab\tstays, bell and null go"),
    ("é 日本 🎉", "é 日本 🎉"),
])
def test_a_line_is_what_a_terminal_would_show_without_colour(line: str, expected: str) -> None:
    assert shown(line) == expected


def test_lines_are_put_together_from_pieces_wherever_they_are_cut() -> None:
    text = "one\n\x1b[91mtwo\x1b[0m\r\n\n10%\r20%\nlast"
    for size in range(1, len(text) + 1):
        lines = Lines()
        found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])] + list(lines.end())
        assert found == ["one", "two", "", "20%", "last"]
        assert list(lines.end()) == []


def test_a_line_without_end_comes_in_pieces() -> None:
    lines = Lines()
    assert [len(line) for line in lines.feed("x" * (LONGEST_LINE + 5))] == [LONGEST_LINE + 5]
    assert list(lines.end()) == []


def test_only_the_first_piece_is_skipped_and_only_where_it_is_just_that() -> None:
    lines = Lines(skip="\n")
    assert list(lines.feed("\n")) == []
    assert list(lines.feed("\n")) == [""]
    assert list(Lines(skip="\n").feed("text\n")) == ["text"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_told_after_a_second_and_then_four_times_a_second() -> None:
    events: list[Event] = []
    clock = Clock()
    progress = Progress("web", events.append, clock)
    for tick in range(301):   # three seconds in hundredths
        clock.now = tick / 100
        progress.sent("sending the context", tick, 200)
    told = [event for event in events if isinstance(event, StepProgress)]
    assert [event.current for event in told] == [100, 125, 150, 175, 200, 225, 250, 275, 300]
    assert [event.total for event in told] == [200] * 5 + [225, 250, 275, 300]
    assert {(event.step, event.subject, event.detail, event.unit) for event in told} == {("build", "web", "sending the context", "bytes")}


def test_each_thing_has_its_own_second_of_patience() -> None:
    events: list[Event] = []
    clock = Clock()
    progress = Progress("web", events.append, clock)
    progress.sent("sending", 1, 2)
    clock.now = 0.9
    progress.sent("pulling", 1, 2)
    clock.now = 1.5
    progress.sent("pulling", 2, 2)
    assert events == []
    clock.now = 1.9
    progress.sent("pulling", 2, 2)
    assert len(events) == 1


def test_the_context_is_counted_on_its_way_and_left_as_it_is() -> None:
    events: list[Event] = []
    clock = Clock()
    out = []
    for chunk in Progress("web", events.append, clock).counted([b"ab", b"c", b"def"], 6):
        out.append(chunk)
        clock.now += 1
    assert out == [b"ab", b"c", b"def"]
    assert [(event.current, event.total) for event in events if isinstance(event, StepProgress)] == [(3, 6), (6, 6)]
