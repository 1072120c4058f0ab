"""HTTP/1.1 to one registry over any connection: TCP, TLS, or a tunnel into a cluster.

A request owns its connection from the first byte to the last, so that cancelling can close it, whatever it waits for.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from devloop.cancel import Cancel

CONNECT_TIMEOUT = 10.0    # seconds
ANSWER_TIMEOUT = 120.0    # a registry that moves a big blob to its object store is silent for long
IDLE = 8                  # connections kept for the next request

Connect = Callable[[Cancel], socket.socket]
"""A new connection to the registry, TLS included. Raises OSError, or what the way to it raises."""


class ConnectionLost(Exception):
    """The connection ended before the answer was there; what was sent may or may not have arrived."""


@dataclass(frozen=True)
class Answer:
    """`headers`: names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Link:
    """Requests to one `host` (what the Host header says). Safe from every thread."""

    def __init__(self, host: str, connect: Connect) -> None:
        self.host = host
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._closed = False

    def request(self, method: str, path: str, cancel: Cancel, *, headers: Mapping[str, str] | None = None, body: bytes | memoryview = b"",
                again: bool = True) -> Answer:
        """One answer. `again`: do it on a new connection where a kept one turns out to be closed.

        Raises `ConnectionLost`, `Cancelled`, and what connecting raises.
        """
        cancel.check()
        sends = {"Content-Length": str(len(body))} if body or method in ("POST", "PUT", "PATCH") else {}

        def ask(connection: http.client.HTTPConnection) -> None:
            connection.request(method, path, body or None, {"User-Agent": "devloop", **sends, **(headers or {})})

        while connection := self._take():
            try:
                return self._exchange(connection, ask, cancel)
            except ConnectionLost:
                if not again:
                    raise
        return self._exchange(self._new(cancel), ask, cancel)

    def close(self) -> None:
        """Also what is under way does not keep its connection."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _new(self, cancel: Cancel) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.host)
        connection.sock = self._connect(cancel)
        connection.sock.settimeout(ANSWER_TIMEOUT)
        connection.auto_open = 0
        return connection

    def _exchange(self, connection: http.client.HTTPConnection, ask: Callable[[http.client.HTTPConnection], None],
                  cancel: Cancel) -> Answer:
        keep = False
        try:
            with _closing(connection.sock, cancel):
                with suppress(BrokenPipeError, ConnectionResetError):      # refused before it had read everything: the answer says why
                    ask(connection)
                response = connection.getresponse()
                answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
                keep = not response.will_close
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost(str(error) or type(error).__name__) from error
        finally:
            if not keep or not self._kept(connection):
                connection.close()
        return answer

    def _kept(self, connection: http.client.HTTPConnection) -> bool:
        with self._lock:
            if self._closed or len(self._idle) >= IDLE:
                return False
            self._idle.append(connection)
            return True


class Direct:
    """A `Connect` to a registry by its host name, through the proxy of the environment where there is one.

    `lenient`: where TLS does not come about because the other side speaks plain HTTP, so do we. `verify` False: any certificate will do.
    """

    def __init__(self, host: str, environ: Mapping[str, str], *, lenient: bool = False, verify: bool = True, plain: bool = False) -> None:
        url = urlsplit(f"//{host}")
        self.host = host
        self._name, self._port = url.hostname or "", url.port
        self._environ, self._lenient = environ, lenient
        self._context = _context(host, environ, verify=verify)
        self._plain = plain

    @property
    def plain(self) -> bool:
        """Whether it turned out to speak plain HTTP."""
        return self._plain

    def __call__(self, cancel: Cancel) -> socket.socket:
        if not self._plain:
            try:
                return self._secure(cancel)
            except ssl.SSLCertVerificationError:
                raise
            except (ssl.SSLError, ConnectionError) as error:
                if not self._lenient or (isinstance(error, ConnectionRefusedError) and self._port):
                    raise
        sock = self._tcp(80, cancel)
        self._plain = True
        return sock

    def _secure(self, cancel: Cancel) -> socket.socket:
        sock = self._tcp(443, cancel)
        try:
            with _closing(sock, cancel):
                return self._context.wrap_socket(sock, server_hostname=self._name)
        except BaseException:
            sock.close()
            raise

    def _tcp(self, port: int, cancel: Cancel) -> socket.socket:
        port = self._port or port
        proxy = _proxy("http" if port == 80 else "https", self._name, self._environ)
        cancel.check()
        if not proxy:
            return _connected(self._name, port, cancel)
        via = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        tunnel = http.client.HTTPConnection(via.hostname or "", via.port or 80)
        tunnel._create_connection = lambda address, *_: _connected(address[0], address[1], cancel)  # type: ignore[attr-defined]
        tunnel.set_tunnel(self._name, port, _login(via))
        tunnel.connect()
        return tunnel.sock


def is_here(host: str) -> bool:
    """Whether this registry's host is this machine: there docker, too, accepts plain HTTP and any certificate."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.") or name.endswith(".localhost")


@contextmanager
def _closing(sock: socket.socket, cancel: Cancel) -> Iterator[None]:
    def shut() -> None:
        with suppress(OSError):     # it has ended by itself
            sock.shutdown(socket.SHUT_RDWR)

    with cancel.closing(shut):
        yield


def _connected(name: str, port: int, cancel: Cancel) -> socket.socket:
    """``socket.create_connection``, but it can be cancelled."""
    failed: OSError = OSError(f"{name} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(CONNECT_TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with _closing(sock, cancel):
                sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed


def _login(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    known = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}


def _proxy(scheme: str, host: str, environ: Mapping[str, str]) -> str:
    values = {name.lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
    if is_here(host) or urllib.request.proxy_bypass_environment(host, {"no": values.get("no_proxy", "")}):  # type: ignore[attr-defined]
        return ""
    return values.get(f"{scheme}_proxy", "")


def _context(host: str, environ: Mapping[str, str], *, verify: bool) -> ssl.SSLContext:
    """Trusts what the system does, and the authorities that docker was given for this host."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for directory in (Path("/etc/docker/certs.d"), Path(environ.get("HOME", "/")) / ".docker" / "certs.d"):
        for file in (directory / host).glob("*.crt"):
            with suppress(OSError, ssl.SSLError):       # the Engine complains of it, too
                context.load_verify_locations(file)
    return context
