"""Networks of an Engine, and where the containers in them are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from devloop.clients.docker import DockerEngine
from devloop.errors import EngineError


@dataclass(frozen=True)
class EngineNetwork:
    """A network, with the labels that its maker gave it."""

    id: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Where a running container is. `published`: host address and port by its own TCP port; an address may be a wildcard."""

    ip: str
    published: Mapping[int, tuple[str, int]]


def create(engine: DockerEngine, name: str, labels: Mapping[str, str]) -> EngineNetwork:
    """A bridge of its own. Raises `EngineError` (409) where the name is taken."""
    with engine.mapped():
        made = cast(Any, engine.connected()).create_network(name, driver="bridge", labels=dict(labels), check_duplicate=True)
    return EngineNetwork(made["Id"], name, labels)


def labelled(engine: DockerEngine, *labels: str) -> list[EngineNetwork]:
    """The networks that have all these labels (``KEY=VALUE``)."""
    with engine.mapped():
        found = cast(Any, engine.connected()).networks(filters={"label": list(labels)})
    return [EngineNetwork(network["Id"], network["Name"], network.get("Labels") or {}) for network in found]


def remove(engine: DockerEngine, network_id: str) -> None:
    """No error where it has gone. Raises `EngineError` (403) while containers are in it."""
    try:
        with engine.mapped():
            engine.connected().remove_network(network_id)
    except EngineError as error:
        if error.status != 404:
            raise


def place(engine: DockerEngine, container_id: str, network: str) -> Place:
    """Raises `EngineError` where the container has ended: it is nowhere then."""
    with engine.mapped():
        shown = cast(dict[str, Any], cast(Any, engine.connected()).inspect_container(container_id))
    settings = shown["NetworkSettings"]
    ip = (settings["Networks"].get(network) or {}).get("IPAddress")
    if not ip:
        raise EngineError(f"container {shown['Name'].lstrip('/')} has no address in network {network}: it is {shown['State']['Status']}",
                          status=0)
    published = {int(port.partition("/")[0]): (bound[0]["HostIp"], int(bound[0]["HostPort"]))
                 for port, bound in (settings.get("Ports") or {}).items() if bound and port.endswith("/tcp")}
    return Place(ip, published)


def create_container(engine: DockerEngine, name: str, config: Mapping[str, Any]) -> str:
    with engine.mapped():
        return str(cast(Any, engine.connected()).create_container_from_config(dict(config), name)["Id"])


def start_container(engine: DockerEngine, container: str) -> None:
    with engine.mapped():
        engine.connected().start(container)


def remove_container(engine: DockerEngine, container: str) -> None:
    try:
        with engine.mapped():
            engine.connected().remove_container(container, force=True, v=True)
    except EngineError as error:
        if error.status not in (404, 409):
            raise
