"""What a relay is told: the ports it listens on, and the names it answers for. The bytes are described in relay.c; nothing is sent here."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from devloop.errors import ConfigError

Address = tuple[str, int]
"""An IPv4 address and a port."""


class Type(IntEnum):
    """The types of DNS records that there are here. `ZONE` is ours: no name below it is known to anybody else."""

    ZONE = 0
    A = 1
    CNAME = 5
    SRV = 33


@dataclass(frozen=True)
class Record:
    """One record: its data as in DNS messages."""

    name: str
    type: Type
    data: bytes = b""


@dataclass(frozen=True)
class Listener:
    """Where connections to a port go, in turn. `keeps`: a client goes to the same backend each time."""

    backends: tuple[Address, ...]
    keeps: bool = False


def wire(name: str) -> bytes:
    """A name as in DNS messages, in small letters. Raises `ConfigError` where it cannot be one."""
    labels = name.rstrip(".").lower().encode().split(b".")
    if not all(0 < len(label) < 64 for label in labels) or sum(len(label) + 1 for label in labels) > 254:
        raise ConfigError(f"'{name}' is not a DNS name")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def a(name: str, ip: str) -> Record:
    return Record(name, Type.A, socket.inet_aton(ip))


def cname(name: str, target: str) -> Record:
    return Record(name, Type.CNAME, wire(target))


def srv(name: str, port: int, target: str) -> Record:
    return Record(name, Type.SRV, struct.pack(">HHH", 0, 100, port) + wire(target))


def encode(listeners: Mapping[int, Listener], records: Sequence[Record] = ()) -> bytes:
    """The whole table. Ports without backends are left out: connections to them are refused."""
    served = {port: listener for port, listener in listeners.items() if listener.backends}
    parts = [struct.pack(">H", len(served))]
    for port, listener in served.items():
        parts.append(struct.pack(">HBxH", port, listener.keeps, len(listener.backends)))
        parts += [socket.inet_aton(ip) + struct.pack(">H", number) for ip, number in listener.backends]
    parts.append(struct.pack(">H", len(records)))
    for record in records:
        name = wire(record.name)
        body = struct.pack(">H", len(name)) + name + struct.pack(">H", record.type) + record.data
        parts.append(struct.pack(">H", len(body)) + body)
    return b"".join(parts)
