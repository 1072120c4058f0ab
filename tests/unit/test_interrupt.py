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
