"""What probes and lifecycle hooks do: an HTTP request, a connection, a command in the container. Answers are in the kubelet's words."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from devloop.cancel import Cancel
from devloop.clients import docker_containers
from devloop.clients.docker import DockerEngine
from devloop.clients.duplex import NotConnected
from devloop.errors import Cancelled, EngineError, UnreachableError
from devloop.local.network.network import Sandbox
from devloop.local.pods.sandboxes import Sandboxes
from devloop.model import Object

MOST_TEXT = 10 * 1024
_MOST_REDIRECTS = 10
_NO_PROGRAM = (126, 127)


@dataclass(frozen=True)
class Answer:
    ok: bool
    text: str = ""


@dataclass(frozen=True)
class Asked:
    """Whom: a container (the Engine's id and its spec) and the sandbox of its pod."""

    engine: DockerEngine
    network: Sandboxes
    sandbox: Sandbox
    container: str
    spec: Object

    def ask(self, how: Object, timeout: float, cancel: Cancel) -> Answer:
        """`how`: a probe or a hook's handler. Raises `Cancelled`; what else goes wrong is an answer."""
        try:
            if get := how.get("httpGet"):
                return self._http(get, timeout, cancel)
            if tcp := how.get("tcpSocket"):
                self._connect(self._port(tcp["port"]), tcp.get("host") or "", timeout, cancel).close()
                return Answer(True)
            if sleep := how.get("sleep"):
                cancel.wait(float(sleep["seconds"]))
                return Answer(True)
            if command := how.get("exec"):
                return self._exec(command.get("command") or [], timeout, cancel)
        except UnreachableError as error:
            return Answer(False, error.message)
        except ValueError as error:
            return Answer(False, str(error))
        except NotConnected as error:
            tcp = how["tcpSocket"]
            return Answer(False, f"dial tcp {tcp.get('host') or self.sandbox.ip}:{tcp['port']}: {_dialled(error)}")
        return Answer(True)      # grpc: told as unsupported

    def _port(self, port: object) -> int:
        if isinstance(port, int) or str(port).isdigit():
            return int(str(port))
        for named in self.spec.get("ports") or ():
            if named.get("name") == port:
                return int(named["containerPort"])
        raise ValueError(f"couldn't find port: {port}")

    def _connect(self, port: int, host: str, timeout: float, cancel: Cancel) -> socket.socket:
        with suppress(OSError):
            host = socket.gethostbyname(host) if host else ""
        return self.network.connect(self.sandbox, port, cancel, host=host, timeout=timeout)

    # --- HTTP

    def _http(self, get: Object, timeout: float, cancel: Cancel) -> Answer:
        scheme, port, host = str(get.get("scheme", "HTTP")).lower(), self._port(get["port"]), get.get("host") or ""
        origin = f"{scheme}://{host or self.sandbox.ip}:{port}"
        path = "/" + str(get.get("path") or "/").lstrip("/")
        headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
        headers |= {each["name"]: each["value"] for each in get.get("httpHeaders") or ()}
        headers.setdefault("Host", f"{host or self.sandbox.ip}:{port}")
        try:
            for _ in range(_MOST_REDIRECTS):
                with self._connect(port, host, timeout, cancel) as sock, cancel.closing(lambda s=sock: _shut(s)):  # type: ignore[misc]
                    code, where, text = _get(sock, scheme, path, headers)
                target = urlsplit(urljoin(origin + path, where))
                if not where or target.netloc != urlsplit(origin).netloc:
                    break
                path = target.path + (f"?{target.query}" if target.query else "")
        except NotConnected as error:
            return Answer(False, f'Get "{origin}{path}": dial tcp {host or self.sandbox.ip}:{port}: {_dialled(error)}')
        except TimeoutError:
            return Answer(False, f'Get "{origin}{path}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
        except (OSError, http.client.HTTPException) as error:
            return Answer(False, f'Get "{origin}{path}": {str(error) or "EOF"}')
        if 200 <= code < 400:
            return Answer(True, text)
        return Answer(False, f"HTTP probe failed with statuscode: {code}")

    # --- commands

    def _exec(self, command: list[str], timeout: float, cancel: Cancel) -> Answer:
        limit = cancel.child()
        late = threading.Event()

        def expire() -> None:
            late.set()
            limit.cancel()

        timer = threading.Timer(timeout, expire)
        timer.name, timer.daemon = f"probe timeout {self.spec['name']}", True
        timer.start()
        try:
            container = docker_containers.Container(self.container, self.spec["name"], True, {})
            done = docker_containers.execute(self.engine, container, command, limit)
        except Cancelled:
            cancel.check()
            return Answer(False, f'command "{" ".join(command)}" timed out')
        except EngineError as error:
            return Answer(False, error.message)
        finally:
            timer.cancel()
            limit.detach()
        text = (done.output + done.errors)[:MOST_TEXT].strip()
        return Answer(done.code == 0, text or (f"command exited with {done.code}" if done.code else ""))


@contextmanager
def _secured(sock: socket.socket, scheme: str) -> Iterator[socket.socket]:
    if scheme != "https":
        yield sock
        return
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE      # as a kubelet: the pod vouches for itself
    with context.wrap_socket(sock) as secure:
        yield secure


def _get(sock: socket.socket, scheme: str, path: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, where a redirect leads to, and the start of the text."""
    with _secured(sock, scheme) as stream:
        connection = http.client.HTTPConnection("pod")
        connection.sock = stream
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as response:
            where = response.getheader("Location", "") if response.status in (301, 302, 303, 307, 308) else ""
            return response.status, where, response.read(MOST_TEXT).decode(errors="replace")


def _dialled(error: NotConnected) -> str:
    if not error.listening:
        return "connect: connection refused"
    return "i/o timeout" if "in time" in error.reason else f"connect: {error.reason}"


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
