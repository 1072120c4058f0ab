"""SPDY connections used again: making one takes two TLS handshakes, forwarding a connection over it does not."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from devloop.clients.spdy import Spdy, SpdyStream
from devloop.clients.tasks import Tasks

DIALS = 8                 # at once to one pod; who waits takes a connection that another is done with, if that comes first
IDLE = 32                 # connections kept for the next ones; fewer and fewer of them while there are no next ones
SETTLE_TIMEOUT = 2.0


class Pool:
    """The SPDY connections to one pod that nobody uses at the moment, and those who wait for one."""

    def __init__(self, way: str, connect: Callable[[], Awaitable[Spdy]], tasks: Tasks) -> None:
        self.way = way
        self._connect = connect
        self._tasks = tasks
        self._idle: list[Spdy] = []
        self._waiting: deque[asyncio.Future[Spdy]] = deque()
        self._dials = 0
        self._closed = False

    async def take(self) -> Spdy:
        """Raises what the making of a connection raises."""
        while self._idle:
            spdy = self._idle.pop()
            if not spdy.wire.ended():
                return spdy
            spdy.wire.close()
        future: asyncio.Future[Spdy] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._dial()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self.offer(future.result())
            raise

    def offer(self, spdy: Spdy) -> None:
        """A connection that is free."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(spdy)
                return
        if self._closed or len(self._idle) >= IDLE:
            spdy.wire.close()
        else:
            self._idle.append(spdy)

    def trim(self) -> None:
        """Called now and then: half of them, since a burst is over some time, and only those that still answer."""
        idle, self._idle = self._idle, []
        keep = (len(idle) + 1) // 2
        for spdy in idle[:-keep]:
            spdy.wire.close()
        for spdy in idle[-keep:]:
            self.settle(spdy)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().wire.close()

    def settle(self, spdy: Spdy) -> None:
        """`offer` it as soon as the server has done with its last use."""
        self._tasks.start(self._settle(spdy))

    async def _settle(self, spdy: Spdy) -> None:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT):
                await spdy.settled()
        except BaseException as error:
            spdy.wire.close()
            if not isinstance(error, OSError):
                raise
        else:
            self.offer(spdy)

    def _dial(self) -> None:
        while self._dials < min(len(self._waiting), DIALS):
            self._dials += 1
            self._tasks.start(self._dialled())

    async def _dialled(self) -> None:
        try:
            spdy = await self._connect()
        except Exception as error:  # noqa: BLE001 - it is raised where the connection is waited for, by all: they would hear the same
            while self._waiting:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_exception(error)
        else:
            self.offer(spdy)
        finally:
            self._dials -= 1
        self._dial()


class PooledStream(SpdyStream):
    """Closing gives the connection back, where the server has ended its part in order."""

    def __init__(self, spdy: Spdy, port: int, silence: float, pool: Pool) -> None:
        super().__init__(spdy, port, silence)
        self._pool = pool

    def close(self) -> None:
        if not self.finished or self._spdy.going or self._spdy.wire.ended():
            super().close()
        else:
            self.write_eof()
            self._pool.settle(self._spdy)
