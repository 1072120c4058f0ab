"""Engines that are not there, refuse, or hang: what the user is told, and that cancelling ends it."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
import sys
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


@pytest.mark.parametrize(("program", "hint"), [("nerdctl", "nerdctl will not do: containerd has no Docker Engine API."),
                                               ("podman", "Podman will do: systemctl --user start podman.socket"), ("else", "")])
def test_where_there_is_another_engine_it_is_said_what_it_is_good_for(tmp_path: Path, program: str, hint: str) -> None:
    (tmp_path / program).write_text("#!/bin/sh\n")
    (tmp_path / program).chmod(0o755)
    said = unreachable(f"unix://{tmp_path}/docker.sock", PATH=str(tmp_path)).hint
    assert hint in said
    assert ("will" in said) == bool(hint)


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


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca.pem``, and of it ``cert.pem`` with ``key.pem``, good for 127.0.0.1 and for clients; in ``other/`` another authority."""
    directory = tmp_path_factory.mktemp("tls")
    (directory / "other").mkdir()
    for script in (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca.pem",
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout other/ca-key.pem -out other/ca.pem",
        "openssl req -newkey rsa:2048 -nodes -subj /CN=engine -keyout key.pem -out engine.csr",
        "echo subjectAltName=IP:127.0.0.1 >extensions",
        "openssl x509 -req -in engine.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extensions -out cert.pem",
    ):
        subprocess.run(script, shell=True, cwd=directory, check=True, capture_output=True)
    return directory


@contextmanager
def tls_engine(certificates: Path, build: Callable[[socket.socket], object]) -> Iterator[str]:
    """A stand-in that wants TLS and the client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    def answer(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as secure:
            engine_that(build)(secure)

    with serving(certificates, answer, tcp=True) as host:
        yield host


def test_an_engine_behind_tls_is_built_with(certificates: Path) -> None:
    def succeed(peer: socket.socket) -> None:
        while not peer.recv(65536).endswith(b"0\r\n\r\n"):
            pass
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"stream":"hi"}')

    with tls_engine(certificates, succeed) as host, \
            engine_at(host, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates)) as engine:
        assert build(engine, iter([b"x"]), Cancel()) == [{"stream": "hi"}]


def test_cancelling_ends_a_build_behind_tls(certificates: Path) -> None:
    arrived, released, cancel = threading.Event(), threading.Event(), Cancel()

    def hang(_peer: socket.socket) -> None:
        arrived.set()
        released.wait(30)

    with tls_engine(certificates, hang) as host, ThreadPoolExecutor(1) as pool, \
            engine_at(host, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates)) as engine:
        running = pool.submit(build, engine, iter([b"x"]), cancel)
        assert arrived.wait(10)
        cancel.cancel()
        with pytest.raises(Cancelled):
            running.result(10)
        released.set()


def test_an_engine_with_another_authoritys_certificate(certificates: Path) -> None:
    with tls_engine(certificates, head) as host:
        error = unreachable(host, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(certificates / "other"))
    assert "TLS fails" in error.message
    assert "DOCKER_CERT_PATH" in error.hint


def test_an_engine_that_is_something_else(tmp_path: Path) -> None:
    with serving(tmp_path, lambda peer: peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as host:
        assert "cannot be used" in unreachable(host).message


# --- behind ssh


def ssh(directory: Path, script: str) -> str:
    """A PATH with an ssh that says what it was called with, and then does `script`."""
    program = directory / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >>{directory}/called\n{script}\n')
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def test_an_engine_behind_ssh_is_asked_through_the_ssh_program(tmp_path: Path) -> None:
    (tmp_path / "dial-stdio").write_text(f"""
import os, socket, threading
engine = socket.socket(socket.AF_UNIX)
engine.connect("{tmp_path}/engine.sock")
def answers():
    while data := engine.recv(9999):
        os.write(1, data)
threading.Thread(target=answers, daemon=True).start()
while data := os.read(0, 9999):
    engine.sendall(data)
""")
    path = ssh(tmp_path, f"exec {sys.executable} {tmp_path}/dial-stdio")
    ready = threading.Event()

    def hang(_peer: socket.socket) -> None:
        ready.set()
        head(_peer)   # until the connection ends

    cancel = Cancel()
    with serving(tmp_path, engine_that(hang)), ThreadPoolExecutor(1) as pool, engine_at("ssh://me@far.example:2222", PATH=path) as engine:
        running = pool.submit(build, engine, iter([b"x"]), cancel)
        assert ready.wait(20)
        cancel.cancel()
        with pytest.raises(Cancelled):
            running.result(10)
    called = (tmp_path / "called").read_text().splitlines()
    assert set(called) == {"-l me -p 2222 -o ConnectTimeout=30 -T -- far.example docker system dial-stdio"}


def test_what_ssh_complains_about_is_told(tmp_path: Path) -> None:
    path = ssh(tmp_path, "echo Host key verification failed. >&2; exit 255")
    error = unreachable("ssh://far.example/run/user/1000/docker.sock", PATH=path)
    assert error.message.endswith("cannot be used: Host key verification failed.")
    assert "'ssh far.example docker info'" in error.hint
    assert (tmp_path / "called").read_text().splitlines()[0].endswith("docker --host unix:///run/user/1000/docker.sock system dial-stdio")


def test_a_missing_ssh_is_told(tmp_path: Path) -> None:
    assert "'ssh'" in unreachable("ssh://far.example", PATH=str(tmp_path)).message


def test_a_malformed_ssh_address_is_told() -> None:
    with engine_at("ssh://me:secret@far.example") as engine, pytest.raises(UnreachableError) as caught:
        engine.ping()
    assert caught.value.message == ("the Docker Engine at ssh://me@far.example (from DOCKER_HOST) cannot be used: "
                                    "the address is not ssh://[user@]host[:port]")


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
