"""A program's input is written in a thread of its own, while its output is read: either may have to wait for the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def feeding(name: str, chunks: Iterable[bytes] | None, write: Callable[[bytes], object], end: Callable[[], None],
            abort: Callable[[], None]) -> Iterator[None]:
    """While the block reads the output, `chunks` are written, then `end` is called; `name` is the thread's.

    A `write` that raises OSError means that the program ended before it had read everything: its exit code and output say why.
    `abort` must end both the reading and the writing: it is called when the block fails, or `chunks` or `end`, whose error is raised.
    """
    if chunks is None:
        yield
        return
    failed: list[BaseException] = []

    def feed(source: Iterator[bytes]) -> None:
        try:
            for chunk in source:
                try:
                    write(chunk)
                except OSError:
                    break
            with suppress(OSError):
                end()
        except BaseException as error:  # noqa: BLE001  raised again in the reading thread
            failed.append(error)
            abort()
            with suppress(Exception):      # that is told
                end()

    thread = threading.Thread(target=feed, args=(iter(chunks),), name=name, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        abort()
        raise
    finally:
        thread.join()
        if failed:
            raise failed[0]
