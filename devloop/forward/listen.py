"""Ports of this machine: listening on the one that is wanted, or the next free one; and who has it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devloop.config.models import PortForward
from devloop.errors import ConfigError, UsageError

BACKLOG = 512
NEXT_PORTS = 100          # tried after the one that is wanted, before any free one will do
PRIVILEGED = 1024
_TAKEN = (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE), getattr(errno, "WSAEACCES", errno.EADDRINUSE))
_LISTEN = "0A"            # the state's number in /proc/net/tcp


@dataclass(frozen=True)
class Listening:
    """Sockets that listen on one port. `instead`: why it is not the one that was wanted, empty where it is."""

    sockets: Sequence[socket.socket]
    port: int
    instead: str = ""

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def listen(forward: PortForward, wanted: int) -> Listening:
    """Listen on `wanted` (0: any port) of the forward's address, or on the next free one.

    Raises `UsageError` where it is taken and the forward is strict, `ConfigError` where the address is none of this machine.
    """
    try:
        return Listening(*_bind(forward.address, wanted))
    except OSError as error:
        why = _why(forward.address, wanted, error)
    if forward.strict:
        raise UsageError(f"cannot forward {forward.resource}: {why}",
                         hint="End what uses the port, choose another localPort, or leave out 'strict' to get the next free one.")
    return Listening(*_next_free(forward.address, wanted), instead=why)


def _next_free(address: str, wanted: int) -> tuple[Sequence[socket.socket], int]:
    first = wanted + 8000 if wanted < PRIVILEGED else wanted + 1     # 80: 8080, 443: 8443
    for port in (*range(first, min(first + NEXT_PORTS, 1 << 16)), 0):
        try:
            return _bind(address, port)
        except OSError as error:
            if error.errno not in (*_TAKEN, errno.EACCES):
                raise ConfigError(f"cannot listen on {address}: {error.strerror}", hint="Mend the forward's 'address'.") from error
    raise UsageError(f"no port of {address} is free")


def _why(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EACCES and port < PRIVILEGED:
        return f"port {port} needs more rights (ports below {PRIVILEGED} do)"
    if error.errno in _TAKEN:
        by = holder(port)
        return f"port {port} is taken" + (f" by {by}" if by else "")
    raise ConfigError(f"cannot listen on {address}: {error.strerror}",
                      hint="'address' must be one of this machine's: 127.0.0.1, localhost, 0.0.0.0 (every network), or ::1.") from error


def _bind(address: str, port: int) -> tuple[Sequence[socket.socket], int]:
    """Listen on every address the name stands for. ``localhost`` may lack IPv6."""
    sockets: list[socket.socket] = []
    try:
        for family, where in _addresses(address):
            try:
                sockets.append(_socket(family, where, port))
            except OSError as error:
                if not sockets or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
            port = sockets[0].getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets, port


def _addresses(address: str) -> Sequence[tuple[int, str]]:
    if address == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(address.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(int(family), str(where[0])) for family, _, _, _, where in found][:1]


def _socket(family: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # a connection of the last run that is not quite over must not keep its port from us
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def holder(port: int) -> str:
    """Which program listens on a port, as ``nginx (process 123)``; empty where that cannot be known."""
    inodes = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return "devloop itself" if int(process.name) == os.getpid() else f"{name} (process {process.name})"
        except OSError:
            continue     # another user's, or gone
    return ""


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
