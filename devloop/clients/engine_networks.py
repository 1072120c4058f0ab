"""Networks of an Engine, and where the containers in them are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from devloop.clients.docker import DockerEngine
from devloop.errors import EngineError
from devloop.model import Object


@dataclass(frozen=True)
class Place:
    """Where a running container is. `published`: this machine's port by the container's own TCP port."""

    ip: str
    published: Mapping[int, int]


def create(engine: DockerEngine, name: str, labels: Mapping[str, str]) -> str:
    """A bridge of its own: its id. Raises `EngineError` (409) where the name is taken."""
    with engine.mapped():
        return str(cast(Any, engine.connected()).create_network(name, driver="bridge", labels=dict(labels), check_duplicate=True)["Id"])


def remove(engine: DockerEngine, network: str) -> bool:
    """False where it stays: a container is in it, or an Engine under load takes one for being there that has gone (seen with 20.10)."""
    try:
        with engine.mapped():
            engine.connected().remove_network(network)
    except EngineError as error:
        if error.status not in (403, 404):
            raise
        return error.status == 404
    return True


def place(inspected: Object, network: str) -> Place:
    """From what the Engine shows of a container. Raises `EngineError` where it has ended: it is nowhere then."""
    settings = inspected.get("NetworkSettings") or {}
    ip = ((settings.get("Networks") or {}).get(network) or {}).get("IPAddress")
    if not ip:
        name, state = inspected.get("Name", "").lstrip("/"), (inspected.get("State") or {}).get("Status", "gone")
        raise EngineError(f"container {name} has no address in network {network}: it is {state}", status=0)
    return Place(ip, {int(port.partition("/")[0]): int(bound[0]["HostPort"])
                      for port, bound in (settings.get("Ports") or {}).items() if bound and port.endswith("/tcp")})
