"""The API server's port-forward in the three ways, against a server of another make, over sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from devloop.clients.duplex import Broken, Duplex, NotConnected, PodRef
from devloop.clients.kube import Kube
from devloop.clients.portforward import KubeDialer
from devloop.clients.spdy import DICTIONARY
from devloop.errors import ApiError, UnreachableError

from .kubelet import CHANNELS, TUNNEL, Kubelet, answer, running

POD = PodRef("ns", "web-1", "uid-1")
HALF_CLOSING = PodRef("ns", "web-2", "uid-2", half_closes=True)


async def echo(reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await reader.read(1 << 16):
        await write(data)


async def reply_at_the_end(reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    await write(hashlib.sha256(await reader.read()).hexdigest().encode())


async def greet(reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
    await write(b"hello")


APPS = {1: echo, 2: reply_at_the_end, 3: greet}


@contextmanager
def connect_proxy() -> Iterator[tuple[int, list[str]]]:
    """An HTTP proxy for one connection; the heads it was sent."""
    heads: list[str] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = server.accept()
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(1 << 16)
            heads.append(head.decode())
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as upstream:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pump, args=(upstream, client))
                back.start()
                pump(client, upstream)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, name="proxy")
        thread.start()
        yield server.getsockname()[1], heads
        thread.join()


@pytest.fixture
def dialled(tmp_path: Path) -> Callable[..., Any]:
    """Run a coroutine function with a dialer for the kubelet, all of it in one event loop, and nothing left afterwards."""

    def run(kubelet: Kubelet, use: Callable[[KubeDialer], Awaitable[Any]], *, ways: tuple[Any, ...] = ("tunnel",), proxy: str = "",
            silence: float = 60) -> Any:
        config = tmp_path / "kubeconfig"
        cluster = {"server": f"http://127.0.0.1:{kubelet.port}"} | ({"proxy-url": proxy} if proxy else {})
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}], "clusters": [{"name": "c", "cluster": cluster}]}))
        kube = Kube(kubeconfig=str(config))

        async def inside() -> Any:
            dialer = KubeDialer(kube, ways, silence=silence)
            try:
                return await asyncio.wait_for(use(dialer), 30)
            finally:
                await dialer.close()
                await asyncio.sleep(0)

        try:
            return asyncio.run(inside())
        finally:
            kube.close()

    return run


async def rest(stream: Duplex) -> bytes:
    parts = []
    while data := await stream.read():
        parts.append(data)
    return b"".join(parts)


def test_the_dictionary_is_the_specifications() -> None:
    assert hashlib.sha256(DICTIONARY).hexdigest() == "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"


@pytest.mark.parametrize("way", ["tunnel", "channels"])
def test_bytes_arrive_as_they_were_sent_both_ways(dialled: Any, way: str) -> None:
    sent = os.urandom(3_000_000)

    async def use(dialer: KubeDialer) -> bytes:
        stream = await dialer.dial(POD, 1)

        async def write() -> None:
            for at in range(0, len(sent), 50_001):
                await stream.write(sent[at:at + 50_001])

        writing = asyncio.create_task(write())
        got = b""
        while len(got) < len(sent):
            got += await stream.read()
        await writing
        stream.close()
        return got

    with running(Kubelet(APPS, speaks=(TUNNEL, CHANNELS))) as kubelet:
        assert dialled(kubelet, use, ways=(way,)) == sent


async def said_all(dialer: KubeDialer, pod: PodRef, port: int) -> bytes:
    stream = await dialer.dial(pod, port)
    await stream.write(b"x" * 100_000)
    stream.write_eof()
    data = await rest(stream)
    stream.close()
    return data


def test_the_pod_sees_our_end_and_its_reply_still_comes(dialled: Any) -> None:
    with running(Kubelet(APPS)) as kubelet:
        got = dialled(kubelet, lambda dialer: said_all(dialer, HALF_CLOSING, 2))
    assert got == hashlib.sha256(b"x" * 100_000).hexdigest().encode()


def test_where_our_end_would_cut_the_reply_off_it_is_told_only_to_a_silent_pod(dialled: Any) -> None:
    async def reply_slowly(reader: asyncio.StreamReader, write: Callable[[bytes], Awaitable[None]]) -> None:
        await reader.readexactly(100_000)
        end = asyncio.create_task(reader.read())
        for _ in range(12):      # longer than a silence
            await asyncio.wait([end], timeout=0.1)
            await write(b"late" if end.done() else b"soon")
        await end
        await write(b"end")

    with running(Kubelet({1: reply_slowly})) as kubelet:
        assert dialled(kubelet, lambda dialer: said_all(dialer, POD, 1), silence=1) == b"soon" * 12 + b"end"


@pytest.mark.parametrize("way", ["tunnel", "channels"])
def test_nothing_listening_is_told_apart_from_everything_else(dialled: Any, way: str) -> None:
    async def use(dialer: KubeDialer) -> NotConnected:
        stream = await dialer.dial(POD, 9)
        with pytest.raises(NotConnected) as error:
            await stream.read()
        stream.close()
        return error.value

    with running(Kubelet(APPS, speaks=(TUNNEL, CHANNELS))) as kubelet:
        assert not dialled(kubelet, use, ways=(way,)).listening


def test_one_upgraded_connection_serves_one_connection_after_another(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> set[bytes]:
        answers = set()
        for _ in range(20):
            stream = await dialer.dial(POD, 3)
            answers.add(await rest(stream))
            stream.close()
        return answers

    with running(Kubelet(APPS)) as kubelet:
        assert dialled(kubelet, use) == {b"hello"}
        assert kubelet.websockets < 5       # one is being settled while the next is in use


def test_connections_at_the_same_time_do_not_share_one(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> None:
        first, second = await dialer.dial(POD, 1), await dialer.dial(POD, 1)
        await second.write(b"second")
        assert await second.read() == b"second"      # whatever the first one's reader does
        first.close()
        second.close()

    with running(Kubelet(APPS)) as kubelet:
        dialled(kubelet, use)
        assert kubelet.websockets == 2


def test_a_server_that_is_stuck_with_the_last_connection_gets_no_other(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> None:
        for _ in range(2):
            stream = await dialer.dial(POD, 3)
            assert await rest(stream) == b"hello"
            stream.close()

    with running(Kubelet(APPS, pongs=False)) as kubelet:
        dialled(kubelet, use)
        assert kubelet.websockets == 2


def test_many_wait_for_few_handshakes(dialled: Any) -> None:
    async def one(dialer: KubeDialer) -> bytes:
        stream = await dialer.dial(POD, 3)
        try:
            return await rest(stream)
        finally:
            stream.close()

    async def use(dialer: KubeDialer) -> list[bytes]:
        return list(await asyncio.gather(*(one(dialer) for _ in range(200))))

    with running(Kubelet(APPS)) as kubelet:
        assert dialled(kubelet, use) == [b"hello"] * 200
        assert kubelet.websockets <= 200


def test_the_next_way_is_tried_where_one_is_not_spoken_and_remembered(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> None:
        for _ in range(2):
            stream = await dialer.dial(POD, 3)
            assert await rest(stream) == b"hello"
            stream.close()

    with running(Kubelet(APPS, speaks=(CHANNELS,))) as kubelet:
        dialled(kubelet, use, ways=("tunnel", "spdy", "channels"))
        # the tunnel, SPDY directly, and then only what worked
        assert [path.partition("?")[2] for path in kubelet.requests] == ["", "", "ports=3", "ports=3"]


def test_a_pod_without_container_is_no_reason_for_another_way(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> NotConnected:
        with pytest.raises(NotConnected) as error:
            await dialer.dial(POD, 3)
        return error.value

    with running(Kubelet(APPS, refuse=answer(500, '{"kind": "Status", "message": "sandbox not found"}'))) as kubelet:
        assert dialled(kubelet, use, ways=("tunnel", "channels")).reason == "sandbox not found"
        assert len(kubelet.requests) == 1


@pytest.mark.parametrize(("status", "kind"), [(403, ApiError), (401, UnreachableError), (426, UnreachableError)])
def test_refusals_say_what_to_do(dialled: Any, status: int, kind: type[ApiError | UnreachableError]) -> None:
    async def use(dialer: KubeDialer) -> ApiError | UnreachableError:
        with pytest.raises(kind) as error:
            await dialer.dial(POD, 3)
        return error.value

    with running(Kubelet(APPS, refuse=answer(status, "no"))) as kubelet:
        assert dialled(kubelet, use).hint


@pytest.mark.parametrize("login", ["", "user:p%40ss@"])
def test_a_proxy_connects_us(dialled: Any, login: str) -> None:
    async def use(dialer: KubeDialer) -> bytes:
        stream = await dialer.dial(POD, 3)
        data = await rest(stream)
        stream.close()
        return data

    with running(Kubelet(APPS)) as kubelet, connect_proxy() as (port, heads):
        assert dialled(kubelet, use, proxy=f"http://{login}127.0.0.1:{port}") == b"hello"
        assert heads[0].startswith(f"CONNECT 127.0.0.1:{kubelet.port} HTTP/1.1")
        expected = f"Basic {base64.b64encode(b'user:p@ss').decode()}" if login else ""
        logins = [line.partition(": ")[2] for line in heads[0].split("\r\n") if line.startswith("Proxy-Authorization")]
        assert logins == ([expected] if login else [])


def test_a_cluster_out_of_reach_is_said_to_be(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> str:
        with pytest.raises(UnreachableError) as error:
            await dialer.dial(POD, 3)
        return error.value.message

    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert f"127.0.0.1:{port}" in dialled(Kubelet(APPS, port=port), use)


def test_a_server_that_goes_away_breaks_the_connection(dialled: Any) -> None:
    async def use(dialer: KubeDialer) -> None:
        stream = await dialer.dial(POD, 1)
        await stream.write(b"x")
        assert await stream.read() == b"x"
        stopping = asyncio.create_task(asyncio.to_thread(stop.__exit__, None, None, None))
        with pytest.raises(Broken):
            await stream.read()
        stream.close()
        await stopping

    stop = running(Kubelet(APPS))
    dialled(stop.__enter__(), use)


