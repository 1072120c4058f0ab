"""A kubelet's port-forward on real sockets, behind the `websockets` library's server: as servers of today tunnel SPDY, and as
those of old speak channels. Written from the specifications, apart from the client's code, whose dictionary it shares.
"""

from __future__ import annotations

import asyncio
import http
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from devloop.clients.spdy import DICTIONARY

TUNNEL, CHANNELS = "SPDY/3.1+portforward.k8s.io", "v4.channel.k8s.io"
TOKEN = "tunnel"      # Kubernetes' name has a '/', which is no token, and the library insists on those
FIN = 1
App = Callable[[asyncio.StreamReader, Callable[[bytes], Awaitable[None]]], Awaitable[None]]


@dataclass
class Kubelet:
    """`apps`: what listens in the pod, by port. `speaks`: the subprotocols; `refuses`: an answer instead, by path."""

    apps: dict[int, App]
    speaks: tuple[str, ...] = (TUNNEL,)
    refuse: Response | None = None
    pongs: bool = True
    chunk: int = 7001            # bytes to a websocket message: SPDY frames begin and end anywhere
    port: int = 0
    websockets: int = 0
    requests: list[str] = field(default_factory=list)

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request.path)
        rename(request.headers, TUNNEL, TOKEN)
        return self.refuse

    def accept(self, connection: ServerConnection, request: Request, response: Response) -> None:
        rename(response.headers, TOKEN, TUNNEL)

    async def serve(self, websocket: ServerConnection) -> None:
        self.websockets += 1
        with suppress(ConnectionClosed):      # the pod has something to say, and nobody is there
            await (_Tunnel(self, websocket).run() if websocket.subprotocol == TOKEN else self._channels(websocket))

    async def _channels(self, websocket: ServerConnection) -> None:
        assert websocket.request
        port = int(websocket.request.path.rpartition("ports=")[2])
        for channel in (b"\0", b"\1"):
            await websocket.send(channel + struct.pack("<H", port))
        pod = _Pod(self.apps.get(port))
        if pod.refused:
            await websocket.send(b"\1" + pod.refused)
            return

        async def up() -> None:
            with suppress(ConnectionClosed):
                async for message in websocket:
                    assert isinstance(message, bytes)
                    pod.write(message[1:])
            pod.eof()

        reading = asyncio.create_task(up())
        async for data in pod.read():
            await websocket.send([b"\0" + data[:10], data[10:]])     # in two frames
        reading.cancel()


def rename(headers: Headers, name: str, instead: str) -> None:
    if headers.get("Sec-WebSocket-Protocol") == name:
        del headers["Sec-WebSocket-Protocol"]
        headers["Sec-WebSocket-Protocol"] = instead


class _Pod:
    """One connection to an app: in memory, since it is the way there that is tried."""

    def __init__(self, app: App | None) -> None:
        self.refused = b"" if app else b"error forwarding port to pod x, uid : exit status 1: socat E connect: Connection refused"
        self._down: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._up = asyncio.StreamReader(limit=1 << 30)
        if not app:
            self._down.put_nowait(None)
        else:
            self._task = asyncio.create_task(self._run(app))

    async def _run(self, app: App) -> None:
        await app(self._up, self._down.put)
        await self._down.put(None)

    def write(self, data: bytes) -> None:
        self._up.feed_data(data)

    def eof(self) -> None:
        self._up.feed_eof()

    async def read(self) -> AsyncIterator[bytes]:
        while (data := await self._down.get()) is not None:
            yield data


class _Tunnel:
    def __init__(self, kubelet: Kubelet, websocket: ServerConnection) -> None:
        self.kubelet, self.websocket = kubelet, websocket
        self.headers: dict[int, dict[str, str]] = {}
        self.pods: dict[int, _Pod] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.inflate = zlib.decompressobj(zdict=DICTIONARY)
        self.buffer = bytearray()

    async def run(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self.websocket:
                assert isinstance(message, bytes)
                self.buffer += message
                while (frame := self.next()) is not None:
                    await self.frame(*frame)
        for pod in self.pods.values():
            pod.eof()

    def next(self) -> tuple[int, int, bytes] | None:
        if len(self.buffer) < 8:
            return None
        first, second = struct.unpack_from(">II", self.buffer)
        end = 8 + (second & 0xFFFFFF)
        if len(self.buffer) < end:
            return None
        payload = bytes(self.buffer[8:end])
        del self.buffer[:end]
        return first, second >> 24, payload

    async def frame(self, first: int, flags: int, payload: bytes) -> None:
        if first >> 31 == 0:
            pod = self.pods.get(first)
            if pod and payload:
                pod.write(payload)
            if pod and flags & FIN:
                pod.eof()
            return
        assert first >> 16 == 0x8003, "SPDY/3"
        if first & 0xFFFF == 6 and self.kubelet.pongs:
            await self.send(struct.pack(">HHI", 0x8003, 6, 4) + payload)
        elif first & 0xFFFF == 1:
            await self.opened(struct.unpack_from(">I", payload)[0], self.inflate.decompress(payload[10:]))

    async def opened(self, stream: int, block: bytes) -> None:
        texts, at = [], 4
        for _ in range(2 * struct.unpack_from(">I", block)[0]):
            size = struct.unpack_from(">I", block, at)[0]
            texts.append(block[at + 4:at + 4 + size].decode())
            at += 4 + size
        self.headers[stream] = headers = dict(zip(texts[::2], texts[1::2], strict=True))
        await self.send(struct.pack(">HHII", 0x8003, 2, 4, stream))     # SYN_REPLY, its headers left out: nobody looks at them
        await self.send(struct.pack(">HHI", 0x8003, 4, 4) + bytes(4))   # SETTINGS, which nobody minds either
        error = next((s for s, h in self.headers.items() if h["requestid"] == headers["requestid"] and h["streamtype"] == "error"), 0)
        if headers["streamtype"] == "data":
            self.pods[stream] = _Pod(self.kubelet.apps.get(int(headers["port"])))
            self.tasks.append(asyncio.create_task(self.down(error, stream)))

    async def down(self, error: int, stream: int) -> None:
        pod = self.pods[stream]
        with suppress(ConnectionClosed):
            if pod.refused:
                await self.send(struct.pack(">II", error, len(pod.refused)) + pod.refused)
            async for data in pod.read():
                await self.send(struct.pack(">II", stream, len(data)) + data)
            for each in (error, stream):
                await self.send(struct.pack(">II", each, FIN << 24))

    async def send(self, data: bytes) -> None:
        # one list: one message in as many frames
        step = self.kubelet.chunk
        await self.websocket.send([data[i:i + step] for i in range(0, len(data), step)] if len(data) > step else data)


@contextmanager
def in_thread(name: str, serving: Callable[[], AbstractAsyncContextManager[None]]) -> Iterator[None]:
    """Inside `serving`, in a thread with a loop of its own, until the block ends."""
    up = threading.Event()
    stops: list[Callable[[], object]] = []

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        async with serving():
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name=name)
    thread.start()
    assert up.wait(10)
    try:
        yield
    finally:
        stops[0]()
        thread.join()


@contextmanager
def running(kubelet: Kubelet) -> Iterator[Kubelet]:
    """The kubelet in a thread, `port` set."""
    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        subprotocols = [Subprotocol(TOKEN if name == TUNNEL else name) for name in kubelet.speaks]
        async with serve(kubelet.serve, "127.0.0.1", 0, subprotocols=subprotocols, process_request=kubelet.answer,
                         process_response=kubelet.accept, compression=None, max_size=None) as server:
            kubelet.port = next(iter(server.sockets)).getsockname()[1]
            yield

    with in_thread("kubelet", serving):
        yield kubelet


def answer(status: int, text: str) -> Response:
    return Response(status, http.HTTPStatus(status).phrase, Headers({"Content-Length": str(len(text))}), text.encode())
