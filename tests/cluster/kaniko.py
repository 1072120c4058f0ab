"""What builds in the cluster need: a registry that pods can reach, with a base image in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.registry import Registry
from devloop.publish.meter import Meter
from devloop.publish.uploader import Uploader
from tests.cluster.registries import PASSWORD, USER, free_address, registry

BASE = "busybox:1.36"


def node_address(api: docker.APIClient) -> str:
    """Where the Engine's containers, and with them the pods, reach this machine."""
    config = api.inspect_network("bridge")["IPAM"]["Config"][0]
    return str(config.get("Gateway") or next(ip_network(config["Subnet"]).hosts()))     # an Engine's first start does not tell it


@contextmanager
def pods_registry(api: docker.APIClient, home: Path, **more: Any) -> Iterator[str]:
    """Its address, for pods and for this machine; `BASE` is in it. `more`: as for `registry`."""
    with registry(home, free_address(node_address(api)), **more) as address:
        put(address, BASE)
        yield address


def put(address: str, image: str) -> None:
    """Have an image of the Engine in that registry, under its own name."""
    login = {"username": USER, "password": PASSWORD}
    with closing(Registry(address, {}, lambda _: login, insecure=True)) as target, closing(DockerEngine({})) as engine:
        found = engine.image(image)
        assert found
        repository, _, tag = image.partition(":")
        Uploader(engine, target, near=False).upload(found["Id"], repository, tag, Meter(image, lambda _: None), Cancel())
