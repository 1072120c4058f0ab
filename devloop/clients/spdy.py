"""SPDY/3.1 as Kubernetes speaks it. Port-forward has pairs of streams, one for data and one for an error's text.

The servers (moby/spdystream) never read or send WINDOW_UPDATE: TCP alone holds a sender back, so that two forwarded connections in
one SPDY connection would block each other. Therefore one at a time is opened here.
Format: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import zlib
from collections.abc import Callable

from devloop.clients.duplex import Broken, NotConnected
from devloop.clients.upgrade import Wire

VERSION = 0x8003
SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY = 1, 2, 3, 6, 7
FIN = 1
RESET = 0x100             # our own: beyond the wire's 8 bits of flags
ANSWERED = 0.1            # seconds
WORKERS = 5               # moby/spdystream handles the frames of stream n in worker n % 5, and PINGs in each in turn

_NEVER_CONNECTED = re.compile(r"connection refused|dial tcp|failed to connect|not running|not found|no such|does not exist|netns|nsenter"
                              r"|network namespace", re.IGNORECASE)
_NOTHING_LISTENS = re.compile(r"connection refused", re.IGNORECASE)

# what both sides prime their compression with (the specification's, section 2.6.10.1)
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found"
    b"500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    b"privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """A control frame."""
    return struct.pack(">HHI", VERSION, kind, flags << 24 | len(payload)) + payload


def data_header(stream: int, length: int, flags: int = 0) -> bytes:
    """What comes before a data frame's bytes."""
    return struct.pack(">II", stream, flags << 24 | length)


def failure(text: str) -> NotConnected | Broken:
    """The error stream's text as an exception: was there ever a connection to a program in the pod?"""
    if _NEVER_CONNECTED.search(text):
        return NotConnected(text, listening=not _NOTHING_LISTENS.search(text))
    return Broken(text)


class Spdy:
    """An upgraded connection to one pod. `open` the next pair of streams when the one before is over and `settled`."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._compress = zlib.compressobj(zdict=DICTIONARY)
        self._next = 1
        self._rest = b""
        self._pongs: set[int] = set()
        self._pings = itertools.count(1, 2)
        self.going = False        # the server said GOAWAY

    def open(self, port: int) -> tuple[int, int]:
        """The numbers of the two streams, error and data, of one forwarded connection.

        Nothing is waited for, and data may follow at once: the servers handle a stream's frames in their order.
        """
        pair = {"port": str(port), "requestid": str(self._next)}
        error, first = self.stream(streamtype="error", **pair)
        data, second = self.stream(streamtype="data", **pair)
        self.wire.write(first, second, data_header(error, 0, FIN))
        return error, data

    def stream(self, **headers: str) -> tuple[int, bytes]:
        """The number of a new stream, and the frame that opens it."""
        number = self._next
        self._next += 2
        block = struct.pack(">I", len(headers)) + b"".join(
            struct.pack(">I", len(text)) + text.encode() for pair in headers.items() for text in pair)
        packed = self._compress.compress(block) + self._compress.flush(zlib.Z_SYNC_FLUSH)
        return number, control(SYN_STREAM, struct.pack(">IIH", number, 0, 0) + packed)

    async def frames(self) -> list[tuple[int, int, memoryview]]:
        """The data frames that have come, at least one frame of whatever kind: (stream, flags, bytes), flags RESET for a reset.

        All at once: servers send 32 KiB at most in a frame, and a write for each of them costs more than all the rest.
        """
        found: list[tuple[int, int, memoryview]] = []
        begin = 0
        while not begin:
            received = await self.wire.read()
            buffer = memoryview(self._rest + received if self._rest else received)
            while len(buffer) - begin >= 8:
                first, length = struct.unpack_from(">II", buffer, begin)
                flags, end = length >> 24, begin + 8 + (length & 0xFFFFFF)
                if end > len(buffer):
                    break
                payload = buffer[begin + 8:end]
                begin = end
                if not first >> 31:
                    found.append((first, flags, payload))
                elif first & 0xFFFF == RST_STREAM:
                    found.append((int.from_bytes(payload[:4]), RESET, payload[4:]))
                else:
                    self._control(first & 0xFFFF, payload)
            self._rest = bytes(buffer[begin:])
        return found

    def _control(self, kind: int, payload: memoryview) -> None:
        """SYN_REPLY, HEADERS and SETTINGS say nothing we need, and we compress nothing against what they say."""
        if kind == GOAWAY:
            self.going = True
        elif kind == PING:
            number = int.from_bytes(payload)
            if number % 2:
                self._pongs.discard(number)
            else:
                self.wire.write(control(PING, bytes(payload)))

    def ping(self) -> None:
        """Keep what is between us and the pod from taking the connection for idle."""
        self.wire.write(control(PING, next(self._pings).to_bytes(4)))

    async def settled(self) -> None:
        """Returns when the server is ready for the next pair of streams; drops what is still under way for the last one.

        Data that the program in the pod left unread blocks one of the server's workers for ever (spdystream has no reader for
        it any more): only a server that answers a PING in each of them can be used again. Others never return here.
        """
        numbers = [next(self._pings) for _ in range(WORKERS)]
        self._pongs.update(numbers)
        self.wire.write(*(control(PING, number.to_bytes(4)) for number in numbers))
        while self._pongs:
            await self.frames()


class Silence:
    """Calls `act` once we have said all and then, while somebody listens, nothing is heard for some seconds.

    Only listening counts: a client that reads slowly must not have its pod taken for silent.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._seconds: float | None = None
        self._listening = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def awaited(self) -> bool:
        return self._seconds is not None

    def said_all(self, seconds: float) -> None:
        self._seconds = seconds
        self._wait()

    def __enter__(self) -> None:
        self._listening = True
        self._wait()

    def __exit__(self, *_: object) -> None:
        self._listening = False
        self.stop()

    def _wait(self) -> None:
        self.stop()
        if self._listening and self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._act)

    def stop(self) -> None:
        if self._timer:
            self._timer.cancel()


class SpdyStream:
    """A `Duplex`: one forwarded connection.

    Its end is told to the pod at once, or where that would cut the pod's answer off (`silence` is not 0), when the pod is silent: for
    `silence` seconds while it owes an answer, else for `ANSWERED`, since most clients that have their answer have closed.
    """

    def __init__(self, spdy: Spdy, port: int, silence: float) -> None:
        self._spdy = spdy
        self._seconds = silence
        self._silence = Silence(self._send_eof)
        self._owes = False        # we have said something since it last did
        self._error, self._data = spdy.open(port)
        self._text = b""
        self._open = {self._error, self._data}
        self._reset = False
        self._sent_eof = False

    @property
    def finished(self) -> bool:
        """The server has ended its part in order, with or without an error."""
        return not self._open

    async def read(self) -> bytes:
        parts: list[memoryview] = []
        try:
            while self._open and not self._reset and not parts:
                with self._silence:
                    frames = await self._spdy.frames()
                for stream, flags, payload in frames:
                    if stream not in self._open:
                        continue
                    if flags & RESET:
                        self._reset = True
                    elif stream == self._error:
                        self._text += payload
                    elif payload:
                        parts.append(payload)
                    if flags & FIN:
                        self._open.discard(stream)
        except OSError as error:
            raise Broken("the connection to the cluster broke") from error
        if parts:
            self._owes = False
            return b"".join(parts)
        if self._text:
            raise failure(self._text.decode(errors="replace"))
        if self._reset:
            raise Broken("the server reset the stream")
        return b""

    async def write(self, data: bytes) -> None:
        self._owes = True
        try:
            self._spdy.wire.write(data_header(self._data, len(data)), data)
            await self._spdy.wire.drain()
        except OSError as error:
            raise Broken("the connection to the cluster broke") from error

    def write_eof(self, *, listening: bool = True) -> None:
        if listening and self._seconds and not self.finished:
            self._silence.said_all(self._seconds if self._owes else ANSWERED)
        else:
            self._send_eof()

    def _send_eof(self) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            self._spdy.wire.write(data_header(self._data, 0, FIN))

    def close(self) -> None:
        self._spdy.wire.close()
