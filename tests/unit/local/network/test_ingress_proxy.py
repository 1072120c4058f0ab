"""Whole HTTP exchanges through the proxy, over real sockets, with programs of this process as pods."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import websockets

from devloop.clients.duplex import Broken, Duplex, NotConnected
from devloop.local.network.ingress.destinations import NowhereError
from devloop.local.network.ingress.exchange import Exchange

Program = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpStream:
    """A `Duplex`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
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

    def write_eof(self, *, listening: bool = True) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.transport.abort()


async def dial(ip: str, port: int) -> Duplex:
    try:
        return TcpStream(*await asyncio.open_connection(ip, port))
    except OSError as error:
        raise NotConnected(str(error), listening=False) from error


class Lab:
    """A proxy before one program. `conversation` says bytes to it and has all that comes back."""

    def __init__(self, port: int) -> None:
        self.pods = [("127.0.0.1", port)]
        self.tasks: set[asyncio.Task[None]] = set()

    def find(self, host: str, target: str) -> list[tuple[str, int]]:
        if target.startswith("/nowhere"):
            raise NowhereError(404, f"nothing for {host}{target}")
        return self.pods

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(Exchange(reader, writer, self.find, dial).run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def conversation(self, said: bytes) -> bytes:
        reader, writer = await self.client()
        writer.write(said)
        answer = await reader.read()
        writer.close()
        return answer


def run(program: Program, history: Callable[[Lab], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await program(reader, writer)
            finally:
                writer.close()

        pod = await asyncio.start_server(served, "127.0.0.1", 0)
        lab = Lab(pod.sockets[0].getsockname()[1])
        proxy = await asyncio.start_server(lab.connected, "127.0.0.1", 0)
        lab.port = proxy.sockets[0].getsockname()[1]
        try:
            return await asyncio.wait_for(history(lab), 60)
        finally:
            proxy.close()
            pod.close()
            for task in list(lab.tasks):
                task.cancel()
            await asyncio.gather(*lab.tasks, return_exceptions=True)
            await asyncio.sleep(0)

    return asyncio.run(inside())


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def tells(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that it got."""
    got = await head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(got), got))
    await writer.drain()


def get(path: str = "/", *headers: str) -> bytes:
    return "".join([f"GET {path} HTTP/1.1\r\nHost: shop.test:8000\r\n", *(f"{each}\r\n" for each in headers), "\r\n"]).encode()


LAST = "Connection: close"


def test_the_pod_hears_who_asked_for_which_host_and_nothing_of_the_clients_connection() -> None:
    async def history(lab: Lab) -> bytes:
        return await lab.conversation(get("/a?b", LAST, "X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https", "Cookie: a=b"))

    answer = run(tells, history).decode()
    assert "GET /a?b HTTP/1.1\r\nHost: shop.test:8000\r\n" in answer
    assert "\r\ncookie: a=b\r\n" in answer.lower()
    assert "X-Forwarded-For: 10.1.2.3, 127.0.0.1\r\n" in answer
    assert "X-Forwarded-Host: shop.test:8000\r\n" in answer
    assert "X-Forwarded-Proto: http\r\n" in answer
    assert "https" not in answer


def test_one_connection_carries_many_requests() -> None:
    async def history(lab: Lab) -> list[bytes]:
        reader, writer = await lab.client()
        answers = []
        for path in ("/one", "/nowhere", "/two"):
            writer.write(get(path))
            answer = await head(reader)
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answers.append(answer + await reader.readexactly(length))
        writer.close()
        return answers

    one, nowhere, two = run(tells, history)
    assert b"GET /one" in one
    assert nowhere.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert nowhere.endswith(b"devloop: nothing for shop.test:8000/nowhere\n")
    assert b"GET /two" in two


def test_requests_that_are_said_before_their_turn_are_answered_in_order() -> None:
    async def history(lab: Lab) -> bytes:
        return await lab.conversation(get("/one") + get("/two", LAST))

    answer = run(tells, history)
    assert answer.index(b"GET /one") < answer.index(b"GET /two")


def test_bodies_go_both_ways_piece_by_piece() -> None:
    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"chunked" in await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await reader.readline(), 16):
            data = await reader.readexactly(size + 2)
            writer.write(b"%x\r\n%b" % (size, data.upper()))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def history(lab: Lab) -> None:
        reader, writer = await lab.client()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for word in (b"one", b"three"):          # the next is said only when the last has come back
            writer.write(b"%x\r\n%b\r\n" % (len(word), word))
            if word == b"one":
                await head(reader)
            assert await reader.readline() == b"%x\r\n" % len(word)
            assert await reader.readline() == word.upper() + b"\r\n"
        writer.write(b"0\r\n\r\n")
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()

    run(echoes, history)


def test_a_large_upload_arrives_whole() -> None:
    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        body = b"%d" % len(await reader.readexactly(20_000_000))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async def history(lab: Lab) -> bytes:
        said = b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n"
        return await lab.conversation(said + bytes(20_000_000))

    assert run(counts, history).endswith(b"\r\n\r\n20000000")


def test_who_may_go_on_is_told() -> None:
    async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + await reader.readexactly(2))
        await writer.drain()

    async def history(lab: Lab) -> bytes:
        reader, writer = await lab.client()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await head(reader)).startswith(b"HTTP/1.1 100 ")
        writer.write(b"hi")
        answer = await reader.read()
        writer.close()
        return answer

    assert run(asks, history).endswith(b"\r\n\r\nhi")


def test_an_early_refusal_reaches_a_client_that_still_uploads() -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        with suppress(OSError):
            await reader.read()

    async def history(lab: Lab) -> bytes:
        reader, writer = await lab.client()
        writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n" + bytes(1_000_000))
        answer = await reader.read()
        writer.close()
        return answer

    assert run(refuses, history).startswith(b"HTTP/1.1 413 ")


def test_an_answer_that_ends_with_the_connection_is_whole_for_old_and_new_clients() -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        await writer.drain()

    async def history(lab: Lab) -> tuple[bytes, bytes]:
        return await lab.conversation(b"GET / HTTP/1.0\r\n\r\n"), await lab.conversation(get("/", LAST))

    before, now = run(old, history)
    assert before.endswith(b"\r\n\r\nhello")
    assert now.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_a_cut_answer_does_not_look_like_a_whole_one() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal")
        await writer.drain()

    async def history(lab: Lab) -> None:
        reader, writer = await lab.client()
        writer.write(get())
        await head(reader)
        try:
            await reader.read()
        except ConnectionResetError:
            pass
        else:
            raise AssertionError("it ended in order")
        finally:
            writer.close()

    run(cut, history)


def test_what_is_not_http_is_told_on_both_sides() -> None:
    async def garbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()

    async def history(lab: Lab) -> tuple[bytes, bytes]:
        return await lab.conversation(get("/", LAST)), await lab.conversation(b"\x16\x03\x01 hello\r\n\r\n")

    pod, client = run(garbles, history)
    assert pod.startswith(b"HTTP/1.1 502 Bad Gateway")
    assert client.startswith(b"HTTP/1.1 400 Bad Request")


def test_a_pod_that_refuses_is_passed_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refusing = ("127.0.0.1", taken.getsockname()[1])

    async def history(lab: Lab) -> tuple[bytes, bytes]:
        lab.pods = [refusing, *lab.pods]
        there = await lab.conversation(get("/", LAST))
        lab.pods = [refusing]
        return there, await lab.conversation(get("/", LAST))

    there, none = run(tells, history)
    assert there.startswith(b"HTTP/1.1 200 OK")
    assert none.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert f"127.0.0.1:{refusing[1]}" in none.decode()


def test_a_head_request_has_no_body_wherever_it_leads() -> None:
    async def headed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await writer.drain()

    async def history(lab: Lab) -> list[bytes]:
        return [await lab.conversation(get(path, LAST).replace(b"GET", b"HEAD")) for path in ("/", "/nowhere")]

    for answer in run(headed, history):
        assert answer.endswith(b"\r\n\r\n")


def test_a_client_that_leaves_ends_what_was_read_for_it() -> None:
    ended = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        await reader.read()
        ended.set()

    async def history(lab: Lab) -> None:
        _, writer = await lab.client()
        writer.write(get())
        await writer.drain()
        writer.close()
        await ended.wait()

    run(waits, history)


def test_a_websocket_goes_through() -> None:
    async def history(_: Lab) -> list[Any]:
        async def echo(connection: websockets.ServerConnection) -> None:
            async for message in connection:
                await connection.send(message)

        async with websockets.serve(echo, "127.0.0.1", 0) as server:
            lab = Lab(next(iter(server.sockets)).getsockname()[1])
            async with await asyncio.start_server(lab.connected, "127.0.0.1", 0) as proxy:
                port = proxy.sockets[0].getsockname()[1]
                async with websockets.connect(f"ws://127.0.0.1:{port}/chat", proxy=None) as client:
                    got: list[Any] = []
                    for message in ("hello", b"x" * 500_000):
                        await client.send(message)
                        got.append(await client.recv())
                await asyncio.gather(*lab.tasks)
                return got

    assert run(tells, history) == ["hello", b"x" * 500_000]
