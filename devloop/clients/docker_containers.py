"""Containers of an Engine, as far as they are a cluster's nodes: which there are, and programs that run in them."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.feeding import feeding
from devloop.clients.process import Captured
from devloop.errors import EngineError

_HEADER = 8      # bytes before each piece of output: the stream's number (1 output, 2 errors), and its length in the last four


@dataclass(frozen=True)
class Container:
    """A container, with the labels that its maker gave it."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]


def labelled(engine: DockerEngine, *labels: str) -> list[Container]:
    """The containers, running or not, that have all these labels (``KEY=VALUE``), by name."""
    with engine.mapped():
        listed = cast(list[dict[str, Any]], cast(Any, engine.connected()).containers(all=True, filters={"label": list(labels)}))
    found = [Container(c["Id"], c["Names"][0].lstrip("/"), c["State"] == "running", c.get("Labels") or {}) for c in listed]
    return sorted(found, key=lambda container: container.name)


def feedable(engine: DockerEngine) -> bool:
    """Whether `execute` can tell a program that its input has ended: TLS as Python has it cannot close one direction alone."""
    return engine.endpoint.tls is None


def execute(engine: DockerEngine, container: Container, argv: Sequence[str], cancel: Cancel,
            stdin: Iterable[bytes] | None = None) -> Captured:
    """Run a program in the container to its end. What `stdin` raises is raised; `stdin` wants an engine that is `feedable`.

    Raises `EngineError`, `UnreachableError` or `Cancelled`. The Engine cannot end an exec: a cancelled one finds its input at an end.
    """
    with engine.mapped():
        execution = cast(Any, engine.connected()).exec_create(container.id, list(argv), stdin=stdin is not None)["Id"]
    request = json.dumps({"Detach": False, "Tty": False})
    said: dict[int, list[bytes]] = {1: [], 2: []}
    headers = {"Content-Type": "application/json", "Content-Length": str(len(request))}
    with engine.mapped(), engine.connection("POST", f"/exec/{execution}/start", cancel, headers=headers) as (connection, prepared):
        sock = connection.sock       # the connection itself lets go of it once the answer has begun
        connection.request("POST", prepared.path_url, request, headers=cast(Any, prepared.headers), preload_content=False)
        with engine.answer(connection) as response, feeding("exec-stdin", stdin, sock.sendall, lambda: _shut(sock, socket.SHUT_WR),
                                                            lambda: _shut(sock, socket.SHUT_RDWR)):
            while header := response.read(_HEADER):
                said.setdefault(header[0], []).append(response.read(int.from_bytes(header[4:])))
    with engine.mapped():
        code = cast(Any, engine.connected()).exec_inspect(execution)["ExitCode"]
    if code is None:
        raise EngineError(f"{argv[0]} in {container.name} was cut off", status=0)
    return Captured(code, *(b"".join(said[stream]).decode(errors="replace") for stream in (1, 2)))


def _shut(sock: socket.socket, how: int) -> None:
    assert not isinstance(sock, ssl.SSLSocket)
    with suppress(OSError):
        sock.shutdown(how)
