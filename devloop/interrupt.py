"""Ctrl-C, SIGTERM and a closed terminal: the first asks for an orderly end, the second ends at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import TypeVar

from devloop.cancel import Cancel
from devloop.errors import Cancelled

T = TypeVar("T")
SIGNALS = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
ECHO = 0.3      # seconds within which a second signal is the first one's echo: timeout(1) sends one to us and one to our group
GRACE = 5.0     # how long cancelled work may take to let go of what it holds
ASKING = 1.0    # the same of what only asks: it holds nothing


class _End:
    """Whether the process was asked to end, and who is to be told: signals are the process's, so there is one of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []      # the innermost last
        self.asked = False
        self.left = False        # work did not let go in time, and was left to itself

    def ask(self) -> None:
        with self._lock:
            told = [] if self.asked else self._listeners[-1:]
            self.asked = True
        for listener in told:
            listener()

    @property
    def heard(self) -> bool:
        with self._lock:
            return bool(self._listeners)

    @contextmanager
    def told(self, listener: Callable[[], None]) -> Iterator[None]:
        with self._lock:
            self._listeners.append(listener)
            asked = self.asked
        if asked:      # before there was anything to end: what begins now is to end at once
            listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)


_end = _End()


def asked() -> bool:
    """Whether an orderly end was asked for."""
    return _end.asked


def hang_up() -> None:
    """Ask for an orderly end, as the first signal does; but it is none: a Ctrl-C that comes with it is not the second."""
    _end.ask()


@contextmanager
def interrupts(first: Callable[[], None]) -> Iterator[None]:
    """While inside, the first signal calls `first`, in a thread of its own; the second one ends the process with exit code 130.

    May be nested, from any thread: the innermost is called then, and the others are not. The outermost is the main thread's.
    """
    with ExitStack() as stack:
        if not _end.heard:
            stack.enter_context(_listening())
        stack.enter_context(_end.told(first))
        yield


@contextmanager
def _listening() -> Iterator[None]:
    """A thread that listens, because Python's own handlers run in the main thread, and the kernel may hand a signal to a thread that
    is just being started: a main thread that waits for a lock or a queue then does not hear of it."""
    here, there = socket.socketpair()
    there.setblocking(False)
    over = threading.Event()
    thread = threading.Thread(target=_listen, args=(here, over), name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    descriptor = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        over.set()
        there.close()
        thread.join()
        here.close()


def _listen(sock: socket.socket, over: threading.Event) -> None:
    first = True
    while received := sock.recv(64):
        if not set(received) & set(SIGNALS):
            continue
        if not first:
            os._exit(Cancelled.exit_code)
        first = False
        _end.ask()
        over.wait(ECHO)
        sock.setblocking(False)      # its echo is all that has come by now: on a busy machine we may be late to read it
        with suppress(BlockingIOError):
            sock.recv(4096)
        sock.setblocking(True)


def interruptible(work: Callable[[Cancel], T], grace: float = GRACE) -> T:
    """Run `work` in a thread, so that a signal can cancel it at any moment. Raises what it raises; `Cancelled` after a signal.

    Work that has not let go after `grace` seconds, because what it waits for cannot be closed, is left to itself.
    """
    cancel = Cancel()
    results: SimpleQueue[tuple[T | None, BaseException | None, bool]] = SimpleQueue()

    def run() -> None:
        try:
            results.put((work(cancel), None, False))
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits, which raises it
            results.put((None, error, False))

    thread = threading.Thread(target=run, name="work", daemon=True)
    with interrupts(lambda: results.put((None, None, True))):
        thread.start()
        result, error, interrupted = results.get()
        if interrupted:
            cancel.cancel("interrupted")
            thread.join(grace)
            _end.left |= thread.is_alive()
            raise Cancelled("interrupted")
    thread.join()
    if error:
        raise error
    return result  # type: ignore[return-value]


def put_in_order(work: Callable[[], None]) -> None:
    """Do `work`, which closes things. Where other work was left to itself, it may wait for that, or for the same thing, for ever: then it
    has `GRACE` seconds, and its errors are that work's."""
    if not _end.left:
        work()
        return

    def closing() -> None:
        with suppress(Exception):
            work()

    thread = threading.Thread(target=closing, name="closing", daemon=True)
    thread.start()
    thread.join(GRACE)


def stay() -> None:
    """Until a signal comes. Raises `Cancelled` then."""
    signals: SimpleQueue[None] = SimpleQueue()
    with interrupts(lambda: signals.put(None)):
        signals.get()
    raise Cancelled("interrupted")
