"""Images' names."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HUB = "index.docker.io"


class NameRefused(ValueError):
    pass


@dataclass(frozen=True)
class Name:
    text: str                   # as it was given
    registry: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    @property
    def reference(self) -> str:
        return self.digest or self.tag

    @property
    def without_tag(self) -> str:
        return f"{self.registry}/{self.repository}"


def parse(text: str) -> Name:
    rest, _, digest = text.partition("@")
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, rest = head, tail
    else:
        registry = HUB
    repository, _, tag = rest.partition(":")
    registry = HUB if registry == "docker.io" else registry
    if not 2 <= len(repository) <= 255:
        raise NameRefused(f"repository must be between 2 and 255 characters in length: {repository}")
    if not re.fullmatch(r"[a-z0-9_./-]+", repository):
        raise NameRefused(f"repository can only contain the characters `abcdefghijklmnopqrstuvwxyz0123456789_-./`: {repository}")
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Name(text, registry, repository, tag or "latest", digest)


def private(registry: str) -> bool:
    """Plain HTTP is tried there, too, without being asked for."""
    host = registry.partition(":")[0]
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8") or ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost"))
