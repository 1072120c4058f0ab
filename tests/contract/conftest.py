"""Contract tests: what the tools say and do, asked of the stand-ins in tests/standins, and of the real tools where
DEVLOOP_TEST_REAL_TOOLS names them (``kind,k3d``) and they are on PATH."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import docker
import pytest
from cluster.conftest import build_image, docker_api, kube, kubeconfig  # noqa: F401  fixtures
from standins.nodes import Nodes, build_node_image

from devloop.clients.docker import DockerEngine
from devloop.model import BuiltImage, ImageRef

STANDINS = Path(__file__).parents[1] / "standins"
REAL = os.environ.get("DEVLOOP_TEST_REAL_TOOLS", "").split(",")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`tools` names the module's tool: a test that takes `environ` runs with its stand-in, and with the real one."""
    tool = getattr(metafunc.module, "TOOL", "")
    if "environ" in metafunc.fixturenames:
        metafunc.parametrize("environ", ["stand-in", *(["real"] if tool in REAL and shutil.which(tool) else [])], indirect=True)


@pytest.fixture
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """In its PATH the tool is the stand-in, or the real one."""
    return environment(tmp_path, [] if request.param == "real" else [STANDINS])


@pytest.fixture
def standin_environ(tmp_path: Path) -> Mapping[str, str]:
    """In its PATH the tools are the stand-ins."""
    return environment(tmp_path, [STANDINS])


def environment(home: Path, tools: Sequence[Path]) -> Mapping[str, str]:
    path = os.pathsep.join([str(STANDINS / "unprivileged"), *map(str, tools), os.environ["PATH"]])
    return dict(os.environ) | {"HOME": str(home), "MINIKUBE_HOME": str(home / "minikube"), "PATH": path}


@pytest.fixture
def engine(docker_api: docker.APIClient) -> Iterator[DockerEngine]:  # noqa: F811
    engine = DockerEngine(os.environ)
    yield engine
    engine.close()


@pytest.fixture
def image(docker_api: docker.APIClient) -> Iterator[BuiltImage]:  # noqa: F811
    """A new image, with a file of its own."""
    ref = ImageRef(f"devloop-test-{secrets.token_hex(4)}", "1")
    container = docker_api.create_container("busybox:1.36", ["sh", "-c", f"echo {ref} >/which"])["Id"]
    docker_api.start(container)
    docker_api.wait(container)
    docker_api.commit(container, ref.repository, ref.tag)
    docker_api.remove_container(container)
    yield BuiltImage("web", ref, docker_api.inspect_image(str(ref))["Id"])
    docker_api.remove_image(str(ref), force=True)


@pytest.fixture(scope="session")
def node_image(kubeconfig: str) -> None:  # noqa: F811
    api = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    try:
        build_node_image(api)
    finally:
        api.close()


@pytest.fixture
def make_nodes(docker_api: docker.APIClient, node_image: None) -> Iterator[Callable[[str, int], Nodes]]:  # noqa: F811
    """Makes the nodes of a cluster of this tool: ``make_nodes("kind", 2)``."""
    made: list[Nodes] = []

    def make(tool: str, count: int) -> Nodes:
        made.append(Nodes(docker_api, tool, f"devloop-test-{secrets.token_hex(4)}", count))
        return made[-1]

    yield make
    for nodes in made:
        nodes.close()
