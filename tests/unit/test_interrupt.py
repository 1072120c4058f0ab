"""Signals, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from devloop.errors import Cancelled
from devloop.interrupt import interruptible

def work(cancel):
    print("working", flush=True)
    while not cancel.cancelled:          # threads that are being started are what a signal may be handed to
        threads = [threading.Thread(target=int) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()

try:
    interruptible(work)
except Cancelled as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_is_lost_while_threads_are_started(number: signal.Signals) -> None:
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(number)
            try:
                assert process.wait(5) == 130
            finally:
                process.kill()


def ended(program: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def test_an_echo_that_is_read_late_is_none_the_less_one() -> None:
    """The thread that listens gets no time between the two signals."""
    assert ended("""
import os, signal, threading, time
from devloop.interrupt import ECHO, interrupts

done = threading.Event()

def first():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * ECHO)
    done.set()

with interrupts(first):
    os.kill(os.getpid(), signal.SIGTERM)
    done.wait(10)
print("in order")
""") == (0, "in order\n", "")


def test_a_second_signal_ends_at_once() -> None:
    assert ended("""
import os, signal, threading
from devloop.interrupt import ECHO, interrupts

with interrupts(lambda: None):
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        threading.Event().wait(2 * ECHO)
        os.kill(os.getpid(), signal.SIGINT)
""") == (130, "", "")


def test_a_ctrl_c_after_the_reader_has_gone_is_the_first() -> None:
    assert ended("""
import os, signal, threading
from devloop.interrupt import ECHO, hang_up, interrupts

told = []
with interrupts(lambda: told.append("once")):
    hang_up()
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(2 * ECHO)
print(told)
""") == (0, "['once']\n", "")


def test_the_innermost_is_told_and_what_begins_afterwards_is_told_at_once() -> None:
    assert ended("""
import os, signal, threading
from devloop.errors import Cancelled
from devloop.interrupt import interruptible, interrupts

told = threading.Event()

def work(cancel):
    with interrupts(told.set):
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(10)
    assert not cancel.cancelled
    try:
        interruptible(lambda inner: inner.wait(10))
    except Cancelled:
        print("not begun")

interruptible(work)
""") == (0, "not begun\n", "")


def test_what_cannot_be_cancelled_is_left_to_itself_and_does_not_hold_up_the_closing() -> None:
    assert ended("""
import os, signal, threading
from devloop import interrupt
from devloop.errors import Cancelled

interrupt.GRACE = 0.2
never = threading.Event()

def work(cancel):
    os.kill(os.getpid(), signal.SIGINT)
    never.wait()

try:
    interrupt.interruptible(work, 0.1)
except Cancelled:
    interrupt.put_in_order(never.wait)
    print("went on", interrupt.asked())
""") == (0, "went on True\n", "")
