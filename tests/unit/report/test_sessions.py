"""A whole session, as each reporter shows it. The pictures are in golden/; DEVLOOP_GOLDEN=write draws them anew, to be looked at."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from devloop.events import GenerationFinished, LogLine
from devloop.report import Reporter
from devloop.report.console import Console
from devloop.report.jsonl import JsonLines
from devloop.report.plain import Plain
from devloop.report.schema import schema
from tests.unit.report.scene import SESSION, Clock, Screen, Stream

GOLDEN = Path(__file__).parent / "golden"
TICK = 0.1

Make = Callable[[Stream, Clock], Reporter]


def console(columns: int = 80, *, colours: bool = False, verbose: bool = False) -> Make:
    return lambda stream, clock: Console(stream, colours=colours, verbose=verbose, size=lambda: (columns, 24), clock=clock, now=clock.now)


def plain(*, verbose: bool = False) -> Make:
    return lambda stream, clock: Plain(stream, verbose=verbose, clock=clock, now=clock.now)


def play(make: Make, encoding: str = "utf-8") -> str:
    """The session in its own time, with the reporter's ticks between the events; what was written."""
    stream, clock = Stream(encoding), Clock()
    reporter = make(stream, clock)
    for wait, event in SESSION:
        due = clock.seconds + wait
        while reporter.tick and clock.seconds + TICK < due:
            clock.seconds += TICK
            reporter.flush()
        clock.seconds = due
        reporter.report(event)
        reporter.flush()
    reporter.close()
    return stream.getvalue()


def compare(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("DEVLOOP_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def visible(text: str) -> str:
    """With escape sequences to be read by people."""
    return text.replace("\x1b", "␛").replace("\r", "␍")


@pytest.mark.parametrize(("name", "make", "columns"), [
    ("console-80", console(80), 80), ("console-120", console(120, colours=True), 120), ("console-40", console(40), 40),
    ("console-verbose", console(100, verbose=True), 100)])
def test_the_screen_at_the_end(name: str, make: Make, columns: int) -> None:
    screen = Screen(columns)
    screen.feed(play(make))
    compare(name, "\n".join(row.rstrip() for row in screen.rows))


@pytest.mark.parametrize(("name", "make"), [("plain", plain()), ("plain-verbose", plain(verbose=True)),
                                            ("colours", console(80, colours=True))])
def test_what_is_written(name: str, make: Make) -> None:
    compare(name, visible(play(make)))


def test_json_lines_say_everything_and_are_as_the_schema_says() -> None:
    text = play(lambda stream, clock: JsonLines(stream, now=clock.now))
    compare("json", text)
    lines = [json.loads(line) for line in text.splitlines()]
    validator = jsonschema.Draft202012Validator(schema())
    for line, (_, event) in zip(lines, SESSION, strict=True):
        validator.validate(line)
        del line["time"]
        assert line == json.loads(json.dumps(event.to_json()))


def test_plain_output_has_no_control_codes() -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", play(plain()))


def test_without_colours_the_screen_uses_none() -> None:
    written = play(console())
    assert not re.search(r"\x1b\[[0-9;]*m", written)
    assert "\x1b[" in written, "the status line moves all the same"


def test_a_code_page_without_the_symbols_gets_others() -> None:
    for make in (console(), plain()):
        for line in play(make, "cp1252").splitlines():
            assert "✓" not in line
            assert "│" not in line
    assert "+ build" in play(plain(), "cp1252")


def test_every_log_line_is_whole_and_stands_once() -> None:
    for make in (console(40), console(120), plain()):
        written = play(make)
        for _, event in SESSION:
            if isinstance(event, LogLine) and event.line.isprintable():
                assert written.count(event.line) == 1


def test_a_failure_is_told_once() -> None:
    for make in (console(), console(verbose=True), plain()):
        written = play(make)
        assert written.count("error TS2322") == 1
        assert written.count("ended with exit code 2") == 1


def test_commands_that_only_build_are_done_not_live() -> None:
    stream, clock = Stream(), Clock()
    reporter = plain()(stream, clock)
    reporter.report(GenerationFinished(1, "live", 0.5))
    reporter.close()
    assert stream.getvalue() == "● done in 0.5 s\n"
