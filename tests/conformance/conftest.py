"""The targets as a fixture, to be parametrized with their names; a case that a target cannot show is no test there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from devloop.clients.kube import Kube
from tests.cluster.conftest import kube, kubeconfig  # noqa: F401  fixtures
from tests.cluster.workloads import await_service_account
from tests.conformance.cases import statements
from tests.conformance.targets import LACKS, Target


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target by its name, with a namespace of its own."""
    namespace = f"conformance-{secrets.token_hex(4)}"
    if request.param == "docker":
        yield Target("docker", namespace, ["--local"], {"KUBECONFIG": os.devnull})
        return
    client: Kube = request.getfixturevalue("kube")
    client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
    await_service_account(client, namespace)
    yield Target("kubernetes", namespace, [], {"KUBECONFIG": request.getfixturevalue("kubeconfig")})
    client.request("DELETE", f"/api/v1/namespaces/{namespace}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that need what a target lacks."""
    needs = {name: stated.get("needs") for group in ("together", "endings") for name, stated in statements(group).items()}

    def lacking(item: pytest.Item) -> bool:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        return needs.get(params.get("name", "")) in LACKS.get(params.get("target", ""), {})

    if left_out := [item for item in items if lacking(item)]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
