"""The way into the project's network: one published port on this machine, that of the hub's relay. The protocol is described in relay.c."""

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


@dataclass(frozen=True)
class Gate:
    """The hub's published port, and the session's token that it asks for first."""

    host: str
    port: int
    token: bytes = field(repr=False)

    def hello(self, mode: Mode, port: int, ip: str = _LOCALHOST) -> bytes:
        """Asks a relay for a connection to `ip`, by default to its own localhost."""
        return self.token + struct.pack(">BxH", mode, port) + socket.inet_aton(ip)

    def through(self, ip: str, mode: Mode, port: int) -> bytes:
        """Asks the hub for the gate at `ip`, and that for `port` of its localhost. Both answer with a byte."""
        return self.hello(Mode.RAW, PORT, ip) + self.hello(mode, port)

    def connect(self, ip: str, port: int, cancel: Cancel, *, localhost: bool = False, timeout: float = 10.0) -> socket.socket:
        """A connection to a port of the pod at `ip`; `localhost`: to one that listens there on its localhost only.

        Raises `NotConnected`; `UnreachableError` where the hub does not answer; `Cancelled`. The socket keeps the timeout (seconds).
        """
        hello = self.through(ip, Mode.RAW, port) if localhost else self.hello(Mode.RAW, port, ip)
        sock = self._opened(timeout)
        try:
            with cancel.closing(lambda: _shut(sock)):
                sock.sendall(hello)
                for _ in range(2 if localhost else 1):
                    check(sock.recv(1))
        except OSError as error:
            sock.close()
            raise NotConnected("no answer in time" if isinstance(error, TimeoutError) else str(error)) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def tell(self, table: bytes, ip: str = "", *, timeout: float = 10.0) -> None:
        """Put a table in force in the relay at `ip`, by default in the hub itself. Raises `NotConnected` and `UnreachableError`."""
        asked = self.token + struct.pack(">BxHI", Mode.TABLE, 0, len(table)) + table
        with self._opened(timeout) as sock:
            try:
                sock.sendall(self.hello(Mode.RAW, PORT, ip) + asked if ip else asked)
                for _ in range(2 if ip else 1):
                    check(sock.recv(1))
            except OSError as error:
                raise NotConnected(str(error)) from error

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
