"""Other programs: their lines, their input, their end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devloop.cancel import Cancel
from devloop.clients import process
from devloop.errors import BuildError, Cancelled


def run(script: str, stdin: Iterable[bytes] = (), cancel: Cancel | None = None,
        on_line: Callable[[str], None] | None = None) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = process.stream(["sh", "-c", script], environ=os.environ, cancel=cancel or Cancel(), stdin=stdin, on_line=on_line or lines.append)
    return code, lines


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_output_and_errors_come_as_lines_an_unterminated_one_included() -> None:
    assert run("echo out; echo err >&2; printf 'crlf\\r\\nlast'; exit 3") == (3, ["out", "err", "crlf", "last"])


def test_input_larger_than_a_pipe_is_fed_while_output_is_read() -> None:
    chunks = (b"x" * 65536 for _ in range(40))
    assert run("tee /dev/null | wc -c", chunks) == (0, ["2621440"])


def test_a_program_that_does_not_want_all_of_its_input_is_no_error() -> None:
    chunks = (b"x" * 65536 for _ in range(40))
    assert run("head -c 1 >/dev/null; echo enough", chunks) == (0, ["enough"])


def test_what_the_input_raises_ends_the_program_and_is_raised() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise BuildError("a file vanished")

    with pytest.raises(BuildError, match="a file vanished"):
        run("cat >/dev/null; sleep 1000", chunks())


def test_what_the_reader_raises_ends_the_program() -> None:
    seen: list[int] = []

    def fail(line: str) -> None:
        seen.append(int(line))
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        run("echo $$; exec sleep 1000", on_line=fail)
    assert gone(seen[0])


ORDINARY = "sleep 1000 & echo $!; wait"
STUBBORN = "sh -c 'trap \"\" TERM; echo $$; sleep 1000; sleep 1000' & wait"


@pytest.mark.parametrize("script", [ORDINARY, STUBBORN], ids=["ordinary", "stubborn"])
def test_cancelling_ends_the_program_and_its_children(script: str) -> None:
    cancel = Cancel()
    pids: list[int] = []
    heard = threading.Event()

    def hear(line: str) -> None:
        pids.append(int(line))
        heard.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, script, cancel=cancel, on_line=hear)
        assert heard.wait(10)
        cancel.cancel("a newer save")
        with pytest.raises(Cancelled, match="a newer save"):
            running.result(20)
    assert gone(pids[0])


def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match="nosuchprogram"):
        process.capture(["nosuchprogram"], environ={}, cancel=Cancel())


def test_captured_output_is_not_in_the_repr() -> None:
    done = process.capture(["sh", "-c", "read -r x; echo $x; echo e >&2; exit 4"], environ=os.environ, cancel=Cancel(), stdin="secret\n")
    assert (done.code, done.output, done.errors) == (4, "secret\n", "e\n")
    assert "secret" not in repr(done)
