"""Connections to pods through the gate, for forwards and for Ingress."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress

from devloop.clients.duplex import Broken, Duplex, NotConnected, PodRef
from devloop.local.network.gate import Gate, Inner, Mode, check

CHUNK = 1 << 16


class GateStream:
    """A `Duplex`. What comes is in frames, so that a connection that was cut is told from one that the program has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._left = 0
        self._ended = False

    async def read(self) -> bytes:
        try:
            if not self._left and not self._ended:
                self._left = struct.unpack(">H", await self._reader.readexactly(2))[0]
                self._ended = not self._left
            data = await self._reader.read(self._left)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Broken("the pod has cut the connection") from error
        if self._left and not data:
            raise Broken("the pod has cut the connection")
        self._left -= len(data)
        return data

    async def write(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise Broken("the pod has cut the connection") from error

    def write_eof(self, *, listening: bool = True) -> None:
        with suppress(OSError):      # whoever reads hears of it
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.transport.abort()


class GateDialer:
    """A `Dialer`. `inner`: the relay of the pod with a uid, None where it has none."""

    def __init__(self, gate: Callable[[], Gate], inner: Callable[[str], Inner | None]) -> None:
        self._gate, self._inner = gate, inner

    async def dial(self, pod: PodRef, port: int) -> Duplex:
        inner = self._inner(pod.uid)
        if inner is None:
            raise NotConnected("the pod has no network yet")
        gate = self._gate()
        return await self._connected(gate, gate.through(inner, Mode.FRAMED, port), 2)

    async def open(self, ip: str, port: int) -> Duplex:
        """A connection to what listens on a pod's own address, as Services make it. Raises as `dial` does."""
        gate = self._gate()
        return await self._connected(gate, gate.to(ip, Mode.FRAMED, port), 1)

    def forget(self, uid: str) -> None:
        pass     # its connections end with it

    async def close(self) -> None:
        pass     # who dialled closes

    async def _connected(self, gate: Gate, hello: bytes, answers: int) -> Duplex:
        try:
            reader, writer = await asyncio.open_connection(gate.host, gate.port, limit=CHUNK)
        except OSError as error:
            raise gate.unreachable(error) from error
        try:
            writer.write(hello)
            for _ in range(answers):
                check(await reader.read(1))
        except OSError as error:
            writer.transport.abort()
            raise NotConnected(str(error)) from error
        except BaseException:
            writer.transport.abort()
            raise
        return GateStream(reader, writer)
