"""Images in a registry that wants a login from the nodes, too; and the registry that a cluster announces."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.clients.registry_errors import LoginWanted
from devloop.config.models import Registry
from devloop.deploy.apply import Applier
from devloop.deploy.manifests import Rendered, render
from devloop.deploy.pullsecrets import PullSecrets
from devloop.errors import DeployError
from devloop.events import Event, Notice
from devloop.model import BuiltImage, Manifest, ObjectRef
from devloop.pods import ready
from devloop.publish.announced import KEY, LocalRegistry, announced
from devloop.publish.logins import Logins
from devloop.publish.registry import RegistryPublisher
from tests.cluster.registries import PASSWORD, USER, Build, Home, certificate, free_address, registry
from tests.cluster.workloads import container, create, pod_spec, workload

pytestmark = pytest.mark.cluster

BRIDGE = "172.17.0.1"      # an address of this machine that docker does not take for this machine


@contextmanager
def trusted_registry(home: Path, *, passwords: bool) -> Iterator[str]:
    """The address of a registry with TLS whose certificate docker was told to trust."""
    tls, address = certificate(home, BRIDGE), free_address(BRIDGE)
    directory = Path("/etc/docker/certs.d") / address
    try:
        directory.mkdir(parents=True)
    except PermissionError:
        pytest.skip("missing: the right to tell docker of a certificate authority (root)")
    try:
        shutil.copy(tls[0], directory / "ca.crt")
        with registry(home, address, tls=tls, passwords=passwords):
            yield address
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """One that wants a login."""
    with trusted_registry(tmp_path_factory.mktemp("trusted"), passwords=True) as address:
        yield address


class Project:
    """A Deployment whose image is published to `address`, and who is logged in there."""

    def __init__(self, kube: Kube, namespace: str, home: Home, address: str, image: BuiltImage, *, insecure: bool = False) -> None:
        self._kube, self._namespace, self._home, self._address = kube, namespace, home, address
        self.events: list[Event] = []
        publisher = RegistryPublisher(home.engine(address, USER, PASSWORD), Registry(repository=f"{address}/acme", insecure=insecure))
        self._published = publisher.publish(image, lambda _: None, Cancel())
        publisher.close()

    def render(self, secret: str = "", **spec: object) -> Rendered:
        pod = pod_spec(container(image=self._published.artifact, imagePullPolicy="Always"), **spec)
        made = workload("Deployment", "hello", pod)
        return render([Manifest(made, "hello.yaml")], [self._published], name="hello", pull_secret=secret)

    def prepare(self, rendered: Rendered, secret: str = "", *, password: str = PASSWORD) -> tuple[Manifest, ...]:
        engine = self._home.engine(self._address, USER if password else "", password)
        logins = Logins(engine.config, engine.environ, Registry(repository=f"{self._address}/acme"))
        access = PullSecrets(self._kube, engine.environ, name="hello", namespace=self._namespace, secret=secret, login=logins.for_artifact)
        return access.prepare(rendered, self.events.append, Cancel())

    def deploy(self, *manifests: Manifest) -> Applier:
        applier = Applier(self._kube, name="hello", namespace=self._namespace)
        applier.deploy(manifests, self.events.append, Cancel())
        return applier

    @property
    def warnings(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Notice) and e.level == "warning"]


@pytest.fixture
def project(kube: Kube, namespace: str, docker_home: Home, trusted: str, build_image: Build) -> Project:
    return Project(kube, namespace, docker_home, trusted, build_image("hello-web", b"one"))


def await_ready(kube: Kube, namespace: str) -> None:
    eventually(lambda: any(ready(pod) for pod in kube.get(f"/api/v1/namespaces/{namespace}/pods")["items"]))


def test_a_secret_that_devloop_makes_lets_the_nodes_pull(kube, namespace, project):
    rendered = project.render("login")
    (secret,) = project.prepare(rendered, "login")
    applier = project.deploy(secret, *rendered.manifests)
    await_ready(kube, namespace)
    applier.delete(lambda _: None, Cancel())

    assert secret.ref == ObjectRef("v1", "Secret", namespace, "login")
    assert project.warnings == []
    assert PASSWORD not in str(project.events)
    assert kube.get(f"/api/v1/namespaces/{namespace}/secrets", fieldSelector="metadata.name=login")["items"] == []


def test_a_registry_on_this_machine_gets_its_secret_too(tmp_path, kube, namespace, docker_home, build_image):
    with registry(tmp_path / "private", passwords=True) as address:
        project = Project(kube, namespace, docker_home, address, build_image("hello-web", b"here"))
        rendered = project.render("login")
        applier = project.deploy(*project.prepare(rendered, "login"), *rendered.manifests)
        await_ready(kube, namespace)
        applier.delete(lambda _: None, Cancel())
        project.prepare(project.render())

    assert [w.partition(", ")[2] for w in project.warnings] == ["and its pods have no imagePullSecrets"]


def test_a_registry_on_this_machine_that_wants_no_login_gets_an_empty_secret(tmp_path, kube, namespace, docker_home, build_image):
    with registry(tmp_path / "open") as address:
        project = Project(kube, namespace, docker_home, address, build_image("hello-web", b"open"))
        rendered = project.render("login")
        (secret,) = project.prepare(rendered, "login", password="")
        applier = project.deploy(secret, *rendered.manifests)
        await_ready(kube, namespace)
        applier.delete(lambda _: None, Cancel())
        project.prepare(project.render())

    assert project.warnings == []


def test_the_missing_secret_of_an_insecure_registry_is_told(tmp_path, kube, namespace, docker_home, build_image):
    with registry(tmp_path / "insecure", free_address(BRIDGE), passwords=True) as address:
        project = Project(kube, namespace, docker_home, address, build_image("hello-web", b"insecure"), insecure=True)
        project.prepare(project.render())

    (warning,) = project.warnings
    assert warning.endswith(f"{address} wants a login from who pulls {address}/acme/hello-web, and its pods have no imagePullSecrets")


def test_a_missing_pull_secret_is_told_before_the_rollout(project, trusted):
    project.prepare(project.render())

    (warning,) = project.warnings
    assert warning == (f"deployment/hello: {trusted} wants a login from who pulls {trusted}/acme/hello-web, "
                       "and its pods have no imagePullSecrets")


def test_a_pull_secret_that_is_not_there_is_told(project, namespace):
    project.prepare(project.render(imagePullSecrets=[{"name": "login"}]))

    (warning,) = project.warnings
    assert warning.endswith(f"and the pull secret login of its pods does not exist in namespace {namespace}")


@pytest.mark.parametrize(("server", "complaint"), [
    ("elsewhere.example", "and the pull secret login of its pods has no login to it"), ("", "")])
def test_a_pull_secret_for_another_registry_is_told(kube, namespace, project, trusted, server, complaint):
    create(kube, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "type": "kubernetes.io/dockerconfigjson",
                             "stringData": {".dockerconfigjson": f'{{"auths": {{"{server or trusted}": {{"auth": "eDp5"}}}}}}'}})
    project.prepare(project.render(imagePullSecrets=[{"name": "login"}]))

    assert [w.partition(", ")[2] for w in project.warnings] == ([complaint] if complaint else [])


def test_the_service_accounts_pull_secrets_count(kube, namespace, project, trusted):
    create(kube, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "type": "kubernetes.io/dockerconfigjson",
                             "stringData": {".dockerconfigjson": f'{{"auths": {{"{trusted}": {{"auth": "eDp5"}}}}}}'}})
    create(kube, namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"},
                             "imagePullSecrets": [{"name": "login"}]})
    project.prepare(project.render(serviceAccountName="puller"))

    assert project.warnings == []


def test_without_a_login_no_secret_can_be_made(project, trusted):
    with pytest.raises(DeployError, match="there is no login to") as caught:
        project.prepare(project.render("login"), "login", password="")

    assert caught.value.hint == f"Log in: docker login {trusted}"


def test_images_that_anybody_may_pull_need_no_secret(tmp_path, kube, namespace, docker_home, build_image):
    with trusted_registry(tmp_path / "open", passwords=False) as address:
        project = Project(kube, namespace, docker_home, address, build_image("hello-web", b"two"))
        project.prepare(project.render())

    assert project.warnings == []


def test_a_registry_that_only_the_engine_can_reach_is_left_to_it(trusted, docker_home, build_image):
    """And what it says of a login is understood, too."""
    image, nowhere = build_image("hello-web", b"three"), {"HTTPS_PROXY": "http://127.0.0.1:1"}
    publishers = [RegistryPublisher(docker_home.engine(trusted, USER, password, **nowhere), Registry(repository=f"{trusted}/acme"))
                  for password in ("wrong", PASSWORD)]
    try:
        with pytest.raises(LoginWanted, match=f"^the registry {trusted} does not accept the login of user 'tester'"):
            publishers[0].publish(image, lambda _: None, Cancel())
        assert publishers[1].publish(image, lambda _: None, Cancel()).ref.digest
    finally:
        for publisher in publishers:
            publisher.close()


def test_the_registry_that_a_cluster_announces_is_found(kube, namespace):
    before = announced(kube, namespace)
    create(kube, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "local-registry-hosting"},
                             "data": {KEY: "host: localhost:5001\nhostFromContainerRuntime: registry:5000\n"}})

    assert before is None
    assert announced(kube, namespace) == LocalRegistry("localhost:5001", "registry:5000")


def test_who_may_not_look_finds_no_announcement(powerless: str, namespace: str, kubeconfig: str) -> None:
    kube = Kube(kubeconfig=powerless)
    try:
        assert announced(kube, namespace) is None
    finally:
        kube.close()
