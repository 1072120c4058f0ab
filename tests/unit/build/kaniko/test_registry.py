"""Whether an image is there is asked again of a registry that was slow, but not of one that never answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from devloop.build.kaniko.registry import Target
from devloop.clients.docker_config import DockerConfig
from devloop.config.models import Registry
from devloop.model import ImageRef
from devloop.publish.logins import Logins

DIGEST = "sha256:" + "0" * 64


class Served(ThreadingHTTPServer):
    """A registry that has every image. It answers once `answers` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = 0
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Served

    def do_HEAD(self) -> None:
        self.server.asked += 1
        self.server.answers.wait()
        self.send_response(200)
        self.send_header("Docker-Content-Digest", DIGEST)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Served]:
    with Served() as made:
        thread = threading.Thread(target=made.serve_forever, name="registry", daemon=True)
        thread.start()
        yield made
        made.answers.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target(Registry(), Logins(DockerConfig.load({"HOME": "/nonexistent"}), {}, Registry()), {})
    yield made
    made.close()


def test_a_slow_registry_is_asked_again(server: Served, target: Target) -> None:
    image = ImageRef(f"127.0.0.1:{server.server_port}/web", "1")
    for _ in range(2):      # what is good in between forgives
        server.answers.clear()
        target.asking = 0.1
        assert target.find(image) == ""
        server.answers.set()
        target.asking = 60
        assert target.find(image) == DIGEST


def test_one_that_is_slow_twice_running_is_not(server: Served, target: Target) -> None:
    image = ImageRef(f"127.0.0.1:{server.server_port}/web", "1")
    target.asking = 0.1
    assert [target.find(image) for _ in range(2)] == ["", ""]
    server.answers.set()
    target.asking = 60
    asked = server.asked
    assert target.find(image) == ""
    assert server.asked == asked
