from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devloop.config.models import PortForward
from devloop.errors import ConfigError, UsageError
from devloop.forward.listen import Listening, holder, listen


def forward(**more: object) -> PortForward:
    return PortForward.model_validate({"resource": "service/web", "port": 80, **more})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def opened() -> Iterator[list[Listening]]:
    kept: list[Listening] = []
    yield kept
    for listening in kept:
        listening.close()


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port)).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_wanted_port_is_listened_on(opened: list[Listening]) -> None:
    port = free_port()
    opened.append(listen(forward(), port))
    assert (opened[0].port, opened[0].instead) == (port, "")
    assert answers("127.0.0.1", port)


def test_a_taken_port_gives_the_next_free_one_and_says_why(opened: list[Listening], taken: int) -> None:
    opened.append(listen(forward(), taken))
    assert opened[0].port > taken
    assert f"port {taken} is taken" in opened[0].instead
    assert answers("127.0.0.1", opened[0].port)


def test_a_strict_forward_wants_its_port_or_none(taken: int) -> None:
    with pytest.raises(UsageError) as error:
        listen(forward(strict=True), taken)
    assert f"port {taken} is taken" in error.value.message
    assert error.value.exit_code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="missing: /proc")
def test_the_process_that_has_the_port_is_named(taken: int) -> None:
    assert holder(taken) == "devloop itself"
    program = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        port = int(other.stdout.readline())
        with pytest.raises(UsageError, match=rf"taken by python\S* \(process {other.pid}\)"):
            listen(forward(strict=True), port)
        other.communicate("\n")


def test_localhost_is_both_families(opened: list[Listening]) -> None:
    opened.append(listen(forward(address="localhost"), 0))
    assert answers("127.0.0.1", opened[0].port)
    assert len({sock.getsockname()[1] for sock in opened[0].sockets}) == 1


def test_ipv6(opened: list[Listening]) -> None:
    if not socket.has_ipv6:
        pytest.skip("missing: IPv6")
    opened.append(listen(forward(address="::1"), 0))
    assert answers("::1", opened[0].port)


def test_every_network(opened: list[Listening]) -> None:
    opened.append(listen(forward(address="0.0.0.0"), 0))
    assert opened[0].sockets[0].getsockname()[0] == "0.0.0.0"


def test_an_address_of_another_machine_is_a_mistake_in_the_config() -> None:
    with pytest.raises(ConfigError) as error:
        listen(forward(address="192.0.2.1"), 8080)
    assert "192.0.2.1" in error.value.message


def test_a_restart_gets_the_same_port_though_a_connection_has_just_ended(opened: list[Listening]) -> None:
    first = listen(forward(), 0)
    with socket.create_connection(("127.0.0.1", first.port)) as client:
        first.sockets[0].setblocking(True)
        server, _ = first.sockets[0].accept()
        server.close()      # the side that closes first keeps the port for a while
        assert client.recv(1) == b""
    first.close()
    opened.append(listen(forward(strict=True), first.port))
    assert opened[0].port == first.port
