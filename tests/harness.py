"""The real `devloop` command, run the way its users do: `Devloop` in a directory, `Session` while it runs, `Terminal` on a pty."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

DEVLOOP = Path(sys.executable).with_name("devloop")
PATIENCE = 150.0      # seconds: a machine that does much else must not fail a test
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>78]|\x1b\][^\x07]*\x07")


class Event(dict[str, Any]):
    """One line of `--output json`. `index`: its place in the session."""

    index = -1


@dataclass(frozen=True)
class Result:
    """A command that has ended."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[Event]:
        return [parse(line, index) for index, line in enumerate(self.out.splitlines())]

    def all(self, kind: str, **fields: Any) -> list[Event]:
        return [event for event in self.events if matches(event, kind, fields)]

    def one(self, kind: str, **fields: Any) -> Event:
        found = self.all(kind, **fields)
        assert len(found) == 1, f"expected one {kind} {fields}, found {len(found)} in:\n{self.out}"
        return found[0]

    def ended(self, code: int) -> Self:
        """Itself; fails with all that was said where the exit code is another one."""
        assert self.code == code, f"devloop {' '.join(self.args)} ended with {self.code}, not {code}\n{self.out}\n{self.err}"
        return self


def parse(line: str, index: int) -> Event:
    event = Event(json.loads(line))
    event.index = index
    return event


def matches(event: Event, kind: str, fields: dict[str, Any]) -> bool:
    """A field's expected value is itself, or a function that says whether it will do."""
    return event["type"] == kind and all(
        expected(event[key]) if callable(expected) else event[key] == expected for key, expected in fields.items())


@dataclass
class Devloop:
    """`devloop`, in the directory `cwd`, with an environment of its own and nothing in its home directory."""

    cwd: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        home = self.cwd / ".home"
        home.mkdir(exist_ok=True)
        keep = {key: os.environ[key] for key in ("PATH", "DOCKER_HOST", "TZ") if key in os.environ}
        return keep | {"HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm-256color"} | self.environ

    def run(self, *args: str, timeout: float = PATIENCE, stdin: str = "") -> Result:
        """Run it to its end; no traceback may show, whatever the exit code is."""
        done = subprocess.run([DEVLOOP, *args], cwd=self.cwd, env=self.environment, capture_output=True, text=True, timeout=timeout,
                              input=stdin, check=False)
        check_clean(done.stdout + done.stderr)
        return Result(args, done.returncode, done.stdout, done.stderr)

    def json(self, *args: str, timeout: float = PATIENCE) -> Result:
        return self.run(*args, "--output", "json", timeout=timeout)

    def start(self, *args: str) -> Session:
        """Run it with `--output json` and go on; use it in a `with` block, whose end ends it."""
        return Session(self, (*args, "--output", "json"))

    def terminal(self, *args: str, columns: int = 120, lines: int = 40) -> Terminal:
        return Terminal(self, args, columns, lines)


def check_clean(text: str) -> None:
    for fault in ("Traceback (most recent call last)", "devloop itself failed"):
        assert fault not in text, text


class Running:
    """A process group of its own; leaving the `with` block kills what is left of it."""

    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.closed()

    def closed(self) -> None:
        """The process has gone: let go of its output."""

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        self.process.terminate()

    def said(self) -> str:
        raise NotImplementedError

    def ended(self, timeout: float = PATIENCE) -> int:
        """The exit code, once it has ended by itself, leaving no process behind."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"devloop did not end within {timeout} s\n{self.said()}") from None
        self.closed()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return code
        raise AssertionError("devloop left a process behind")


class Session(Running):
    """`devloop` at work, its events as they come."""

    def __init__(self, devloop: Devloop, args: tuple[str, ...]) -> None:
        self.events: list[Event] = []
        self._more = threading.Condition()
        self._open = True
        self._listening = True
        self._errors = devloop.cwd / f".stderr-{time.monotonic_ns()}"
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen([DEVLOOP, *args], cwd=devloop.cwd, env=devloop.environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        self._reader = threading.Thread(target=self._read, name="events")
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        try:
            with self.process.stdout as lines:
                for line in lines:
                    with self._more:
                        self.events.append(parse(line.decode(), len(self.events)))
                        self._more.notify_all()
                    if not self._listening:
                        break
        finally:
            with self._more:
                self._open = False
                self._more.notify_all()

    def stop_reading(self) -> None:
        """Close our end of its output."""
        self._listening = False

    def closed(self) -> None:
        self._reader.join()
        check_clean(self._errors.read_text() + "".join(json.dumps(event) for event in self.all("failure")))

    def said(self) -> str:
        lines = [json.dumps(event, ensure_ascii=False) for event in self.events]
        return "\n".join([*lines[-60:], self._errors.read_text()])

    def all(self, kind: str, *, after: Event | None = None, **fields: Any) -> list[Event]:
        """The events so far, those after `after`, that match."""
        return [event for event in self.events[after.index + 1 if after else 0:] if matches(event, kind, fields)]

    def wait_for(self, kind: str, *, after: Event | None = None, timeout: float = PATIENCE, **fields: Any) -> Event:
        """The first event of this kind with these fields, after the event `after`; it may have come already."""
        deadline = time.monotonic() + timeout
        position = after.index + 1 if after else 0
        while True:
            with self._more:
                while position == len(self.events):
                    remaining = deadline - time.monotonic()
                    if not self._open or remaining <= 0 or not self._more.wait(remaining):
                        why = f"within {timeout} s" if self._open else "before it ended"
                        raise AssertionError(f"no {kind} {fields} {why}\n{self.said()}")
                event = self.events[position]
            position += 1
            if matches(event, kind, fields):
                return event

    def live(self, generation: int, timeout: float = PATIENCE) -> Event:
        return self.finished(generation, "live", timeout)

    def finished(self, generation: int, outcome: str, timeout: float = PATIENCE) -> Event:
        """The end of this generation, which must be `outcome`."""
        event = self.wait_for("generationFinished", generation=generation, timeout=timeout)
        assert event["outcome"] == outcome, f"generation {generation} is {event['outcome']}, not {outcome}\n{self.said()}"
        return event

    @property
    def generation(self) -> int:
        """The number of the last one that started."""
        return max((event["generation"] for event in self.events if event["type"] == "generationStarted"), default=0)

    def settled(self, timeout: float = PATIENCE) -> int:
        """The number of the last generation, once it has finished and no newer one has started with that."""
        while True:
            number = self.generation
            finished = self.wait_for("generationFinished", generation=number, timeout=timeout)
            if finished["outcome"] != "stale" and self.generation == number:
                return number
            if finished["outcome"] == "stale":
                self.wait_for("generationStarted", generation=number + 1, timeout=timeout)

    def next_live(self, change: Callable[[], None], timeout: float = PATIENCE) -> Event:
        """Do `change`, and see that the generation after the present one serves it. On a busy machine that may have been begun between
        a file's truncation and its content: it is called off then, and the next one serves it."""
        generation = self.generation + 1
        change()
        while (finished := self.wait_for("generationFinished", generation=generation, timeout=timeout))["outcome"] == "stale":
            generation += 1
        assert finished["outcome"] == "live", f"generation {generation} is {finished['outcome']}\n{self.said()}"
        return finished

    def port(self, resource: str, timeout: float = PATIENCE) -> int:
        """The local port of a forward, once it leads to a pod."""
        return int(self.wait_for("forwardChanged", resource=resource, state="ready", timeout=timeout)["localPort"])


class Terminal(Running):
    """`devloop` as a person sees it: on a pseudo-terminal. `raw` is all it wrote, `text` the same without control sequences."""

    def __init__(self, devloop: Devloop, args: tuple[str, ...], columns: int, lines: int) -> None:
        self._pty, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.modes = termios.tcgetattr(child)
        self._child = child         # kept open: the modes can be read after the end
        self.raw = ""
        self._more = threading.Condition()
        # setsid makes the pty the one on which Ctrl-C is pressed
        self.process = subprocess.Popen(["setsid", "--ctty", DEVLOOP, *args], cwd=devloop.cwd, env=devloop.environment,
                                        stdin=child, stdout=child, stderr=child)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._pty, 1 << 16)
            except OSError as error:
                if error.errno in (errno.EIO, errno.EBADF):
                    return
                raise
            if not data:
                return
            with self._more:
                self.raw += data.decode(errors="replace")
                self._more.notify_all()

    @property
    def text(self) -> str:
        return CONTROL.sub("", self.raw).replace("\r\n", "\n")

    def said(self) -> str:
        return self.text[-6000:]

    def press(self, keys: str) -> None:
        os.write(self._pty, keys.encode())

    def modes_now(self) -> list[Any]:
        return termios.tcgetattr(self._child)

    def wait_for(self, pattern: str, *, timeout: float = PATIENCE) -> re.Match[str]:
        """The first place where the text matches."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            if ended:
                self.closed()      # all that it wrote is read
            with self._more:
                if found := re.search(pattern, self.text, re.MULTILINE):
                    return found
                remaining = deadline - time.monotonic()
                if ended or remaining <= 0:
                    raise AssertionError(f"no {pattern!r} {'before it ended' if ended else f'within {timeout} s'}\n{self.said()}")
                self._more.wait(min(remaining, 0.2))

    def closed(self) -> None:
        if self._child >= 0:
            os.close(self._child)      # the last writer: the reader comes to its end
            self._reader.join()
            os.close(self._pty)
            self._child = -1
            check_clean(self.text)

