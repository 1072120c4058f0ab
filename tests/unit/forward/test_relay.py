"""Local connections carried over real sockets to programs of this machine, which stand for pods: the narrow way into `Dialer`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from devloop.clients.duplex import Broken, Duplex, NotConnected, PodRef
from devloop.errors import ApiError, UnreachableError
from devloop.forward.relay import Relay
from devloop.forward.route import Route
from devloop.forward.target import Candidate

Program = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpStream:
    """A `Duplex`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool = False) -> None:
        self._reader, self._writer, self._late = reader, writer, late

    def write_eof(self, *, listening: bool = True) -> None:
        self._writer.write_eof()

    async def read(self) -> bytes:
        if self._late:       # as with Kubernetes, where a refusal comes when the connection seems to be there
            await asyncio.sleep(0.02)
            raise NotConnected("connection refused", listening=False)
        try:
            return await self._reader.read(1 << 16)
        except OSError as error:
            raise Broken("reset") from error

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise Broken("reset") from error

    def close(self) -> None:
        self._writer.transport.abort()


class Programs:
    """A `Dialer`: pods by name, each a program; "late" refuses late, "denied" may not be used, any other is not there yet."""

    def __init__(self) -> None:
        self._servers: dict[str, asyncio.Server] = {}
        self.dials: list[str] = []

    async def start(self, name: str, program: Program) -> None:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await program(reader, writer)
            finally:
                writer.close()

        self._servers[name] = await asyncio.start_server(served, "127.0.0.1", 0)

    async def dial(self, pod: PodRef, port: int) -> Duplex:
        self.dials.append(pod.name)
        if pod.name == "denied":
            raise ApiError("no", status=403, reason="Forbidden", body={})
        if pod.name not in self._servers:
            raise NotConnected("no container yet")
        where = self._servers[pod.name].sockets[0].getsockname()
        return TcpStream(*await asyncio.open_connection(*where), late=pod.name == "late")

    def forget(self, uid: str) -> None:
        pass

    async def close(self) -> None:
        for server in self._servers.values():
            server.close()


def candidate(name: str) -> Candidate:
    return Candidate(PodRef("ns", name, name), 80, False, 0, ())


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data.upper())
        await writer.drain()


async def at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(str(len(await reader.read())).encode())


async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"half a rep")
    await writer.drain()
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def refuse_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"too large" * 10_000)
    await writer.drain()


class Lab:
    """One forward's listener; `client` is a connection to it."""

    def __init__(self) -> None:
        self.programs = Programs()
        self.errors: list[str] = []
        self.route = Route(lambda state: None, lambda candidate: None)
        self._tasks: set[asyncio.Task[None]] = set()

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.server.sockets[0].getsockname())

    def hear_out(self, name: str) -> None:
        """Wait for this pod's refusal: a busy machine may be slower with it than real pods are."""
        self.route._health(candidate(name)).patience = 15

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = Relay(reader, writer, self.route, self.programs, lambda error: self.errors.append(error.message))
        task = asyncio.create_task(relay.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, history: Callable[[Lab], Awaitable[Any]]) -> Any:
        self.server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        try:
            return await asyncio.wait_for(history(self), 20)
        finally:
            self.server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.programs.close()
            await asyncio.sleep(0)


def run(history: Callable[[Lab], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        return await Lab().run(history)

    return asyncio.run(inside())


def test_half_close_goes_through_and_the_reply_comes_back() -> None:
    async def history(lab: Lab) -> bytes:
        await lab.programs.start("a", at_the_end)
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        reply = await reader.read()
        writer.close()
        return reply

    assert run(history) == b"1000000"


def test_what_the_new_pod_did_not_take_the_old_one_gets_and_the_client_sees_nothing_of_it() -> None:
    async def history(lab: Lab) -> bytes:
        await lab.programs.start("late", upper)
        await lab.programs.start("old", upper)
        lab.route.update([candidate("missing"), candidate("late"), candidate("old")], "")
        lab.hear_out("late")
        reader, writer = await lab.client()
        writer.write(b"hello")
        reply = await reader.readexactly(5)
        writer.close()
        assert lab.programs.dials == ["missing", "late", "old"]
        return reply

    assert run(history) == b"HELLO"


def test_more_than_can_be_said_again_waits_until_a_program_has_the_connection() -> None:
    async def history(lab: Lab) -> bytes:
        await lab.programs.start("late", upper)
        await lab.programs.start("old", at_the_end)
        lab.route.update([candidate("late"), candidate("old")], "")
        lab.hear_out("late")
        reader, writer = await lab.client()
        writer.write(b"x" * 3_000_000)
        writer.write_eof()
        reply = await reader.read()
        writer.close()
        return reply

    assert run(history) == b"3000000"


def test_a_connection_waits_for_the_program_to_come_up() -> None:
    async def history(lab: Lab) -> bytes:
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        writer.write(b"hello")
        while len(lab.programs.dials) < 3:
            await asyncio.sleep(0.01)
        await lab.programs.start("a", upper)
        reply = await reader.readexactly(5)
        writer.close()
        return reply

    assert run(history) == b"HELLO"


def test_a_cut_reply_does_not_look_like_a_whole_one() -> None:
    async def history(lab: Lab) -> None:
        await lab.programs.start("a", cut)
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        assert await reader.readexactly(10) == b"half a rep"
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    run(history)


def test_a_client_that_still_talks_gets_to_read_the_whole_reply() -> None:
    async def history(lab: Lab) -> bytes:
        await lab.programs.start("a", refuse_reading)
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        writer.write(b"x")
        reply = await reader.read()
        writer.write(b"y" * 1000)
        writer.close()
        return reply

    assert run(history) == b"too large" * 10_000


def test_a_client_that_resets_ends_the_pods_connection() -> None:
    async def history(lab: Lab) -> None:
        ended = asyncio.Event()

        async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            with suppress(OSError):
                await reader.read()
            ended.set()

        await lab.programs.start("a", waits)
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        assert await reader.readexactly(5) == b"hello"
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        await ended.wait()

    run(history)


def test_who_may_not_forward_is_told_and_does_not_wait() -> None:
    async def history(lab: Lab) -> list[str]:
        lab.route.update([candidate("denied")], "")
        reader, writer = await lab.client()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        return lab.errors

    assert run(history) == ["no"]


def test_a_cluster_out_of_reach_is_tried_until_it_is_back() -> None:
    class Flaky(Programs):
        async def dial(self, pod: PodRef, port: int) -> Duplex:
            if len(self.dials) < 2:
                self.dials.append("lost")
                raise UnreachableError("the network has gone")
            return await super().dial(pod, port)

    async def history(lab: Lab) -> bytes:
        lab.programs = Flaky()
        await lab.programs.start("a", upper)
        lab.route.update([candidate("a")], "")
        reader, writer = await lab.client()
        writer.write(b"hello")
        reply = await reader.readexactly(5)
        writer.close()
        assert lab.errors == ["the network has gone"] * 2
        return reply

    assert run(history) == b"HELLO"
