"""Reading a response's body as it comes, at little cost per chunk.

A followed log comes in one chunk and one TLS record a line; http.client and urllib3 spend 10 µs on each, more than all the rest of
a line's way to the screen. Here it is 3 µs.
"""

from __future__ import annotations

from typing import Any, Protocol

LARGEST_READ = 1 << 16


class Reader(Protocol):
    """A buffered reader of a socket."""

    def read1(self, amt: int = ..., /) -> bytes: ...


class Chunked:
    """The payload of a chunked HTTP/1.1 body. Raises `ConnectionError` where the body ends before its last chunk."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = 0          # bytes of the present chunk to come
        self._skip = 0          # bytes of its line end to come
        self._rest = b""        # the beginning of a chunk's header
        self._ended = False

    def read1(self, amt: int | None = None) -> bytes:
        """At least one byte, at most `amt` or 64 KiB; empty at the end."""
        amount = min(amt or LARGEST_READ, LARGEST_READ)
        while not self._ended:
            data = self._reader.read1(amount)
            if not data:
                raise ConnectionError("the connection was closed before the end")
            if payload := self._payload(self._rest + data if self._rest else data):
                return payload
        return b""

    def _payload(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        position, self._rest = 0, b""
        while True:
            if self._left:
                part = data[position : position + self._left]
                parts.append(part)
                position += len(part)
                self._left -= len(part)
                if self._left:
                    break
                self._skip = 2
            if self._skip:
                skipped = min(self._skip, len(data) - position)
                position += skipped
                self._skip -= skipped
                if self._skip:
                    break
            end = data.find(b"\r\n", position)
            if end < 0:
                self._rest = data[position:]
                break
            self._left = _size(data[position:end])
            position = end + 2
            if not self._left:
                self._ended = True      # trailers are of no use, and the connection is not used again
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _size(header: bytes) -> int:
    try:
        return int(header.partition(b";")[0], 16)
    except ValueError as error:
        raise ConnectionError(f"not a chunk of an HTTP body: {header[:40]!r}") from error


def reader_of(response: Any) -> Any:
    """Something with `read1` for the body of a urllib3 response that has not been read yet."""
    body: Any = getattr(response, "_fp", None)       # http.client's response: its `fp` is the connection's buffered reader
    reader = getattr(body, "fp", None)
    return Chunked(reader) if response.chunked and reader and "content-encoding" not in response.headers else response
