"""Other programs: started in a process group of their own, read line by line, ended with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from devloop.cancel import Cancel
from devloop.clients.feeding import feeding

GRACE = 2.0   # seconds between asking a program to end and ending it


@dataclass(frozen=True)
class Captured:
    """A finished program: exit code (negative: the signal that ended it), and what it wrote. May hold secrets."""

    code: int
    output: str = field(repr=False)
    errors: str = field(repr=False)


def which(program: str, environ: Mapping[str, str]) -> str | None:
    """Where the program is, by `environ`'s PATH."""
    return shutil.which(program, path=environ.get("PATH", os.defpath))


def capture(argv: Sequence[str], *, environ: Mapping[str, str], cancel: Cancel, stdin: str = "") -> Captured:
    """Run to the end. Raises `OSError` where it cannot be started, `Cancelled`."""
    pipe = subprocess.PIPE
    with _started(argv, environ, cancel, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        output, errors = process.communicate(stdin.encode())
    return Captured(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


def stream(argv: Sequence[str], *, environ: Mapping[str, str], cancel: Cancel, stdin: Iterable[bytes],
           on_line: Callable[[str], None]) -> int:
    """Run to the end, feeding `stdin` and giving every line of output and errors to `on_line`. Returns the exit code.

    What `stdin` raises ends the program and is raised. Raises `OSError` where it cannot be started, `Cancelled`.
    """
    with _started(argv, environ, cancel, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin
        assert process.stdout
        with feeding(f"stdin-{process.pid}", stdin, process.stdin.write, process.stdin.close, lambda: _signal(process, signal.SIGKILL)):
            for line in process.stdout:
                on_line(line.decode(errors="replace").rstrip("\r\n"))
        process.wait()
    return process.returncode


@contextmanager
def _started(argv: Sequence[str], environ: Mapping[str, str], cancel: Cancel, *, stdin: int, stdout: int,
             stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program while it runs; it has ended when the block is left, by force where an exception leaves it."""
    cancel.check()
    # a group of its own: a Ctrl-C in the terminal is ours alone to handle, and its children can be reached
    with subprocess.Popen(argv, env=dict(environ), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True) as process:
        killer = threading.Timer(GRACE, _signal, (process, signal.SIGKILL))
        killer.name = f"kill-{process.pid}"
        killer.daemon = True

        def end() -> None:
            _signal(process, signal.SIGTERM)
            killer.start()

        try:
            with cancel.closing(end):
                yield process
        except BaseException:
            if not cancel.cancelled:
                _signal(process, signal.SIGKILL)
            raise
        finally:
            process.wait()
            killer.cancel()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the whole group. Its number stays the process's own until somebody has waited for that."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
