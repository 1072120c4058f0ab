"""Ctrl-C, SIGTERM and a closed terminal: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from devloop.cancel import Cancel
from devloop.errors import Cancelled

T = TypeVar("T")
SIGNALS = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
ECHO = 0.3      # seconds within which a second signal is the first one's echo: timeout(1) sends one to us and one to our group
GRACE = 5.0     # how long cancelled work may take to let go of what it holds


@contextmanager
def interrupts(first: Callable[[], None]) -> Iterator[None]:
    """While inside, the first signal calls `first`, in a thread of its own; the second one ends the process with exit code 130.

    A thread that listens, because Python's own handlers run in the main thread, and the kernel may hand a signal to a thread that
    is just being started: a main thread that waits for a lock or a queue then does not hear of it.
    """
    here, there = socket.socketpair()
    there.setblocking(False)
    thread = threading.Thread(target=_listen, args=(here, first), name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    descriptor = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        there.close()
        thread.join()
        here.close()


def _listen(sock: socket.socket, first: Callable[[], None]) -> None:
    asked = 0.0
    while received := sock.recv(1):
        if received[0] not in SIGNALS:
            continue
        if not asked:
            asked = time.monotonic()
            first()
        elif time.monotonic() - asked > ECHO:
            os._exit(Cancelled.exit_code)


def interruptible(work: Callable[[Cancel], T]) -> T:
    """Run `work` in a thread, so that a signal can cancel it at any moment. Raises what it raises; `Cancelled` after a signal."""
    cancel = Cancel()
    results: SimpleQueue[tuple[T | None, BaseException | None, bool]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((work(cancel), None, False))
        except BaseException as error:  # noqa: BLE001 - handed over to the main thread, which raises it
            results.put((None, error, False))

    thread = threading.Thread(target=run, name="work", daemon=True)
    with interrupts(lambda: results.put((None, None, True))):
        thread.start()
        result, error, interrupted = results.get()
        if interrupted:
            cancel.cancel("interrupted")
            thread.join(GRACE)
            raise Cancelled("interrupted")
    thread.join()
    if error:
        raise error
    return result  # type: ignore[return-value]


def stay() -> None:
    """Until a signal comes. Raises `Cancelled` then."""
    signals: SimpleQueue[None] = SimpleQueue()
    with interrupts(lambda: signals.put(None)):
        signals.get()
    raise Cancelled("interrupted")
