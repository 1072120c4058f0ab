"""Connections to registries: kept, closed by the other side, and through a proxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devloop.cancel import Cancel
from devloop.clients.registry_http import ConnectionLost, Direct, Link, is_here


class Server(ThreadingHTTPServer):
    """Answers every request with its path; notes connections and CONNECTs. With `hang_up` it closes after each answer, unannounced."""

    daemon_threads = True

    def __init__(self) -> None:
        self.connections = 0
        self.connects: list[str] = []
        self.logins: list[str | None] = []
        self.hang_up = False
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())
        self.close_connection = self.server.hang_up

    do_GET = do_POST = do_PATCH = _answer

    def do_CONNECT(self) -> None:
        """From here on it is the server itself that is talked to: one is enough."""
        self.server.connects.append(self.path)
        self.server.logins.append(self.headers["Proxy-Authorization"])
        self.send_response_only(200)
        self.end_headers()
        self.close_connection = False       # http.client asks in HTTP/1.0

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def link(server: Server) -> Link:
    return Link(server.address, Direct(server.address, {}, plain=True))


def test_a_connection_is_used_again(server):
    to = link(server)
    bodies = [to.request("GET", f"/{n}", Cancel()).body for n in range(3)]
    to.close()

    assert (bodies, server.connections) == ([b"/0", b"/1", b"/2"], 1)


def test_a_kept_connection_that_the_server_has_closed_is_replaced(server):
    server.hang_up = True
    to = link(server)
    for _ in range(3):
        assert to.request("POST", "/x", Cancel(), body=b"y").status == 200
    to.close()

    assert server.connections == 3


def test_where_twice_might_be_wrong_the_loss_is_told(server):
    server.hang_up = True
    to = link(server)
    to.request("PATCH", "/x", Cancel(), body=b"y")
    with pytest.raises(ConnectionLost):
        to.request("PATCH", "/x", Cancel(), body=b"y", again=False)
    to.close()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_environments_proxy_leads_there(server, variable):
    to = Link("registry.example:1234", Direct("registry.example:1234", {variable: f"http://{server.address}"}, plain=True))
    answer = to.request("GET", "/v2/", Cancel())
    to.close()

    assert (answer.body, server.connects) == (b"/v2/", ["registry.example:1234"])


@pytest.mark.parametrize(("login", "told"), [("", None), ("jane:p%40ss@", "Basic amFuZTpwQHNz"), ("jane@", "Basic amFuZTo=")])
def test_a_proxy_is_told_the_login_that_its_url_has(server, login, told):
    to = Link("registry.example:1", Direct("registry.example:1", {"https_proxy": f"http://{login}{server.address}"}, plain=True))
    to.request("GET", "/v2/", Cancel())
    to.close()

    assert server.logins == [told]


@pytest.mark.parametrize("environ", [{"HTTPS_PROXY": "http://127.0.0.1:1"}, {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}])
def test_this_machine_is_reached_without_a_proxy(server, environ):
    to = Link(server.address, Direct(server.address, environ, plain=True))
    assert to.request("GET", "/x", Cancel()).status == 200
    to.close()


def test_no_proxy_is_obeyed():
    direct = Direct("registry.invalid", {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": ".example,registry.invalid"})
    with pytest.raises(socket.gaierror):
        direct(Cancel())


def test_a_server_that_speaks_plain_http_is_spoken_to_so_where_that_is_allowed(server):
    direct = Direct(server.address, {}, lenient=True)
    to = Link(server.address, direct)
    assert to.request("GET", "/x", Cancel()).body == b"/x"
    to.close()

    with pytest.raises(OSError, match="SSL"):
        Direct(server.address, {})(Cancel())


@pytest.mark.parametrize(("host", "expected"), [
    ("localhost:5000", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]:5000", True), ("k3d-registry.localhost:5000", True),
    ("ghcr.io", False), ("192.168.1.2:5000", False), ("", False), ("localhost.example", False),
])
def test_registries_on_this_machine_are_known_by_their_host(host, expected):
    assert is_here(host) is expected
