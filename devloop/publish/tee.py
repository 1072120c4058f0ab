"""One stream for several readers, each in a thread of its own, of which any may stop early."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
DEPTH = 16     # chunks that a fast reader may be ahead of a slow one


class _Branch:
    """What one reader has not read yet."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self.pending: deque[bytes] = deque()
        self.reading = True
        self.ended = False
        self.failed: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self.pending or self.ended)
                if not self.pending:
                    if self.failed:
                        raise self.failed
                    return
                chunk = self.pending.popleft()
                self._changed.notify_all()
            yield chunk


def tee(chunks: Iterable[bytes], readers: list[Callable[[Iterable[bytes]], T]], name: str) -> list[T]:
    """Every reader gets all `chunks`, in a thread called after `name`; what they return. What `chunks` raises, all readers get raised.

    Raises what the first of them raises, once all have ended.
    """
    changed = threading.Condition()
    branches = [_Branch(changed) for _ in readers]

    def read(reader: Callable[[Iterable[bytes]], T], branch: _Branch) -> T:
        try:
            return reader(branch)
        finally:
            with changed:
                branch.reading = False
                changed.notify_all()

    with ThreadPoolExecutor(len(readers), thread_name_prefix=name) as pool:
        running = [pool.submit(read, reader, branch) for reader, branch in zip(readers, branches, strict=True)]
        failed: BaseException | None = None
        try:
            _pump(chunks, branches, changed)
        except BaseException as error:  # noqa: BLE001  raised in every reader
            failed = error
        with changed:
            for branch in branches:
                branch.ended, branch.failed = True, failed
            changed.notify_all()
    return [each.result() for each in running]


def _pump(chunks: Iterable[bytes], branches: list[_Branch], changed: threading.Condition) -> None:
    for chunk in chunks:
        with changed:
            changed.wait_for(lambda: all(len(b.pending) < DEPTH or not b.reading for b in branches))
            reading = [branch for branch in branches if branch.reading]
            if not reading:
                return
            for branch in reading:
                branch.pending.append(chunk)
            changed.notify_all()
