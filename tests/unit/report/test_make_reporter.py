"""Which reporter an output gets, with which colours; and what happens when nobody reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import IO

import pytest

from devloop.report import make_reporter
from devloop.report.console import Console
from devloop.report.jsonl import JsonLines
from devloop.report.plain import Plain
from devloop.report.style import wants_colour
from tests.unit.report.scene import Stream, log

XTERM = {"TERM": "xterm-256color"}


@pytest.fixture
def terminal() -> Iterator[IO[str]]:
    """The writing end of a real pseudo-terminal."""
    pty = pytest.importorskip("pty", reason="missing: pseudo-terminals")
    master, slave = pty.openpty()
    with open(slave, "w", encoding="utf-8") as stream:
        yield stream
    os.close(master)


def test_a_terminal_gets_the_screen(terminal: IO[str]) -> None:
    assert isinstance(make_reporter("auto", terminal, environ=XTERM), Console)


@pytest.mark.parametrize(("output", "environ", "kind"), [
    ("plain", XTERM, Plain), ("json", XTERM, JsonLines), ("auto", {"TERM": "dumb"}, Plain)])
def test_a_terminal_gets_what_is_asked_for(terminal: IO[str], output: str, environ: Mapping[str, str], kind: type) -> None:
    assert isinstance(make_reporter(output, terminal, environ=environ), kind)


def test_a_pipe_gets_plain_lines() -> None:
    assert isinstance(make_reporter("auto", Stream(), environ=XTERM), Plain)


@pytest.mark.parametrize(("environ", "on_terminal", "in_pipe"), [
    (XTERM, True, False),
    (XTERM | {"NO_COLOR": ""}, True, False),
    (XTERM | {"NO_COLOR": "1"}, False, False),
    (XTERM | {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    (XTERM | {"FORCE_COLOR": "1"}, True, True),
    (XTERM | {"FORCE_COLOR": "0"}, False, False),
    (XTERM | {"CLICOLOR": "0"}, False, False),
    (XTERM | {"CLICOLOR_FORCE": "1"}, True, True),
    (XTERM | {"CLICOLOR_FORCE": "0"}, True, False),
    ({"TERM": "dumb"}, False, False),
])
def test_colours_are_as_the_environment_wants_them(environ: Mapping[str, str], on_terminal: bool, in_pipe: bool) -> None:
    assert wants_colour(environ, terminal=True) is on_terminal
    assert wants_colour(environ, terminal=False) is in_pipe


def test_forced_colours_reach_a_pipe() -> None:
    stream = Stream()
    reporter = make_reporter("plain", stream, environ=XTERM | {"FORCE_COLOR": "1"})
    reporter.report(log("\x1b[31mred\x1b[0m\x1b[2J"))
    reporter.close()
    assert stream.getvalue() == "[web] \x1b[31mred\x1b[0m\x1b[0m\n"


PROGRAM = """
import os, sys, threading
from devloop.events import Notice
from devloop.interrupt import interrupts
from devloop.report import Bus, make_reporter
stopped = threading.Event()
with interrupts(stopped.set):
    bus = Bus(make_reporter({output!r}, sys.stdout, environ=os.environ))
    while not stopped.is_set():
        bus.emit(Notice("again"))
        stopped.wait(0.001)
    bus.close()
bus.emit(Notice("late"))
sys.exit(7 if bus.output_closed else 1)
"""


@pytest.mark.parametrize("output", ["plain", "json"])
def test_a_reader_that_leaves_is_an_orderly_end_without_a_word(output: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM.format(output=output)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 7


def test_characters_that_the_encoding_lacks_are_spelled_out() -> None:
    program = ("import os, sys; sys.path.insert(0, ''); from devloop.report import make_reporter; from devloop.events import LogLine\n"
               "r = make_reporter('plain', sys.stdout, environ={}); r.report(LogLine('n', 'p', 'c', '日 ü')); r.close()")
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONIOENCODING": "cp1252"}, check=True, capture_output=True)
    assert done.stdout.decode("cp1252").strip() == "[p/c] \\u65e5 ü"
