"""Engines that are not there, refuse, or hang: what the user is told, and that cancelling ends it."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.errors import BuildError, Cancelled, EngineError, UnreachableError

VERSION = b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"ApiVersion":"1.41"}'


@contextmanager
def engine_at(host: str, **environ: str) -> Iterator[DockerEngine]:
    engine = DockerEngine({"HOME": "/nonexistent", "DOCKER_HOST": host, "PATH": os.environ["PATH"]} | environ)
    try:
        yield engine
    finally:
        engine.close()


def unreachable(host: str, **environ: str) -> UnreachableError:
    with engine_at(host, **environ) as engine, pytest.raises(UnreachableError) as caught:
        engine.ping()
    assert host in caught.value.message
    assert "from DOCKER_HOST" in caught.value.message
    return caught.value


# --- not there


def test_a_socket_that_does_not_exist(tmp_path: Path) -> None:
    error = unreachable(f"unix://{tmp_path}/docker.sock")
    assert error.message.endswith("is not running: [Errno 2] No such file or directory")
    assert "systemctl start docker" in error.hint
    assert error.exit_code == 14


def test_a_port_where_nobody_listens() -> None:
    assert "is not running" in unreachable("tcp://127.0.0.1:1").message


def test_a_host_that_does_not_exist() -> None:
    assert "nosuch.invalid" in unreachable("tcp://nosuch.invalid:2375").message


@pytest.mark.parametrize("host", ["nonsense://x", "tcp://", "tcp://x"])
def test_an_address_that_is_none(host: str) -> None:
    assert "cannot be used" in unreachable(host).message


def test_a_socket_one_may_not_use(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(stat.S_IWUSR if os.geteuid() else 0)
        with engine_at("tcp://127.0.0.1:1") as warm, pytest.raises(UnreachableError):
            warm.ping()   # libraries load while we still may read them
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        else:
            path.chmod(0)
        try:
            error = unreachable(f"unix://{path}")
        finally:
            if root:
                os.seteuid(0)
    assert error.message == f"no permission to use the Docker Engine at unix://{path} (from DOCKER_HOST)"
    assert "usermod -aG docker" in error.hint


def test_tls_where_the_engine_speaks_none(tmp_path: Path) -> None:
    with serving(tmp_path, lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), tcp=True) as host:
        error = unreachable(host, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path))
    assert "TLS fails" in error.message


def test_an_engine_that_is_something_else(tmp_path: Path) -> None:
    with serving(tmp_path, lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as host:
        assert "cannot be used" in unreachable(host).message


# --- refusing and hanging; a stand-in, because a real Engine cannot be asked to


@contextmanager
def serving(directory: Path, answer: Callable[[socket.socket], object], *, tcp: bool = False) -> Iterator[str]:
    """A server that hands every connection to `answer`, which gets it after the request's head; closes it after that."""
    server = socket.create_server(("127.0.0.1", 0)) if tcp else socket.socket(socket.AF_UNIX)
    if not tcp:
        server.bind(str(directory / "engine.sock"))
        server.listen()
    threads: list[threading.Thread] = []

    def serve() -> None:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        another()
        with peer, suppress(OSError):   # it may be gone already
            answer(peer)

    def another() -> None:
        threads.append(threading.Thread(target=serve, name="stand-in"))
        threads[-1].start()

    another()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}" if tcp else f"unix://{directory}/engine.sock"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in threads:
            thread.join()


def head(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data and (more := peer.recv(1)):
        data += more
    return data


def engine_that(build: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
    """Tells its version, then treats a build as told."""
    def answer(peer: socket.socket) -> None:
        while request := head(peer):
            if b"/version" in request:
                peer.sendall(VERSION)
            else:
                build(peer)
                return

    return answer


def chunks() -> Iterator[bytes]:
    while True:
        yield b"\0" * 65536


def build(engine: DockerEngine, tar: Iterator[bytes], cancel: Cancel) -> list[object]:
    return list(engine.build({"t": "x:1"}, tar, {}, cancel))


@pytest.mark.parametrize("body", ["endless", "finished"])
def test_cancelling_ends_a_build_that_a_hung_engine_neither_reads_nor_answers(tmp_path: Path, body: str) -> None:
    cancel = Cancel()
    released = threading.Event()
    arrived = threading.Event()

    def hang(_peer: socket.socket) -> None:
        arrived.set()
        released.wait(30)

    with serving(tmp_path, engine_that(hang)) as host, engine_at(host) as engine, ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, engine, chunks() if body == "endless" else iter([b"x"]), cancel)
        assert arrived.wait(10)
        cancel.cancel("a newer save")
        with pytest.raises(Cancelled, match="a newer save"):
            running.result(10)
        released.set()


def test_an_engine_that_refuses_before_it_has_read_the_context_is_heard(tmp_path: Path) -> None:
    def refuse(peer: socket.socket) -> None:
        body = b'{"message":"write /var/lib/docker/tmp/x: no space left on device"}'
        peer.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with serving(tmp_path, engine_that(refuse)) as host, engine_at(host) as engine, pytest.raises(EngineError) as caught:
        build(engine, chunks(), Cancel())
    assert (caught.value.status, caught.value.message) == (500, "write /var/lib/docker/tmp/x: no space left on device")


def test_an_engine_that_dies_during_a_build_is_told_as_that(tmp_path: Path) -> None:
    def die(peer: socket.socket) -> None:
        while peer.recv(65536)[-5:] != b"0\r\n\r\n":
            pass
        peer.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"stream":"hi"}\n\r\n')

    with serving(tmp_path, engine_that(die)) as host, engine_at(host) as engine, pytest.raises(UnreachableError, match="cannot be used"):
        build(engine, iter([b"x"]), Cancel())


def test_what_the_context_raises_is_raised_as_it_is(tmp_path: Path) -> None:
    def vanished() -> Iterator[bytes]:
        yield b"x"
        raise BuildError("a file vanished")

    def unreadable() -> Iterator[bytes]:
        yield b"x"
        raise PermissionError(13, "Permission denied", "secret.txt")

    with serving(tmp_path, engine_that(head)) as host, engine_at(host) as engine:
        with pytest.raises(BuildError, match="a file vanished"):
            build(engine, vanished(), Cancel())
        with pytest.raises(BuildError, match=r"context cannot be read: .*secret\.txt"):
            build(engine, unreadable(), Cancel())
