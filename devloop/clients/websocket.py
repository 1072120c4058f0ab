"""The client side of RFC 6455, as much as Kubernetes' streams need: binary messages over a connection upgraded by `upgrade`.

The `websockets` library refuses the name of Kubernetes' subprotocol, whose ``/`` is no token (RFC 9110). And this hands on in one
piece all that has come, with no buffer of its own to bound.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct

from devloop.clients.kube import Endpoint
from devloop.clients.upgrade import Refused, Wire, upgrade

CONTINUATION, BINARY, CLOSE, PING, PONG = 0, 2, 8, 9, 10
LAST = 0x80
MASKED = 0x80
LONGEST = 1 << 24         # of a message; Kubernetes sends 32 KiB at most
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def connect(endpoint: Endpoint, path: str, protocol: str) -> WebSocket:
    """A websocket that speaks `protocol`. Raises what `upgrade` raises, and `Refused` where the server chose another."""
    key = base64.b64encode(os.urandom(16)).decode()
    answer, wire = await upgrade(endpoint, "GET", path, {
        "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": protocol})
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    if answer.get("sec-websocket-accept") != accept or answer.get("sec-websocket-protocol") != protocol:
        wire.close()
        raise Refused(101, f"the server does not speak {protocol}")
    return WebSocket(wire, hidden=endpoint.ssl_context is not None)


class WebSocket:
    """Messages both ways.

    `hidden`: nothing on the way can see them. Masks keep intermediaries from taking a message for HTTP (RFC 6455, 10.3), and cost more
    than all else that is done with the bytes: what is hidden has a mask of zeros, which changes nothing.
    """

    def __init__(self, wire: Wire, *, hidden: bool = False) -> None:
        self.wire = wire
        self._hidden = hidden
        self.closed = False       # the server has said that it closes
        self._rest = b""
        self._begun = b""         # of a message in several frames

    async def receive(self) -> list[bytes]:
        """The messages that have come since: at least one, but for the server's close. Raises OSError."""
        messages: list[bytes] = []
        while not messages and not self.closed:
            received = await self.wire.read()
            buffer = memoryview(self._rest + received if self._rest else received)
            begin = 0
            while (size := _size(buffer[begin:])) is not None:
                header, length = size
                self._frame(buffer[begin], bytes(buffer[begin + header:begin + header + length]), messages)
                begin += header + length
            self._rest = bytes(buffer[begin:])
        return messages

    def _frame(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        kind = first & 0x0F
        if kind == PING:
            self._send(PONG, payload)
        elif kind == CLOSE:
            self._send(CLOSE, payload[:2])
            self.closed = True
        elif kind != PONG:
            self._begun += payload
            if len(self._begun) > LONGEST:
                raise OSError("a websocket message is too long")
            if first & LAST and self._begun:
                messages.append(self._begun)
                self._begun = b""

    def send(self, message: bytes) -> None:
        self._send(BINARY, message)

    def ping(self) -> None:
        self._send(PING, b"")

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            length = struct.pack(">BB", LAST | kind, MASKED | size)
        elif size < 1 << 16:
            length = struct.pack(">BBH", LAST | kind, MASKED | 126, size)
        else:
            length = struct.pack(">BBQ", LAST | kind, MASKED | 127, size)
        mask = bytes(4) if self._hidden else os.urandom(4)
        self.wire.write(length, mask, payload if self._hidden else _masked(payload, mask))


def _masked(data: bytes, mask: bytes) -> bytes:
    """One big number xor another: 100 times faster than byte by byte."""
    size = len(data)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


def _size(data: memoryview) -> tuple[int, int] | None:
    """How long the frame's header and its payload are; None while it is not all there."""
    if len(data) < 10 and len(data) < (2 if len(data) < 2 else {126: 4, 127: 10}.get(data[1], 2)):
        return None
    header, length = 2, data[1]
    if length == 126:
        header, length = 4, int.from_bytes(data[2:4])
    elif length == 127:
        header, length = 10, int.from_bytes(data[2:10])
    if length > LONGEST:
        raise OSError("a websocket message is too long")
    return (header, length) if len(data) >= header + length else None


class WebSocketWire:
    """A `Wire` whose bytes travel in a websocket's binary messages, wherever these begin and end."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.drain = socket.wire.drain
        self.ended = socket.wire.ended
        self.close = socket.wire.close

    async def read(self) -> bytes:
        data = b"".join(await self._socket.receive())
        if not data:
            raise ConnectionResetError("the server closed the websocket")
        return data

    def write(self, *parts: bytes) -> None:
        self._socket.send(b"".join(parts))
