"""What Podman 4.3 answers differently from Docker, and what is made of it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.errors import EngineError

MINE = {"devloop.dev/name": "shop", "devloop.dev/owner": "me"}
OTHERS = {"devloop.dev/name": "shop", "devloop.dev/claim": "default/db"}      # has one of the labels that are asked for
DEPENDENT = "container 86d4 has dependent containers which must be removed before it: e74b: container already exists"


class Podman:
    """`asked`: method and path of each request but those that docker-py makes by itself."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refusal = DEPENDENT
        podman = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path = re.sub(r"^/v[\d.]+|\?.*", "", self.path)
                status, body = podman.answer(self.command, path)
                if path != "/version":
                    podman.asked.append((self.command, path))
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="podman")
        self._thread.start()
        self.engine = DockerEngine({"HOME": "/nonexistent", "DOCKER_HOST": f"tcp://127.0.0.1:{self._server.server_port}"})

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        if method == "DELETE" and path.startswith("/containers/"):
            return 500, {"message": self.refusal}
        return 200, {
            "/version": {"ApiVersion": "1.41"},
            "/containers/json": [{"Id": "1", "Labels": MINE}, {"Id": "2", "Labels": OTHERS}, {"Id": "3", "Labels": None}],
            "/volumes": {"Volumes": [{"Name": "scratch", "Labels": MINE}, {"Name": "db", "Labels": OTHERS}]},
            "/networks": [{"Id": "mine", "Labels": MINE}, {"Id": "others", "Labels": OTHERS}],
        }.get(path, {})

    def close(self) -> None:
        self.engine.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def podman() -> Iterator[Podman]:
    found = Podman()
    yield found
    found.close()


def test_what_has_only_one_of_the_labels_is_left_alone(podman: Podman) -> None:
    containers, labels = EngineContainers(podman.engine), ["devloop.dev/name=shop", "devloop.dev/owner"]
    assert [each["Id"] for each in containers.labelled(labels)] == ["1"]
    assert [each["Name"] for each in containers.labelled_volumes(labels)] == ["scratch"]
    containers.remove_networks(labels)
    assert [path for method, path in podman.asked if method == "DELETE"] == ["/networks/mine"]


def test_a_container_whose_network_others_use_is_ended_and_kept(podman: Podman) -> None:
    assert EngineContainers(podman.engine).remove("86d4") is False
    assert podman.asked == [("DELETE", "/containers/86d4"), ("POST", "/containers/86d4/kill")]


def test_other_refusals_to_remove_are_errors(podman: Podman) -> None:
    podman.refusal = "device or resource busy"
    with pytest.raises(EngineError, match="device or resource busy"):
        EngineContainers(podman.engine).remove("86d4")
