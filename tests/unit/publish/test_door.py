"""A registry on this machine for as long as a push takes, spoken to as Engines speak."""

from __future__ import annotations

import http.client
import os
import re
import resource
import socket
import threading
from collections.abc import Iterable, Iterator

import pytest

from devloop.cancel import Cancel
from devloop.clients.registry import Stored
from devloop.errors import Cancelled, PublishError
from devloop.publish.door import CHUNK, Door


class Shelf:
    """A place in memory. `broken`: what it raises when something is put there."""

    def __init__(self) -> None:
        self.blobs: dict[str, list[bytes]] = {"sha256:old": [b"12345"]}
        self.manifests: dict[str, Stored] = {}
        self.broken: Exception | None = None
        self.arrivals: list[str] = []

    def size(self, digest: str, cancel: Cancel) -> int | None:
        return sum(map(len, self.blobs[digest])) if digest in self.blobs else None

    def upload(self, cancel: Cancel) -> Parcel:
        return Parcel(self)

    def arrived(self, digest: str) -> None:
        self.arrivals.append(digest)

    def manifest(self, reference: str, cancel: Cancel) -> Stored | None:
        return self.manifests.get(reference)

    def put_manifest(self, reference: str, media_type: str, body: bytes, cancel: Cancel) -> None:
        self.manifests[reference] = Stored("sha256:m", media_type, body)


class Parcel:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._pieces: list[bytes] = []

    def send(self, chunk: bytes) -> None:
        if self._shelf.broken:
            raise self._shelf.broken
        self._pieces.append(chunk)

    def finish(self, digest: str, last: bytes = b"") -> None:
        self.send(last)
        self._shelf.blobs[digest] = self._pieces

    def abandon(self) -> None:
        self._shelf.blobs["given up"] = self._pieces


class Engine:
    """One connection."""

    def __init__(self, door: Door) -> None:
        self._connection = http.client.HTTPConnection(door.address, timeout=10)

    def ask(self, method: str, path: str, body: bytes | Iterable[bytes] = b"") -> http.client.HTTPResponse:
        """`body` in parts: as chunks."""
        self._connection.request(method, path, body or None, {"Content-Type": "text/x"}, encode_chunked=not isinstance(body, bytes))
        answer = self._connection.getresponse()
        self.body = answer.read()
        return answer

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def door(shelf: Shelf) -> Iterator[Door]:
    with Door(shelf, "acme/web", Cancel()) as door:
        yield door


@pytest.fixture
def engine(door: Door) -> Iterator[Engine]:
    engine = Engine(door)
    yield engine
    engine.close()


def test_what_is_there_is_said_to_be_and_nothing_else(shelf, door, engine):
    assert not door.reached
    assert engine.ask("GET", "/v2/").headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert door.reached
    there = engine.ask("HEAD", "/v2/acme/web/blobs/sha256:old")
    assert (there.status, there.headers["Content-Length"], there.headers["Docker-Content-Digest"]) == (200, "5", "sha256:old")
    for path in ("/v2/acme/web/blobs/sha256:new", "/v2/acme/other/blobs/sha256:old", "/v2/acme/web/manifests/1", "/else"):
        assert engine.ask("HEAD", path).status == 404


def test_a_blob_goes_on_in_large_pieces_the_last_of_them_with_the_digest(shelf, engine):
    location = engine.ask("POST", "/v2/acme/web/blobs/uploads/").headers["Location"]
    parts = [bytes([n]) * (1 << 18) for n in range(40)]      # 10 MB
    patched = engine.ask("PATCH", location, iter(parts))
    assert (patched.status, patched.headers["Range"]) == (202, f"0-{(40 << 18) - 1}")
    assert engine.ask("PUT", f"{patched.headers['Location']}?digest=sha256:new").status == 201
    assert [len(piece) for piece in shelf.blobs["sha256:new"]] == [CHUNK, CHUNK, 2 << 20]
    assert b"".join(shelf.blobs["sha256:new"]) == b"".join(parts)
    assert shelf.arrivals == ["sha256:new"]
    assert engine.ask("HEAD", "/v2/acme/web/blobs/sha256:new").headers["Content-Length"] == str(40 << 18)


def test_a_blob_in_one_request_as_containerd_sends_it(shelf, engine):
    location = engine.ask("POST", "/v2/acme/web/blobs/uploads/?mount=sha256:new&from=other").headers["Location"]
    assert engine.ask("PUT", f"{location}?digest=sha256:new", b"all of it").status == 201
    assert shelf.blobs["sha256:new"] == [b"all of it"]


def test_a_blob_that_the_engine_gives_up_is_given_up(shelf, engine):
    location = engine.ask("POST", "/v2/acme/web/blobs/uploads/").headers["Location"]
    assert engine.ask("DELETE", location).status == 204
    assert shelf.blobs["given up"] == []
    assert engine.ask("PUT", f"{location}?digest=sha256:new", b"late").status == 404


def test_a_manifest_goes_on_with_its_type(shelf, engine):
    put = engine.ask("PUT", "/v2/acme/web/manifests/1", b"{}")
    assert (put.status, put.headers["Docker-Content-Digest"][:11]) == (201, "sha256:4413")
    assert shelf.manifests["1"] == Stored("sha256:m", "text/x", b"{}")
    assert (engine.ask("GET", "/v2/acme/web/manifests/1").headers["Content-Type"], engine.body) == ("text/x", b"{}")


def test_what_goes_wrong_behind_it_ends_the_push_and_is_kept(shelf, door, engine):
    shelf.broken = PublishError("no room")
    location = engine.ask("POST", "/v2/acme/web/blobs/uploads/").headers["Location"]
    with pytest.raises((http.client.HTTPException, OSError)):
        engine.ask("PUT", f"{location}?digest=sha256:new", b"x")
    with pytest.raises(Cancelled):
        door.cancel.wait(10)
    assert door.failed is shelf.broken


def test_half_a_blob_is_none(shelf, door, engine):
    location = engine.ask("POST", "/v2/acme/web/blobs/uploads/").headers["Location"]
    with socket.create_connection(("127.0.0.1", int(door.address.rpartition(":")[2]))) as sock:
        sock.sendall(f"PUT {location}?digest=sha256:new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc".encode())
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""
    assert "sha256:new" not in shelf.blobs
    assert door.failed is None


def test_who_tries_tls_first_is_turned_away_at_once_and_has_not_arrived(door):
    with socket.create_connection(("127.0.0.1", int(door.address.rpartition(":")[2]))) as sock:
        sock.sendall(bytes.fromhex("16030100050100000a00"))      # every hello has a line's end in it: the extension 10, supported_groups
        sock.sendall(b"\x0a\x00")
        assert b"400" in sock.recv(1000)
    assert not door.reached


def test_while_no_file_descriptor_is_free_the_engine_waits_and_is_let_in_then(door):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    host, _, port = door.address.partition(":")
    with socket.socket() as first, socket.socket() as second:      # for the first, accept() may have taken a descriptor already
        free = os.dup(second.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            for sock in (first, second):
                sock.connect((host, int(port)))
                sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            second.settimeout(0.2)
            with pytest.raises(TimeoutError):
                second.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for sock in (first, second):
            sock.settimeout(10)
            assert b"200 OK" in sock.recv(1000)


def test_its_port_is_never_5000_and_stays_the_same_if_it_can(shelf):
    kept = 0
    for name in ("acme/web", "acme/api", "acme/job"):      # others may have some of their ports
        with Door(shelf, name, Cancel()) as first, Door(shelf, name, Cancel()) as beside:
            assert first.address != beside.address
            assert all(re.fullmatch(r"127\.0\.0\.1:(?!5000$)\d+", door.address) for door in (first, beside))
        with Door(shelf, name, Cancel()) as again:
            kept += again.address == first.address
    assert kept


def test_nothing_is_left_when_it_is_closed_whatever_is_still_connected(shelf):
    with Door(shelf, "acme/web", Cancel()) as door:
        engines = [Engine(door) for _ in range(3)]
        for engine in engines:
            assert engine.ask("GET", "/v2/").status == 200
    assert not [t.name for t in threading.enumerate() if t.name == "door"]
    with pytest.raises(ConnectionRefusedError):
        Engine(door).ask("GET", "/v2/")
    for engine in engines:
        engine.close()
