"""The real things the tests run against: a Kubernetes, the Docker Engine whose images it sees, a registry.

Nothing is stood in for. Where a real thing is missing, `up` makes it (as root on Debian 12), or DEVLOOP_TEST_KUBECONFIG names
a cluster that is there already; else the test skips and says what is missing.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import docker
import pytest
import yaml
from project import Project

from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.errors import ApiError
from tests.cluster import addon, registries
from tests.cluster.cut import CuttableProxy
from tests.cluster.localpods import Local, session
from tests.cluster.registries import build_image, docker_home  # noqa: F401  fixtures
from tests.cluster.workloads import await_service_account

HERE = Path(__file__).parent
KANIKO = "devloop-test-kaniko:1"      # of tests/standins/kaniko, made by `up`


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """The path of a kubeconfig whose current context is a cluster that uses this machine's Docker Engine."""
    if given := os.environ.get("DEVLOOP_TEST_KUBECONFIG"):
        return given
    if os.geteuid() != 0:
        pytest.skip("missing: a cluster (set DEVLOOP_TEST_KUBECONFIG, or run as root on Debian 12 for one of our own)")
    with subprocess.Popen([HERE / "up"], stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout
        path = up.stdout.read().strip()
    assert up.returncode == 0, "tests/cluster/up failed, see its messages above"
    return path


@pytest.fixture(scope="session")
def kube(kubeconfig: str) -> Iterator[Kube]:
    """The cluster, through devloop's own client."""
    client = Kube(kubeconfig=kubeconfig)
    yield client
    client.close()


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A fresh namespace that pods can be created in; it is deleted at the end, without waiting for that."""
    name = f"devloop-test-{secrets.token_hex(4)}"
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await_service_account(kube, name)
    yield name
    try:
        kube.request("DELETE", f"/api/v1/namespaces/{name}")
    except ApiError as error:
        if error.status not in (404, 409):   # gone, or going already
            raise


@pytest.fixture
def powerless(kube: Kube, namespace: str, kubeconfig: str, tmp_path: Path) -> str:
    """The path of a kubeconfig for the namespace's default service account, which may do nothing unless it is given a right."""
    asked = kube.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token", body={
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    content = yaml.safe_load(Path(kubeconfig).read_text())
    content["users"] = [{"name": user["name"], "user": {"token": asked["status"]["token"]}} for user in content["users"]]
    file = tmp_path / "powerless"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.fixture
def proxied(kubeconfig: str, tmp_path: Path) -> Iterator[tuple[Kube, CuttableProxy]]:
    """The cluster through a proxy that fails on demand."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].rpartition("/")[2].partition(":")
    with CuttableProxy(host, int(port)) as proxy:
        config["clusters"][0]["cluster"] |= {"server": f"https://127.0.0.1:{proxy.port}", "tls-server-name": host}
        file = tmp_path / "proxied"
        file.write_text(yaml.safe_dump(config))
        client = Kube(kubeconfig=str(file))
        yield client, proxy
        client.close()


@pytest.fixture
def docker_api(kubeconfig: str) -> Iterator[docker.APIClient]:
    """This machine's Docker Engine."""
    client = docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")
    yield client
    client.close()


@pytest.fixture(scope="session")
def kaniko_image(kubeconfig: str) -> str:
    """An executor's image that the cluster's node has: the stand-in, or the one that DEVLOOP_TEST_KANIKO_IMAGE names."""
    return os.environ.get("DEVLOOP_TEST_KANIKO_IMAGE", KANIKO)


@pytest.fixture
def docker_processes(docker_api: docker.APIClient) -> Callable[[], list[str]]:
    """Tells the command lines that run in the Engine's containers now."""
    def processes() -> list[str]:
        found = []
        for container in docker_api.containers():
            with suppress(docker.errors.APIError):      # it has ended meanwhile
                top = docker_api.top(container["Id"])
                found += [process[-1] for process in top["Processes"] or ()]
        return found

    return processes


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """A real registry, empty at first: its address as images name it (``127.0.0.1:PORT``), plain HTTP, deletes allowed."""
    with registries.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def registry_addon(kube: Kube) -> Iterator[None]:
    """minikube's registry addon is in the cluster; its nodes pull from it as ``localhost:5000``."""
    with closing(docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")) as api, addon.deployed(kube, api):
        yield


@pytest.fixture
def project(tmp_path: Path, namespace: str, kubeconfig: str, docker_api: docker.APIClient) -> Iterator[Project]:
    """The example, ready to run; the images that are built of it are removed at the end."""
    image = f"hello-{namespace.rpartition('-')[2]}"
    yield Project.create(tmp_path / "hello", namespace, kubeconfig, image, free_port())
    for built in docker_api.images(f"{image}*") + docker_api.images(f"base-{image}*"):
        for tag in built["RepoTags"] or ():
            docker_api.remove_image(tag, force=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def local(engine: DockerEngine) -> Iterator[Local]:
    """A local target without controllers: tests make its pods."""
    with session(engine) as local:
        yield local


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
