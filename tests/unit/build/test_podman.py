"""Podman as an Engine: what it says during builds and pushes, as version 4.3 said it, and what it cannot do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from devloop.build.classic import _Talk
from devloop.build.docker import DockerBuilder
from devloop.build.output import Progress
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.errors import BuildError
from devloop.events import Event, StepOutput, StepProgress
from devloop.model import ImageRef
from devloop.publish.meter import Meter
from devloop.publish.push import pushed

from .conftest import MakeJob

DOCKERFILE = "FROM busybox:1.36 AS a\nRUN echo one\nFROM busybox:1.36\nCOPY --from=a /bin/sh /x\nRUN echo two; exit 7\n"
SAID = ["[1/2] STEP 1/2: FROM busybox:1.36 AS a\n", "[1/2] STEP 2/2: RUN echo one\n", "one\n", "--> 8bd6d30635a\n",
        "[2/2] STEP 1/3: FROM busybox:1.36\n", "[2/2] STEP 2/3: COPY --from=a /bin/sh /x\n", "--> 4c408c0250c\n",
        "[2/2] STEP 3/3: RUN echo two; exit 7\n", "two\n"]
ERROR = 'building at STEP "RUN echo two; exit 7": while running runtime: exit status 7\n'


def test_a_failure_is_told_by_the_dockerfiles_line(job: MakeJob) -> None:
    events: list[Event] = []
    talk = _Talk(job(DOCKERFILE), events.append, Progress("hello-web", events.append))
    with pytest.raises(BuildError) as caught:
        for message in [*({"stream": text} for text in SAID), {"errorDetail": {"message": ERROR}, "error": ERROR}]:
            talk.take(message)
    assert caught.value.message == "hello-web: web/Dockerfile:5: RUN echo two; exit 7 ended with exit code 7"
    assert caught.value.details == ("two",)
    assert [(e.detail, e.current, e.total) for e in events if isinstance(e, StepProgress)] == [
        ("FROM busybox:1.36 AS a", 1, 2), ("RUN echo one", 2, 2), ("FROM busybox:1.36", 1, 3), ("COPY --from=a /bin/sh /x", 2, 3),
        ("RUN echo two; exit 7", 3, 3)]
    lines = [e.line for e in events if isinstance(e, StepOutput)]
    assert lines == [text.rstrip() for text in SAID if not text.startswith("-->")]


@pytest.mark.parametrize(("step", "said", "message"), [
    ("STEP 2/2: FRO x", 'building at STEP "FRO ": Build error: Unknown instruction: "FRO"', 'failed: Unknown instruction: "FRO"'),
    ("STEP 1/1: FROM nope.invalid/x:1", "creating build container: pinging container registry nope.invalid: no such host",
     "creating build container: pinging container registry nope.invalid: no such host"),
])
def test_other_failures_are_told_in_its_words(job: MakeJob, step: str, said: str, message: str) -> None:
    talk = _Talk(job("FROM busybox:1.36\n"), lambda _: None, Progress("hello-web", lambda _: None))
    talk.take({"stream": f"{step}\n"})
    with pytest.raises(BuildError) as caught:
        talk.take({"error": said})
    assert caught.value.message.endswith(message)


@pytest.fixture
def podman() -> Iterator[DockerEngine]:
    """An Engine that says of itself what Podman says."""
    answers: dict[str, Any] = {
        "/version": {"Components": [{"Name": "Podman Engine", "Version": "4.3.1"}], "Version": "4.3.1", "ApiVersion": "1.41", "Os": "linux",
                     "Arch": "amd64"},
        "/info": {"Name": "laptop", "DriverStatus": [], "KernelVersion": "6.1.0", "OperatingSystem": "debian"}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = "/" + self.path.rpartition("/")[2]
            self.answer(200 if name in answers else 404, json.dumps(answers.get(name, {"message": "no such image"})))

        def do_POST(self) -> None:
            if "/push" in self.path:
                self.answer(200, "\n".join(map(json.dumps, PUSHED)))
            else:
                self.answer(201, "")

        def do_DELETE(self) -> None:
            self.answer(200, "[]")

        def answer(self, status: int, said: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="podman")
    thread.start()
    engine = DockerEngine({"HOME": "/nonexistent", "DOCKER_HOST": f"tcp://127.0.0.1:{server.server_port}"})
    yield engine
    engine.close()
    server.shutdown()
    server.server_close()
    thread.join()


DIGEST = f"sha256:{'7f' * 32}"
LAYER = "5f70bf18a086"
PUSHED = [{"status": "The push refers to repository [registry.example:5000/hello-web]"},
          {"status": "Preparing", "progressDetail": {}, "id": LAYER},
          {"status": "Pushing", "progressDetail": {"current": 1000, "total": 2000}, "progress": "1kB/2kB", "id": LAYER},
          {"status": "Pushed", "progressDetail": {}, "id": LAYER},
          {"status": f"v1: digest: {DIGEST} size: 528"}]


def test_a_push_has_its_digest_only_in_words(podman: DockerEngine) -> None:
    meter = Meter("hello-web", lambda _: None)
    assert pushed(podman, "sha256:ab", ImageRef("registry.example:5000/hello-web", "v1"), meter, Cancel()) == DIGEST
    assert meter.sent == 2000


MOUNT = "FROM busybox:1.36\nRUN --mount=type=cache,target=/x true\n"


def test_it_is_known_by_its_version(podman: DockerEngine) -> None:
    info = podman.info()
    assert (info.product, info.version, info.containerd_store) == ("Podman", "4.3.1", False)


@pytest.mark.parametrize("choice", ["auto", "classic"])
def test_it_builds_what_docker_needs_buildkit_for(podman: DockerEngine, job: MakeJob, choice: Any) -> None:
    DockerBuilder(podman, choice).check(job(MOUNT))


def test_it_has_no_buildkit(podman: DockerEngine, job: MakeJob) -> None:
    with pytest.raises(BuildError, match="the Engine here is Podman, which has none") as caught:
        DockerBuilder(podman, "buildkit").check(job("FROM busybox:1.36\n"))
    assert "Remove 'engine: buildkit'" in caught.value.hint
