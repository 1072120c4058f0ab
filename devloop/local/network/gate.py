"""The way into the project's network: one published port on this machine, that of the hub's relay. The protocol is described in relay.c.

Every relay has a token of its own, so that what was meant for one never reaches another that has got its address.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from devloop.cancel import Cancel
from devloop.clients.duplex import NotConnected
from devloop.errors import UnreachableError

PORT = 61001             # every relay's gate, inside its container: above the ports that connections of its own may come from
_LOCALHOST = "0.0.0.0"   # as the relay reads it: the host itself
_REFUSED = errno.ECONNREFUSED


class Mode(IntEnum):
    RAW = 0
    FRAMED = 1
    TABLE = 2


def hello(token: bytes, mode: Mode, port: int, ip: str = _LOCALHOST) -> bytes:
    """Asks the relay with this token for a connection to `ip`, by default to its own localhost."""
    return token + struct.pack(">BxH", mode, port) + socket.inet_aton(ip)


@dataclass(frozen=True)
class Inner:
    """A relay behind the hub: a pod's or a Service's."""

    ip: str
    token: bytes = field(repr=False)


@dataclass(frozen=True)
class Gate:
    """The hub's published port, and its token."""

    host: str
    port: int
    token: bytes = field(repr=False)

    def to(self, ip: str, mode: Mode, port: int) -> bytes:
        """Asks the hub for a port of `ip`. It answers with a byte."""
        return hello(self.token, mode, port, ip)

    def through(self, inner: Inner, mode: Mode, port: int) -> bytes:
        """Asks the hub for another relay's gate, and that for a port of its localhost. Both answer with a byte."""
        return self.to(inner.ip, Mode.RAW, PORT) + hello(inner.token, mode, port)

    def connect(self, request: bytes, answers: int, cancel: Cancel, *, timeout: float = 10.0) -> socket.socket:
        """The connection that `request` asks for.

        Raises `NotConnected`; `UnreachableError` where the hub does not answer; `Cancelled`. The socket keeps the timeout (seconds).
        """
        sock = self._opened(timeout)
        try:
            with cancel.closing(lambda: _shut(sock)):
                sock.sendall(request)
                for _ in range(answers):
                    check(sock.recv(1))
        except OSError as error:
            sock.close()
            raise NotConnected("no answer in time" if isinstance(error, TimeoutError) else str(error)) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def tell(self, table: bytes, inner: Inner | None = None) -> None:
        """Put a table in force in a relay, by default in the hub. Raises `NotConnected` and `UnreachableError`."""
        asked = struct.pack(">BxHI", Mode.TABLE, 0, len(table)) + table
        request = self.to(inner.ip, Mode.RAW, PORT) + inner.token + asked if inner else self.token + asked
        self.connect(request, 2 if inner else 1, Cancel()).close()

    def _opened(self, timeout: float) -> socket.socket:
        try:
            sock = socket.create_connection((self.host, self.port), timeout)
        except OSError as error:
            raise self.unreachable(error) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def unreachable(self, error: OSError) -> UnreachableError:
        return UnreachableError(f"the project's network in the Docker Engine cannot be reached at {self.host}:{self.port}: {error}",
                                hint="Has its container (devloop-…-hub) been removed, or does the Engine run on another machine? "
                                     "Its ports must be published on this one.")


def check(answer: bytes) -> None:
    """What a relay says to a hello. Raises `NotConnected`."""
    if not answer:
        raise NotConnected("the pod's network has gone")
    if answer[0] == _REFUSED:
        raise NotConnected("connection refused", listening=False)
    if answer[0]:
        raise NotConnected(os.strerror(answer[0]).lower())


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
