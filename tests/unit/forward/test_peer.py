from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from devloop.forward.peer import closed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="missing: Linux")


@pytest.fixture(params=["127.0.0.1", "::1"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: the client's end, and ours."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        ours, _ = server.accept()
        with client, ours:
            yield client, ours


def test_an_open_client_listens(ends: tuple[socket.socket, socket.socket]) -> None:
    assert not closed(ends[1])


def test_a_client_that_only_has_nothing_more_to_say_listens(ends: tuple[socket.socket, socket.socket]) -> None:
    client, ours = ends
    client.shutdown(socket.SHUT_WR)
    assert ours.recv(1) == b""
    assert not closed(ours)


def test_a_client_that_has_closed_does_not_listen(ends: tuple[socket.socket, socket.socket]) -> None:
    client, ours = ends
    client.close()
    assert ours.recv(1) == b""
    deadline = time.monotonic() + 5
    while not closed(ours):
        assert time.monotonic() < deadline
