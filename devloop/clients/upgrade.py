"""HTTP/1.1 upgrades at the API server: a connection that starts as a request and goes on as something else.

Through a proxy (``CONNECT``) where the kubeconfig or the environment names one.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from devloop.clients.kube import CONNECT_TIMEOUT, Endpoint, Kube
from devloop.errors import ApiError, DevloopError, UnreachableError

ANSWER_TIMEOUT = 30.0     # an API server that cannot reach the node's kubelet says so within this time
BUFFER = 1 << 17          # asyncio stops reading at twice this
READ = 1 << 18
ERROR_BODY = 1 << 16


class Refused(Exception):
    """There was no upgrade. `status` is the HTTP status (0: the connection was closed without an answer), `reason` what was said."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{reason} (HTTP {status})")
        self.status = status
        self.reason = reason

    @property
    def about_pod(self) -> bool:
        """Whether the pod's state is the reason: no container yet (500), no node yet (400), gone (404). Else it is the protocol, or us."""
        return self.status in (404, 500) or (self.status == 400 and "host assigned" in self.reason)


def unreachable(kube: Kube, error: OSError) -> UnreachableError:
    """What `upgrade` raised, for a user."""
    said = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return UnreachableError(f"the API server {kube.server} (context '{kube.context}') cannot be reached: {said}",
                            hint="Is the cluster running, and the network there?")


def denied(kube: Kube, refused: Refused, what: str, resource: str) -> DevloopError:
    """A refusal that is not about a pod, for a user. `what` was not done ('forward ports'), `resource` is what it takes the right to."""
    where = f"context '{kube.context}'"
    if refused.status == 401:
        return UnreachableError(f"the cluster of {where} does not accept our credentials (401: {refused.reason})",
                                hint="Log in again as your cluster asks for it, then see whether 'kubectl get pods' works.")
    if refused.status == 403:
        return ApiError(f"the cluster of {where} does not let us {what}: {refused.reason}", status=403, reason="Forbidden", body={},
                        hint=f"It takes the right to 'create' {resource}, and for websockets to 'get' it.")
    return UnreachableError(f"the API server {kube.server} ({where}) does not {what}: {refused}",
                            hint="Is there a proxy or gateway on the way that lets neither websockets nor SPDY pass?")


class Wire(Protocol):
    """Bytes both ways, with back-pressure: `drain` waits while the other side does not read, unread bytes stop the sender.

    `read` returns whatever has come, so that what came in many frames can go on in one piece; raises OSError at the end.
    """

    async def read(self) -> bytes: ...
    def write(self, *parts: bytes) -> None: ...
    async def drain(self) -> None: ...
    def ended(self) -> bool: ...
    def close(self) -> None: ...


class StreamWire:
    """A `Wire` on asyncio's streams. `close` drops the connection at once: no farewell is waited for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.drain = writer.drain
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        data = await self._reader.read(READ)
        if not data:
            raise ConnectionResetError("the connection has ended")
        return data

    def write(self, *parts: bytes) -> None:
        # one write, so that a header does not travel in a TLS record of its own
        self._writer.write(b"".join(parts))

    def ended(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        self._writer.transport.abort()


async def upgrade(endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str]) -> tuple[Mapping[str, str], StreamWire]:
    """Ask for an upgrade and return the answer's headers (names in lower case) and the upgraded connection.

    Raises `Refused`, and OSError (also for TLS, for what a proxy says, and TimeoutError).
    """
    async with asyncio.timeout(CONNECT_TIMEOUT):
        reader, writer = await _connect(endpoint)
    try:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        wanted = {"Host": f"{host}:{endpoint.port}", "Connection": "Upgrade", **endpoint.headers, "Accept": "*/*", **headers}
        _send(writer, f"{method} {endpoint.prefix}{path} HTTP/1.1", wanted)
        async with asyncio.timeout(ANSWER_TIMEOUT):
            try:
                status, answer = await _answer(reader)
            except asyncio.IncompleteReadError as error:
                raise Refused(0, "the connection was closed without an answer") from error
            if status != 101:
                raise Refused(status, await _said(reader, answer))
    except BaseException:
        writer.transport.abort()
        raise
    return answer, StreamWire(reader, writer)


async def _connect(endpoint: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    server_name = endpoint.server_name if endpoint.ssl_context else None
    if not endpoint.proxy:
        streams = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=endpoint.ssl_context, server_hostname=server_name,
                                                limit=BUFFER, happy_eyeballs_delay=0.25)
        _keep_alive(streams[1])
        return streams
    proxy = urlsplit(endpoint.proxy)
    secure = proxy.scheme == "https"
    reader, writer = await asyncio.open_connection(proxy.hostname, proxy.port or (443 if secure else 80), limit=BUFFER,
                                                   ssl=ssl.create_default_context() if secure else None)
    try:
        await _through(reader, writer, proxy, endpoint)
        if endpoint.ssl_context:
            await writer.start_tls(endpoint.ssl_context, server_hostname=server_name)
    except BaseException:
        writer.transport.abort()
        raise
    _keep_alive(writer)
    return reader, writer


async def _through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: SplitResult, endpoint: Endpoint) -> None:
    target = f"[{endpoint.host}]:{endpoint.port}" if ":" in endpoint.host else f"{endpoint.host}:{endpoint.port}"
    headers = {"Host": target}
    if proxy.username:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    _send(writer, f"CONNECT {target} HTTP/1.1", headers)
    try:
        status, _ = await _answer(reader)
    except asyncio.IncompleteReadError:
        status = 0
    if status != 200:
        raise OSError(f"the proxy {proxy.hostname}:{proxy.port} does not connect us to {target} (HTTP {status})")


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _send(writer: asyncio.StreamWriter, request: str, headers: Mapping[str, str]) -> None:
    writer.write("\r\n".join((request, *(f"{name}: {value}" for name, value in headers.items()), "", "")).encode())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise OSError("the answer is no HTTP") from error
    first, *rest = head.split("\r\n")
    words = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or not words[1].isdigit():
        raise OSError(f"the answer is no HTTP: {first[:100]}")
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}


async def _said(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> str:
    """The body of an error: a ``Status`` object's message, or the text as it is."""
    length = headers.get("content-length", "")
    try:
        if length.isdigit():
            body = await reader.readexactly(min(int(length), ERROR_BODY))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = await reader.readexactly(int((await reader.readline()).split(b";")[0], 16))   # the first chunk has it all
        else:
            body = await reader.read(ERROR_BODY)
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return "no reason given"
    text = body.decode(errors="replace").strip()
    try:
        status = json.loads(text)
    except ValueError:
        return text
    return str(status.get("message") or text) if isinstance(status, dict) else text
