"""Images published to real registries of every kind, by the real Engine and by our own uploader."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import LoginWanted
from devloop.config import models
from devloop.errors import Cancelled, ConfigError, PublishError, UnreachableError
from devloop.events import Event, StepFinished, StepProgress, StepStarted
from devloop.model import BuiltImage, ImageRef
from devloop.publish.built import layers
from devloop.publish.meter import Meter
from devloop.publish.registry import RegistryPublisher
from devloop.publish.uploader import Uploader
from tests.cluster.registries import PASSWORD, USER, Route, TokenServer, certificate, free_address, registry

pytestmark = pytest.mark.cluster

BRIDGE = "172.17.0.1"      # an address of this machine that docker does not take for this machine


class Publishing:
    """One publisher, and what it has told."""

    def __init__(self, engine: DockerEngine, repository: str, **more: object) -> None:
        self.publisher = RegistryPublisher(engine, models.Registry(repository=repository, **more))  # type: ignore[arg-type]
        self.events: list[Event] = []

    def __enter__(self) -> Publishing:
        return self

    def __exit__(self, *_: object) -> None:
        self.publisher.close()

    def publish(self, image: BuiltImage, cancel: Cancel | None = None) -> ImageRef:
        return self.publisher.publish(image, self.events.append, cancel or Cancel()).ref


def refused(engine: DockerEngine, repository: str, image: BuiltImage, **more: object) -> PublishError | UnreachableError:
    with Publishing(engine, repository, **more) as publishing, pytest.raises((PublishError, UnreachableError)) as caught:
        publishing.publish(image)
    return caught.value


# --- by the Engine

def test_an_image_is_pushed_under_its_new_name_and_deployed_by_digest(tmp_path, docker_home, build_image, docker_api):
    image = build_image("team/hello-web", b"one")
    with registry(tmp_path / "registry") as address, \
            Publishing(docker_home.engine(), f"{address}/acme", pull_repository="reg.example/acme") as p:
        ref = p.publish(image)
        pulled = docker_api.inspect_distribution(f"{address}/acme/team/hello-web@{ref.digest}")

    assert ref == ImageRef("reg.example/acme/team/hello-web", image.ref.tag, pulled["Descriptor"]["digest"])
    assert p.events[0] == StepStarted("publish", "team/hello-web")
    finished = p.events[-1]
    assert isinstance(finished, StepFinished)
    assert (finished.step, finished.subject, finished.cached) == ("publish", "team/hello-web", False)
    assert finished.detail.startswith(f"{ref}, ")
    assert any(isinstance(e, StepProgress) and e.unit == "bytes" and e.detail.endswith("/s") for e in p.events) or "sent" in finished.detail
    assert docker_api.inspect_image(image.image_id)["RepoTags"] == [str(image.ref)]


def test_what_the_registry_has_is_not_pushed_again_in_this_session_or_the_next(tmp_path, docker_home, build_image):
    image = build_image("hello-web", b"one")
    with registry(tmp_path / "registry") as address, Route(address) as route:
        for _ in range(2):
            with Publishing(docker_home.engine(), route.address) as p:
                ref = p.publish(image)
                before = route.sent
                assert p.publish(image) == ref
                assert isinstance(p.events[-1], StepFinished)
                assert p.events[-1].cached
        assert route.sent - before < 3000      # the questions whether it is there


def test_an_image_that_the_registry_lost_is_pushed_again(tmp_path, docker_home, build_image):
    image = build_image("hello-web", b"one")
    address = free_address()
    with Publishing(docker_home.engine(), address) as p:
        with registry(tmp_path / "first", address):
            ref = p.publish(image)
        with registry(tmp_path / "second", address):
            assert p.publish(image) == ref
            assert not p.events[-1].cached     # type: ignore[attr-defined]


def test_another_image_under_the_same_tag_is_pushed(tmp_path, docker_home, build_image):
    one, other = build_image("hello-web", b"one"), build_image("hello-web", b"two")
    with registry(tmp_path / "registry") as address, Publishing(docker_home.engine(), address) as p:
        assert p.publish(one).digest != p.publish(BuiltImage("hello-web", one.ref, other.image_id)).digest


def test_an_engine_push_is_cancelled_at_once(tmp_path, docker_home, build_image):
    image = build_image("hello-web", os.urandom(30_000_000))
    cancel = Cancel()

    class Cancelling(Route):
        def passing(self, data: bytes, sink: object) -> None:
            super().passing(data, sink)        # type: ignore[arg-type]
            if self.sent > 5_000_000:
                self.silence()
                threading.Thread(target=cancel.cancel, args=("a newer save",)).start()

    with registry(tmp_path / "registry") as address, Cancelling(address) as route, Publishing(docker_home.engine(), route.address) as p, \
            pytest.raises(Cancelled, match="a newer save"):
        p.publish(image, cancel)


def test_without_a_repository_an_image_must_name_its_registry(docker_home, build_image):
    with Publishing(docker_home.engine(), "") as p, \
            pytest.raises(ConfigError, match=r"^publish\.registry\.repository is missing: hello-web names no"):
        p.publish(build_image("hello-web"))


# --- logins

@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """A registry with passwords."""
    with registry(tmp_path_factory.mktemp("private"), passwords=True) as address:
        yield address


def test_the_docker_configurations_login_is_used(private, docker_home, build_image):
    with Publishing(docker_home.engine(private, USER, PASSWORD), private) as p:
        assert p.publish(build_image("with-login", b"one")).digest


def test_in_ci_the_environments_login_comes_first(private, docker_home, build_image):
    engine = docker_home.engine(private, USER, "old", DEVLOOP_REGISTRY_USER=USER, DEVLOOP_REGISTRY_PASSWORD=PASSWORD)
    with Publishing(engine, private) as p:
        assert p.publish(build_image("with-login", b"two")).digest


def test_a_wrong_password_is_told_with_registry_user_and_the_command_that_logs_in(private, docker_home, build_image):
    error = refused(docker_home.engine(private, USER, "wrong"), private, build_image())

    assert error.message.startswith(f"the registry {private} does not accept the login of user 'tester': ")
    assert error.hint == f"Log in again: docker login {private}"
    assert "wrong" not in f"{error.message}{error.hint}"


def test_a_missing_login_is_told_with_the_command_that_logs_in(private, docker_home, build_image):
    error = refused(docker_home.engine(), private, build_image())

    assert error.message.startswith(f"the registry {private} wants a login, and there is none for it on this machine: ")
    assert error.hint == f"Log in: docker login {private}. In CI set DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD."


def test_a_registry_that_wants_tokens_gets_them(tmp_path, docker_home, build_image):
    image = build_image("hello-web", b"one")
    with TokenServer(tmp_path / "tokens") as tokens, registry(tmp_path / "registry", token=tokens.configuration) as address:
        with Publishing(docker_home.engine(address, USER, PASSWORD), f"{address}/acme") as p:
            digest = p.publish(image).digest
        mine = Registry(address, {}, lambda _: {"username": USER, "password": PASSWORD})
        engine = docker_home.engine()
        uploaded = Uploader(engine, mine).upload(image.image_id, "acme/other", "1", Meter("x", lambda _: None), Cancel())
        mine.close()
        error = refused(docker_home.engine(address, USER, "wrong"), f"{address}/acme", image)

    assert digest
    assert uploaded
    assert ["repository:acme/other:pull,push"] in tokens.scopes or ["repository:acme/other:push,pull"] in tokens.scopes
    assert error.message == f"the registry {address} does not accept the login of user 'tester': unauthorized: who?"


@pytest.mark.parametrize(("secret", "strict", "mounted"), [
    ("", False, True), ("acme/first", False, False), ("acme/first", True, False)])
def test_a_layer_of_another_repository_is_taken_from_there_where_the_token_lets_us_and_else_sent(
        tmp_path, docker_home, build_image, secret, strict, mounted):
    image, home = build_image("hello-web", os.urandom(1_000_000)), tmp_path / "registry"
    with TokenServer(tmp_path / "open") as tokens, registry(home, token=tokens.configuration) as address:
        uploaded(docker_home.engine(), address, image, "acme/first")
    with TokenServer(tmp_path / "tokens", secret=secret, strict=strict) as tokens, \
            registry(home, token=tokens.configuration) as address, Route(address) as route:
        digest = uploaded(docker_home.engine(), route.address, image, "acme/second", seen_in="acme/first")

    assert digest
    assert (route.sent < 100_000) == mounted
    asked = {frozenset(scope.rpartition(":")[0] for scope in scopes) for scopes in tokens.scopes}
    assert {"repository:acme/first", "repository:acme/second"} in asked


def uploaded(engine: DockerEngine, address: str, image: BuiltImage, repository: str, *, seen_in: str = "") -> str:
    """The digest, after our own upload. `seen_in`: a repository in which all of its blobs were seen before."""
    with closing(Registry(address, {}, lambda _: {"username": USER, "password": PASSWORD})) as mine:
        uploader = Uploader(engine, mine, near=False)
        if seen_in:
            uploader._blobs.homes.update(dict.fromkeys((image.image_id, *layers(engine, image.image_id)), seen_in))
        return uploader.upload(image.image_id, repository, "1", Meter("x", lambda _: None), Cancel())


# --- several images

def test_a_layer_that_images_share_is_pushed_once_even_at_the_same_time(tmp_path, docker_home, build_image):
    base = build_image("big", os.urandom(30_000_000))
    images = [build_image(name, name.encode(), base=str(base.ref)) for name in ("hello-web", "hello-api", "hello-job")]
    with registry(tmp_path / "registry") as address, Route(address) as route, \
            Publishing(docker_home.engine(), f"{route.address}/acme") as p, ThreadPoolExecutor(3) as pool:
        refs = list(pool.map(p.publish, images))
    assert len({ref.digest for ref in refs}) == 3
    assert 30_500_000 < route.sent < 34_000_000


# --- ways that are closed

def test_a_registry_that_does_not_answer_is_unreachable(docker_home, build_image):
    address = free_address()
    error = refused(docker_home.engine(), f"{address}/acme", build_image())

    assert isinstance(error, UnreachableError)
    assert error.message.startswith(f"the registry {address} cannot be reached: ")


def test_plain_http_elsewhere_is_refused_unless_it_is_meant_to_be(tmp_path, docker_home, build_image):
    image = build_image("hello-web", b"one")
    with registry(tmp_path / "registry", free_address(BRIDGE)) as address:
        error = refused(docker_home.engine(), address, image)
        with Publishing(docker_home.engine(), address, insecure=True) as p:       # by ourselves: the Engine would have to be configured
            assert p.publish(image).digest

    assert error.message.startswith(f"the registry {address} speaks plain HTTP: ")
    assert error.hint.startswith("If that is meant to be, set publish.registry.insecure: true in devloop.yaml")


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_meant_to_be(tmp_path, docker_home, build_image):
    image = build_image("hello-web", b"one")
    with registry(tmp_path / "registry", free_address(BRIDGE), tls=certificate(tmp_path / "tls", BRIDGE), passwords=True) as address:
        error = refused(docker_home.engine(address, USER, PASSWORD), address, image)
        with Publishing(docker_home.engine(address, USER, PASSWORD), address, insecure=True) as p:
            assert p.publish(image).digest

    assert error.message.startswith(f"the registry {address} is not trusted: ")
    assert error.hint.startswith(f"Put its certificate authority into /etc/docker/certs.d/{address}/ca.crt")


def test_something_else_on_the_port_is_not_taken_for_a_registry(docker_home, build_image):
    """macOS' AirPlay has port 5000."""
    class AirPlay(BaseHTTPRequestHandler):
        protocol_version, server_version, sys_version = "HTTP/1.1", "AirTunes/745.83", ""

        def _refuse(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST = _refuse

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), AirPlay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        error = refused(docker_home.engine(), address, build_image())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert error.message == f"what answers at {address} is no registry, but AirTunes/745.83"




@pytest.mark.parametrize(("user", "password", "complaint"), [
    (USER, PASSWORD, ""), (USER, "wrong", "does not accept the login of user 'tester'"), ("", "", "wants a login, and there is none")])
def test_whether_a_login_works_can_be_asked(private, user, password, complaint):
    client = Registry(private, {}, lambda _: {"username": user, "password": password} if user else None)
    with closing(client), pytest.raises(LoginWanted, match=complaint) if complaint else nullcontext():
        client.ping(Cancel())


def test_a_tag_of_the_users_own_is_put_back(tmp_path, docker_home, build_image, docker_api):
    mine, image = build_image("hello-web", b"mine"), build_image("hello-web", b"other")
    with registry(tmp_path / "registry") as address, Publishing(docker_home.engine(), address) as p:
        docker_api.tag(mine.image_id, f"{address}/hello-web", image.ref.tag)
        p.publish(image)
        assert docker_api.inspect_image(f"{address}/hello-web:{image.ref.tag}")["Id"] == mine.image_id
        docker_api.remove_image(f"{address}/hello-web:{image.ref.tag}")
