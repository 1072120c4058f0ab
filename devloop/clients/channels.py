"""Port-forward as websockets had it before they could carry SPDY: ``v4.channel.k8s.io``, one websocket a connection."""

from __future__ import annotations

from devloop.clients.duplex import Broken
from devloop.clients.spdy import Silence, failure
from devloop.clients.websocket import WebSocket

UNHEARD = 1.0             # seconds until what was sent last has surely arrived
AFTER_EOF = 30.0          # how long a silent pod may still have something to say after our end, which it cannot see


class ChannelStream:
    """A `Duplex` on a websocket of its own: each message begins with its channel, 0 data and 1 an error's text.

    Our end cannot be told to the pod; reading goes on until the pod ends, or says nothing for `AFTER_EOF`.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._greeted: set[int] = set()       # the first message of a channel repeats the port
        self._text = b""
        self._silence = Silence(websocket.wire.close)

    async def read(self) -> bytes:
        parts: list[bytes] = []
        try:
            while not parts and not self._websocket.closed:
                with self._silence:
                    messages = await self._websocket.receive()
                for message in messages:
                    channel, payload = message[0], message[1:]
                    if channel not in self._greeted:
                        self._greeted.add(channel)
                    elif channel == 1:
                        self._text += payload
                    elif payload:
                        parts.append(payload)
        except OSError as error:
            if not self._silence.awaited:
                raise Broken("the connection to the cluster broke") from error
        if self._text and not parts:
            raise failure(self._text.decode(errors="replace"))
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        try:
            self._websocket.send(b"\0" + data)
            await self._websocket.wire.drain()
        except OSError as error:
            raise Broken("the connection to the cluster broke") from error

    def write_eof(self, *, listening: bool = True) -> None:
        self._silence.said_all(AFTER_EOF if listening else UNHEARD)

    def close(self) -> None:
        self._websocket.wire.close()
