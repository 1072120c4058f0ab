"""A registry on this machine while an image is pushed: what the Engine sends to ``127.0.0.1:PORT`` goes on from here as it comes.

The Engine sends only what it is told to be missing, and asks under any address for what it has sent before. The other way to get
at a few new layers is to export the image, and an Engine writes all of that to its disk first.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Protocol, Self, cast
from urllib.parse import parse_qs, urlsplit

from devloop.cancel import Cancel
from devloop.clients.registry import Stored
from devloop.errors import PublishError

CHUNK = 4 << 20         # bytes that go on together
BREATH = 0.1            # seconds until a door that could let nobody in tries again
_LENGTH, _DIGEST, _RANGE = "Content-Length", "Docker-Content-Digest", "Range"
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}

Reply = tuple[int, Mapping[str, str], bytes]


class Blob(Protocol):
    """One blob on its way. See `Upload`."""

    def send(self, chunk: bytes) -> None: ...
    def finish(self, digest: str, last: bytes = b"") -> None: ...
    def abandon(self) -> None: ...


class Place(Protocol):
    """What is behind the door."""

    def size(self, digest: str, cancel: Cancel) -> int | None:
        """The size of a blob that need not be sent."""
        ...

    def upload(self, cancel: Cancel) -> Blob: ...

    def arrived(self, digest: str) -> None:
        """This blob was sent."""
        ...

    def manifest(self, reference: str, cancel: Cancel) -> Stored | None: ...
    def put_manifest(self, reference: str, media_type: str, body: bytes, cancel: Cancel) -> None: ...


class Door:
    """Leads to `place`, under the name `repository`, while the `with` block lasts.

    `cancel`: for the push; it is cancelled as soon as the place fails. `failed`: how it did. `reached`: whether the Engine came at all.
    """

    def __init__(self, place: Place, repository: str, cancel: Cancel) -> None:
        self.cancel = cancel.child()
        self.failed: BaseException | None = None
        self.reached = False
        self._place, self._repository = place, repository
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._coming: dict[str, _Coming] = {}
        self._sent: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self._listener = _listener(self._repository)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel.cancel("the push is over")
        self.cancel.detach()
        with self._lock:
            self._closing.set()
            for sock in self._sockets:
                with suppress(OSError):      # the Engine has closed it
                    sock.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):              # not every system's accept() ends by that
            self._listener.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):              # it has ended, or its backlog is full: then it is awake
            socket.create_connection(self._listener.getsockname(), 1).close()
        while self._threads:
            self._threads.pop().join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="door", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, address = self._listener.accept()
            except OSError:      # no file descriptor is free, or the Engine has gone: the next one is to be let in all the same
                self._closing.wait(BREATH)
                continue
            with self._lock:
                if self._closing.is_set():
                    sock.close()
                    return
                self._sockets.add(sock)
                self._start(self._serve, sock, address)

    def _serve(self, sock: socket.socket, address: object) -> None:
        with sock:
            with suppress(OSError):
                _Requests(sock, address, cast(Any, self))
            with self._lock:
                self._sockets.discard(sock)

    # --- answers

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self.failed = self.failed or error
        self.cancel.cancel("what was pushed cannot go on")

    def answer(self, method: str, target: str, media_type: str, pieces: Iterator[bytes]) -> Reply:
        """To one request of the Engine's (https://distribution.github.io/distribution/spec/api/)."""
        url = urlsplit(target)
        self.reached = True
        match method, *url.path.removeprefix(f"/v2/{self._repository}/").split("/"):
            case "GET", "", "v2", "":
                return 200, {}, b"{}"
            case "HEAD", "blobs", digest:
                return self._have(digest)
            case "POST", "blobs", "uploads", "":
                return self._begun()
            case "PATCH", "blobs", "uploads", key if coming := self._coming.get(key):
                coming.take(pieces)
                return 202, {"Location": url.path, _RANGE: f"0-{coming.taken - 1}"}, b""
            case "PUT", "blobs", "uploads", key if coming := self._coming.pop(key, None):
                return self._arrived(coming, parse_qs(url.query)["digest"][0], pieces)
            case "DELETE", "blobs", "uploads", key if coming := self._coming.pop(key, None):
                coming.blob.abandon()
                return 204, {}, b""
            case "HEAD" | "GET", "manifests", reference if stored := self._place.manifest(reference, self.cancel):
                return 200, {"Content-Type": stored.media_type, _DIGEST: stored.digest}, stored.body
            case "PUT", "manifests", reference:
                body = b"".join(pieces)
                self._place.put_manifest(reference, media_type, body, self.cancel)
                return 201, {_DIGEST: f"sha256:{hashlib.sha256(body).hexdigest()}"}, b""
        return 404, {}, b""

    def _have(self, digest: str) -> Reply:
        size = self._sent.get(digest)
        size = self._place.size(digest, self.cancel) if size is None else size
        return (404, {}, b"") if size is None else (200, {_LENGTH: str(size), _DIGEST: digest}, b"")

    def _begun(self) -> Reply:
        key = secrets.token_hex(8)
        self._coming[key] = _Coming(self._place.upload(self.cancel))
        return 202, {"Location": f"/v2/{self._repository}/blobs/uploads/{key}", "Docker-Upload-UUID": key, _RANGE: "0-0"}, b""

    def _arrived(self, coming: _Coming, digest: str, pieces: Iterator[bytes]) -> Reply:
        coming.take(pieces)
        coming.blob.finish(digest, bytes(coming.rest))
        self._place.arrived(digest)
        self._sent[digest] = coming.taken
        return 201, {"Location": f"/v2/{self._repository}/blobs/{digest}", _DIGEST: digest}, b""


class _Coming:
    """A blob that the Engine sends. What is left at the end goes on together with the digest."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.rest = bytearray()
        self.taken = 0

    def take(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if len(self.rest) >= CHUNK:
                self.blob.send(bytes(self.rest))
                self.rest.clear()
            self.rest += piece
            self.taken += len(piece)


class _Requests(BaseHTTPRequestHandler):
    """One connection's."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _reply(self) -> None:
        door = cast(Door, cast(object, self.server))
        pieces = self._pieces()
        try:
            status, headers, body = door.answer(self.command, self.path, self.headers.get("Content-Type", ""), pieces)
            for _ in pieces:      # nobody wanted it
                pass
        except OSError:           # the Engine has gone
            self.close_connection = True
            return
        except BaseException as error:  # noqa: BLE001  raised again by whoever has opened the door
            self.close_connection = True
            door.fail(error)
            return
        self.send_response(status)
        for name, value in {_LENGTH: str(len(body)), **_VERSION, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _reply

    def _pieces(self) -> Iterator[bytes]:
        """The request's body."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._exactly(int(self.headers.get(_LENGTH, 0)))
            return
        while size := int(self._line().partition(b";")[0], 16):
            yield from self._exactly(size)
            self._line()
        while self._line():      # trailers
            pass

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the Engine has gone")
        return line.strip()

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read(min(size, CHUNK))
            if not piece:
                raise ConnectionError("the Engine has gone")
            size -= len(piece)
            yield piece

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _listener(repository: str) -> socket.socket:
    """At a port that is the same every time, if it is free: the Engine then knows best what it has sent, and remembers no address more."""
    port = 49152 + int.from_bytes(hashlib.sha256(repository.encode()).digest()[:2]) % (65536 - 49152)
    for each in (port, 0):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", each))
    raise PublishError("no port of 127.0.0.1 is free, through which the Docker Engine could push", hint="What uses them all?")
