"""A build that is called off while its pod is being asked for leaves none behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from devloop.build.kaniko.pod import job
from devloop.build.kaniko.watching import Watching
from devloop.build.kaniko.worker import Worker
from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.config.models import Kaniko
from devloop.errors import Cancelled
from devloop.pods import Pods

JOBS = "/apis/batch/v1/namespaces/team/jobs"


class Api(ThreadingHTTPServer):
    """Takes Jobs, and never says so."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.arrived = threading.Event()
        self.created: list[str] = []
        self.deleted: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.created.append(f"{self.path}/{body['metadata']['name']}")
        self.server.arrived.set()
        self.connection.recv(1)      # until the client goes away

    def do_GET(self) -> None:
        if "watch=" in self.path:
            self.connection.recv(1)
        else:
            self.answer({"metadata": {"resourceVersion": "1"}, "items": []})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self.answer({})

    def answer(self, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as made:
        thread = threading.Thread(target=made.serve_forever, name="api", daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def worker(api: Api, tmp_path: Path) -> Iterator[Worker]:
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps({
        "current-context": "it", "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{api.server_port}"}}], "users": [{"name": "it", "user": {}}]}))
    kube = Kube(kubeconfig=str(file))
    pods = Pods(kube, lambda _: None)
    watching = Watching(pods, "team", "abc")
    yield Worker(kube, watching, "team", job(Kaniko(), session="abc", project="hello", artifact="web"), lasting=0)
    watching.close()
    pods.close()
    kube.close()


def test_a_job_whose_creation_nobody_waits_for_is_deleted(api: Api, worker: Worker) -> None:
    for _ in range(2):      # each by a name of its own: the first may not have gone yet
        cancel = Cancel()
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(worker.start, lambda _: None, cancel)
            assert api.arrived.wait(30)
            api.arrived.clear()
            cancel.cancel("a newer save")
            with pytest.raises(Cancelled):
                starting.result(timeout=30)
    assert api.deleted == api.created
    assert len(set(api.created)) == 2
    assert all(path.startswith(f"{JOBS}/kaniko-web-") for path in api.created)
