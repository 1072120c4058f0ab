"""An event loop for code that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from devloop.cancel import Cancel

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own. Safe from every thread."""

    def __init__(self, name: str) -> None:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), name=name, daemon=True)
        self._thread.start()
        self._loop = started.result()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work`; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], cancel: Cancel) -> T:
        """Do `work`. Raises what it raises, and `Cancelled`."""
        future = self.submit(work)
        try:
            with cancel.closing(lambda: _cancelled(future)):
                return future.result()
        except BaseException:
            future.cancel()
            raise

    def call(self, callback: Callable[[], object]) -> None:
        """Call it in the loop soon, or not at all once that is closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback)

    def close(self) -> None:
        """Cancels what still runs."""
        self.call(self._stopping.set)
        self._thread.join()

    async def _main(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stopping = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()


def _cancelled(future: Future[T]) -> None:
    future.cancel()
