"""How an exec's streams share a connection: channels of a websocket, or SPDY's streams. Both number them the same way here."""

from __future__ import annotations

from typing import Protocol

from devloop.clients.spdy import FIN, RESET, Spdy, data_header
from devloop.clients.upgrade import Wire
from devloop.clients.websocket import WebSocket

STDIN, STDOUT, STDERR, ERROR = range(4)
CLOSE = 255               # v5: its message's one byte is the channel that has ended


class ExecWire(Protocol):
    """A connection to one command. `half_closes`: the end of its input can be told."""

    wire: Wire
    half_closes: bool

    async def receive(self) -> list[tuple[int, bytes]]:
        """What has come, by stream; the error stream's is a ``Status`` object. Raises OSError at the connection's end."""
        ...

    def send(self, data: bytes) -> None: ...
    def send_eof(self) -> None: ...
    def ping(self) -> None: ...


class Channels:
    """``v5.channel.k8s.io``, or v4, which has no way to close a channel: the first byte of a message is its channel."""

    def __init__(self, websocket: WebSocket, *, half_closes: bool) -> None:
        self.wire = websocket.wire
        self.half_closes = half_closes
        self.ping = websocket.ping
        self._websocket = websocket

    async def receive(self) -> list[tuple[int, bytes]]:
        messages = await self._websocket.receive()
        if not messages:
            raise ConnectionResetError("the server closed the websocket")
        return [(message[0], message[1:]) for message in messages]

    def send(self, data: bytes) -> None:
        self._websocket.send(b"\0" + data)

    def send_eof(self) -> None:
        self._websocket.send(bytes((CLOSE, STDIN)))


class Streams:
    """``v4.channel.k8s.io`` over SPDY, which opens a stream for each."""

    half_closes = True

    def __init__(self, spdy: Spdy, *, stdin: bool) -> None:
        self.wire = spdy.wire
        self.ping = spdy.ping
        self._spdy = spdy
        self._channels: dict[int, int] = {}
        opening = []
        for channel, kind in ((ERROR, "error"), (STDIN, "stdin"), (STDOUT, "stdout"), (STDERR, "stderr")):
            if stdin or channel != STDIN:
                number, frame = spdy.stream(streamtype=kind)
                self._channels[number] = channel
                opening.append(frame)
                if channel == STDIN:
                    self._stdin = number
        self.wire.write(*opening)

    async def receive(self) -> list[tuple[int, bytes]]:
        return [(self._channels[number], bytes(payload)) for number, flags, payload in await self._spdy.frames()
                if number in self._channels and not flags & RESET]

    def send(self, data: bytes) -> None:
        self.wire.write(data_header(self._stdin, len(data)), data)

    def send_eof(self) -> None:
        self.wire.write(data_header(self._stdin, 0, FIN))
