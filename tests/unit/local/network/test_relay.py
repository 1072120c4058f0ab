"""The relay's binary as a process of this machine: the gate, frames, tables, ends and resets, over real sockets."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from importlib import resources

import pytest

from devloop.cancel import Cancel
from devloop.clients.duplex import NotConnected
from devloop.errors import Cancelled, UnreachableError
from devloop.local.network.gate import Gate, Mode, hello
from devloop.local.network.table import Listener, encode

pytestmark = pytest.mark.skipif(sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="the relay is for Linux")

LOCAL = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)
Program = Callable[[socket.socket], None]


def free_port() -> int:
    """One that no connection takes for its own end meanwhile: below those."""
    while True:
        port = random.randrange(10_000, 30_000)
        with suppress(OSError), socket.create_server((LOCAL, port)):
            return port


class Lab:
    """A relay, and programs that listen beside it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.gate = Gate(LOCAL, free_port(), secrets.token_bytes(16))
        name = "relay-amd64" if platform.machine() == "x86_64" else "relay-arm64"
        binary = resources.files("devloop.local.network").joinpath("relay", name)
        environment = {"RELAY_TOKEN": self.gate.token.hex(), "RELAY_PORT": str(self.gate.port)}
        with resources.as_file(binary) as path:
            self.process = stack.enter_context(subprocess.Popen([path], env=environment))
        stack.callback(self.process.kill)
        eventually(lambda: self.gate.tell(encode({})) is None)

    def program(self, serve: Program) -> int:
        """Its port. Each connection is served in a thread of its own, and closed then."""
        server = self._stack.enter_context(socket.create_server((LOCAL, 0), backlog=512))
        threads: list[threading.Thread] = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=one, args=(server.accept()[0],)))
                    threads[-1].start()

        def end() -> None:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            self.process.kill()
            for thread in threads:
                thread.join()

        accepting = threading.Thread(target=accept)
        accepting.start()
        self._stack.callback(end)
        return int(server.getsockname()[1])

    def connect(self, port: int, mode: Mode = Mode.RAW) -> socket.socket:
        sock = self._stack.enter_context(socket.create_connection((LOCAL, self.gate.port), 60))
        sock.sendall(hello(self.gate.token, mode, port))
        assert sock.recv(1) == b"\0"
        return sock

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack)


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while True:
        with suppress(OSError, UnreachableError):
            if holds():
                return
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.005)


def everything(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(1 << 16):
        found += data
    return bytes(found)


def upper(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data.upper())


def digest(sock: socket.socket) -> None:
    """Says at the end what it has got."""
    found = hashlib.sha256()
    while data := sock.recv(1 << 16):
        found.update(data)
    sock.sendall(found.digest())


def names(name: bytes) -> Program:
    return lambda sock: sock.sendall(name)


def ask(port: int) -> bytes:
    with socket.create_connection((LOCAL, port), 60) as sock:
        return everything(sock)


def test_the_end_of_what_the_client_says_is_passed_on_alone_and_the_answer_comes_back(lab: Lab) -> None:
    sock = lab.connect(lab.program(digest))
    said = os.urandom(20_000_000)
    sock.sendall(said)
    sock.shutdown(socket.SHUT_WR)
    assert everything(sock) == hashlib.sha256(said).digest()


def test_the_end_of_what_the_program_says_is_passed_on_alone_and_it_still_hears(lab: Lab) -> None:
    heard = []

    def ends_first(sock: socket.socket) -> None:
        sock.shutdown(socket.SHUT_WR)
        heard.append(everything(sock))

    sock = lab.connect(lab.program(ends_first))
    assert sock.recv(1) == b""
    sock.sendall(b"still here")
    sock.close()
    eventually(lambda: heard == [b"still here"])


def test_who_does_not_know_the_token_gets_nothing(lab: Lab) -> None:
    stranger = Gate(LOCAL, lab.gate.port, secrets.token_bytes(16))
    with pytest.raises(NotConnected):
        stranger.connect(stranger.to(LOCAL, Mode.RAW, lab.program(upper)), 1, Cancel()).close()
    with pytest.raises(NotConnected):
        stranger.tell(encode({}))


def test_what_is_meant_for_another_relay_that_had_the_address_does_nothing(lab: Lab) -> None:
    other = Gate(LOCAL, free_port(), secrets.token_bytes(16))
    with pytest.raises(NotConnected):
        lab.gate.connect(lab.gate.to(LOCAL, Mode.RAW, lab.gate.port) + hello(other.token, Mode.RAW, lab.program(upper)), 2, Cancel())


def test_a_port_where_nothing_listens_is_refused(lab: Lab) -> None:
    with pytest.raises(NotConnected) as refused:
        lab.gate.connect(lab.gate.to(LOCAL, Mode.RAW, free_port()), 1, Cancel())
    assert not refused.value.listening


def test_a_program_that_listens_on_the_other_localhost_only_is_found(lab: Lab) -> None:
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("missing: IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        sock = lab.connect(server.getsockname()[1])
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"six")
        assert everything(sock) == b"six"


def test_frames_tell_the_end_of_an_answer_from_its_cut(lab: Lab) -> None:
    def cut(sock: socket.socket) -> None:
        sock.sendall(b"half")
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    assert everything(lab.connect(lab.program(names(b"whole")), Mode.FRAMED)) == b"\0\5whole\0\0"
    sock = lab.connect(lab.program(cut), Mode.FRAMED)
    assert sock.recv(6, socket.MSG_WAITALL) == b"\0\4half"
    sock.sendall(b"x")
    assert everything(sock) == b""


def test_without_frames_a_cut_is_a_cut(lab: Lab) -> None:
    def cut(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    sock = lab.connect(lab.program(cut))
    sock.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        everything(sock)


def test_an_answer_is_whole_though_its_program_has_not_heard_all(lab: Lab) -> None:
    def refuses(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"too large" * 10_000)

    sock = lab.connect(lab.program(refuses), Mode.FRAMED)
    sock.settimeout(60)

    def talk() -> None:
        with suppress(OSError):
            while True:
                sock.sendall(b"x" * (1 << 16))

    talking = threading.Thread(target=talk)
    talking.start()
    got = everything(sock)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    talking.join()
    assert got.count(b"too large") + got.count(b"\0\0") >= 9_990
    assert len(got) >= 90_000


def test_a_client_that_resets_ends_the_programs_connection(lab: Lab) -> None:
    ended = threading.Event()

    def waits(sock: socket.socket) -> None:
        with suppress(ConnectionResetError):
            sock.recv(1)
        ended.set()

    sock = lab.connect(lab.program(waits))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    assert ended.wait(60)


def test_a_slow_reader_stops_the_program_and_costs_nothing(lab: Lab) -> None:
    written = []

    def talks(sock: socket.socket) -> None:
        for _ in range(600):
            sock.sendall(bytes(1 << 16))
            written.append(1)

    sock = lab.connect(lab.program(talks))

    def worked() -> str:
        with open(f"/proc/{lab.process.pid}/stat", encoding="ascii") as stat:
            return " ".join(stat.read().split()[13:15])

    def stuck() -> bool:
        # with the relay's work: on a busy machine that may pause while there still is room
        before = len(written), worked()
        time.sleep(0.2)
        return (len(written), worked()) == before and 0 < len(written) < 600

    eventually(stuck)
    before = worked()
    time.sleep(0.2)
    assert worked() == before
    assert len(everything(sock)) == 600 << 16


def test_backends_take_turns_and_one_that_refuses_is_passed_over(lab: Lab) -> None:
    port = free_port()
    backends = ((LOCAL, lab.program(names(b"a"))), (LOCAL, free_port()), (LOCAL, lab.program(names(b"b"))))
    lab.gate.tell(encode({port: Listener(backends)}))
    answers = [ask(port) for _ in range(9)]
    assert set(answers) == {b"a", b"b"}
    assert answers.count(b"a") == 3


def test_a_client_may_be_kept_to_one_backend(lab: Lab) -> None:
    port = free_port()
    lab.gate.tell(encode({port: Listener(tuple((LOCAL, lab.program(names(name))) for name in (b"a", b"b", b"c")), keeps=True)}))
    assert len({ask(port) for _ in range(9)}) == 1


def test_a_port_without_backends_is_refused_and_one_whose_backends_refuse_is_reset(lab: Lab) -> None:
    none, dead = free_port(), free_port()
    lab.gate.tell(encode({none: Listener(()), dead: Listener(((LOCAL, free_port()),))}))
    with pytest.raises(ConnectionRefusedError):
        ask(none)
    with pytest.raises(ConnectionResetError):
        ask(dead)


def test_a_new_table_moves_new_connections_and_leaves_those_there_are(lab: Lab) -> None:
    port, old, new = free_port(), lab.program(upper), lab.program(names(b"new"))
    lab.gate.tell(encode({port: Listener(((LOCAL, old),))}))
    with socket.create_connection((LOCAL, port), 60) as before:
        before.sendall(b"one")
        assert before.recv(3) == b"ONE"
        lab.gate.tell(encode({port: Listener(((LOCAL, new),))}))
        assert ask(port) == b"new"
        before.sendall(b"two")
        assert before.recv(3) == b"TWO"


def test_no_connection_is_lost_while_tables_change(lab: Lab) -> None:
    port, backends = free_port(), [(LOCAL, lab.program(names(b"ok"))) for _ in range(2)]
    lab.gate.tell(encode({port: Listener((backends[0],))}))
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.extend(ask(port) for _ in range(300)))
    asking.start()
    turn = 0
    while asking.is_alive():
        turn += 1
        lab.gate.tell(encode({port: Listener((backends[turn % 2],)), **({free_port(): Listener((backends[0],))} if turn % 3 else {})}))
    asking.join()
    assert answers == [b"ok"] * 300
    assert turn > 1


def test_a_table_that_is_malformed_or_cannot_be_had_changes_nothing(lab: Lab) -> None:
    port, backend = free_port(), (LOCAL, lab.program(names(b"ok")))
    lab.gate.tell(encode({port: Listener((backend,))}))
    for malformed in (b"\0", b"\0\1\0", b"\xff\xff", encode({port: Listener((backend,))})[:-1], encode({}) + b"\0", b"\0\0\0\1\0\2\0\0"):
        with pytest.raises(NotConnected):
            lab.gate.tell(malformed)
    with socket.create_server((LOCAL, 0)) as taken, pytest.raises(NotConnected, match="in use"):
        lab.gate.tell(encode({free_port(): Listener((backend,)), taken.getsockname()[1]: Listener((backend,))}))
    assert ask(port) == b"ok"


def test_many_connections_at_once_leave_nothing_behind(lab: Lab) -> None:
    port = free_port()
    lab.gate.tell(encode({port: Listener(((LOCAL, lab.program(upper)),))}))
    before = lab.descriptors()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((LOCAL, port), 60)) for _ in range(300)]
        for number, client in enumerate(clients):
            client.sendall(b"client %d" % number)
        for number, client in enumerate(clients):
            expected = b"CLIENT %d" % number
            assert client.recv(len(expected), socket.MSG_WAITALL) == expected
    eventually(lambda: lab.descriptors() <= before)      # what told it of the listener may have been open still


def test_when_no_descriptor_is_left_connections_wait_for_one(lab: Lab) -> None:
    import resource

    port = free_port()
    lab.gate.tell(encode({port: Listener(((LOCAL, lab.program(upper)),))}))
    most = lab.descriptors() + 6
    resource.prlimit(lab.process.pid, resource.RLIMIT_NOFILE, (most, most))     # three connections
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection((LOCAL, port), 60)) for _ in range(10)]
        for client in clients:
            with suppress(ConnectionError):     # one may be there before its other half cannot be
                client.sendall(b"x")
        for client in clients:
            with suppress(ConnectionError), client:
                assert client.recv(1) in (b"X", b"")
    eventually(lambda: ask_upper(port) == b"X")      # the relay may still hold what the last of them had


def ask_upper(port: int) -> bytes:
    with socket.create_connection((LOCAL, port), 60) as sock:
        sock.sendall(b"x")
        return sock.recv(1)


def test_it_ends_at_once(lab: Lab) -> None:
    sock = lab.connect(lab.program(upper))
    lab.process.terminate()
    assert lab.process.wait(60) == 0
    with suppress(ConnectionResetError):
        assert sock.recv(1) == b""


def test_waiting_for_a_connection_is_called_off(lab: Lab) -> None:
    cancel = Cancel()
    with closing(socket.create_server((LOCAL, 0))) as silent:
        silent_gate = Gate(LOCAL, silent.getsockname()[1], lab.gate.token)
        threading.Timer(0.05, cancel.cancel).start()
        with pytest.raises(Cancelled):
            silent_gate.connect(silent_gate.to(LOCAL, Mode.RAW, 80), 1, cancel, timeout=60)


def test_a_gate_that_is_not_there_is_told() -> None:
    with pytest.raises(UnreachableError, match="cannot be reached"):
        Gate(LOCAL, free_port(), bytes(16)).tell(encode({}))
