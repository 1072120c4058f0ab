"""A local target whose node runs nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devloop.local.kube import LocalKube
from devloop.local.store import Store
from tests.unit.local.node import Node, cluster


@pytest.fixture
def local() -> Iterator[tuple[LocalKube, Store, Node]]:
    with cluster() as parts:
        yield parts


@pytest.fixture
def kube(local: tuple[LocalKube, Store, Node]) -> LocalKube:
    return local[0]


@pytest.fixture
def store(local: tuple[LocalKube, Store, Node]) -> Store:
    return local[1]


@pytest.fixture
def node(local: tuple[LocalKube, Store, Node]) -> Node:
    return local[2]
