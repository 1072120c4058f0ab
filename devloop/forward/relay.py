"""One local connection, from its acceptance to its end: finding it a pod, and carrying the bytes both ways.

Every byte is waited for to be taken before the next is read, so that a slow reader on one side stops the sender on the other. The end
of what one side has to say is passed on alone; what the other side still says is carried on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from devloop.clients.duplex import Broken, Dialer, Duplex, NotConnected
from devloop.errors import ApiError, UnreachableError
from devloop.forward.peer import closed
from devloop.forward.route import Route
from devloop.forward.target import Candidate

CHUNK = 1 << 16
KEPT = 1 << 16            # of what the client says first, to be said again where a pod turns out not to listen
HOLD = 30.0               # how long a connection waits for a pod
CLOSING = 0.002           # a client that closes says its end first
LINGER = 2.0              # a client that still talks when the pod has ended may read the reply before its connection is reset


class Relay:
    """One local connection. `run` it once; cancelling that drops it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: Route, dialer: Dialer,
                 on_error: Callable[[UnreachableError | ApiError], None]) -> None:
        self._reader, self._writer, self._route, self._dialer, self._on_error = reader, writer, route, dialer, on_error
        self._kept: list[bytes] | None = []     # None: too late to say it again
        self._size = 0
        self._eof = False
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + HOLD
        self._likely = asyncio.Event()          # a program in the pod has the connection, as far as one can tell

    async def run(self) -> None:
        tried: set[Candidate] = set()
        try:
            async with asyncio.timeout_at(self._until) as hold:
                while not await self._tried(await self._route.choose(tried), hold):
                    hold.reschedule(self._until)
            await self._part()
        except (OSError, Broken, NotConnected, ApiError):
            self._reset()
        finally:
            self._writer.transport.abort()

    async def _tried(self, candidate: Candidate, hold: asyncio.Timeout) -> bool:
        """Carry the connection to one pod, to its end. False: nothing of it has reached a program there, another try is safe."""
        stream: Duplex | None = None
        up: asyncio.Task[None] | None = None
        known = False
        self._likely.clear()
        try:
            if self._writer.is_closing():
                raise ConnectionResetError("the client has gone")
            stream = await self._dialer.dial(candidate.pod, candidate.port)
            grace = self._loop.call_later(self._route.patience(candidate), self._presume, candidate, hold)
            up = asyncio.create_task(self._up(stream))
            try:
                data = await stream.read()
            finally:
                grace.cancel()
            known = True
            self._kept = None
            self._presume(candidate, hold)
            await self._down(stream, data)
            return True
        except (NotConnected, UnreachableError, Broken) as error:
            if isinstance(error, Broken) and (known or self._size):
                raise
            known = True
            self._route.failed(candidate, error)
            if isinstance(error, UnreachableError):
                self._on_error(error)
            if self._kept is None:
                raise Broken("the pod has gone, and what was sent to it cannot be sent again") from error
            return False
        except ApiError as error:
            self._on_error(error)
            raise
        finally:
            if not known:
                self._route.abandoned(candidate)
            if up:
                up.cancel()
                await asyncio.wait([up])
            if stream:
                stream.close()

    def _presume(self, candidate: Candidate, hold: asyncio.Timeout) -> None:
        """A program has the connection: for all one can tell, or because it has answered."""
        hold.reschedule(None)
        self._likely.set()
        self._route.accepted(candidate)

    async def _up(self, stream: Duplex) -> None:
        """Client to pod."""
        try:
            for data in self._kept or ():
                await stream.write(data)
            while not self._eof:
                if self._kept is not None and self._size >= KEPT:
                    await self._likely.wait()
                    self._kept = None
                data = await self._reader.read(CHUNK)
                if data and self._kept is not None:
                    self._kept.append(data)
                    self._size += len(data)
                self._eof = not data
                if data:
                    await stream.write(data)
            stream.write_eof(listening=await self._listens())
        except Broken:
            pass                 # whoever reads from it hears that, too
        except OSError:
            stream.close()       # the client has gone, and so ends what is read for it

    async def _listens(self) -> bool:
        """Whether the client, which has said all, may want an answer: not where it has closed."""
        sock = self._writer.get_extra_info("socket")
        if not closed(sock):
            await asyncio.sleep(CLOSING)
        return not closed(sock)

    async def _down(self, stream: Duplex, data: bytes) -> None:
        """Pod to client, `data` first."""
        while data:
            self._writer.write(data)
            await self._writer.drain()
            data = await stream.read()
        self._writer.write_eof()

    async def _part(self) -> None:
        """The pod has ended: let the client read all of it. Closing while it still talks would reset what it has not read yet."""
        try:
            async with asyncio.timeout(LINGER):
                while await self._reader.read(CHUNK):
                    pass
        except TimeoutError:
            pass
        self._writer.close()
        await self._writer.wait_closed()

    def _reset(self) -> None:
        """The client must not take a cut reply for a whole one."""
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
