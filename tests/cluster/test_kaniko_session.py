"""Sessions of the real command that build in the cluster, on a machine from which no Docker Engine can be reached."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest
from project import Project, eventually

from devloop.clients.kube import Kube
from devloop.model import ImageRef
from tests.cluster.kaniko import BASE, node_address, put
from tests.cluster.registries import free_address, registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

NOWHERE = "tcp://127.0.0.1:9"
JOBS, PODS = "/apis/batch/v1/namespaces/{}/jobs", "/api/v1/namespaces/{}/pods"


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[int]:
    """The port of a registry that the node has at 127.0.0.1, where an Engine accepts plain HTTP, and pods have at the node's address."""
    with registry(tmp_path_factory.mktemp("everywhere"), free_address("0.0.0.0")) as address:
        port = int(address.rpartition(":")[2])
        put(f"127.0.0.1:{port}", BASE)
        yield port


@pytest.fixture
def built_there(project: Project, docker_api: docker.APIClient, everywhere: int, kaniko_image: str) -> Iterator[Project]:
    """The example with its profile 'kaniko', and no Docker."""
    pods = f"{node_address(docker_api)}:{everywhere}"
    project.devloop.environ["DOCKER_HOST"] = NOWHERE
    project.devloop.environ["REGISTRY"] = f"{pods}/{project.namespace}"
    project.edit("devloop.yaml", "dockerConfigSecret: ghcr-login", f"image: '{kaniko_image}', timeout: 2m")
    project.edit("devloop.yaml", 'registry: {repository: "${REGISTRY:-ghcr.io/acme}"}',
                 f'registry: {{repository: "${{REGISTRY}}", pullRepository: "127.0.0.1:{everywhere}/{project.namespace}", insecure: true}}')
    project.edit("web/Dockerfile", "FROM busybox:1.36", f"FROM {pods}/{BASE}")
    yield project
    for image in docker_api.images():      # what the node has pulled
        for name in image["RepoTags"] or image["RepoDigests"] or ():
            if project.namespace in name:
                docker_api.remove_image(name, force=True)


def jobs(kube: Kube, namespace: str, *kinds: str) -> list[str]:
    """What is left of builds: their Jobs and pods, unless only one kind of them is asked for."""
    found = []
    for path in kinds or (JOBS, PODS):
        found += [item["metadata"]["name"] for item in kube.get(path.format(namespace), labelSelector="devloop.dev/builder")["items"]]
    return found


def test_from_save_to_served_without_an_engine(built_there: Project, kube: Kube) -> None:
    project = built_there
    with project.start("dev", "-p", "kaniko") as session:
        session.live(1, timeout=180)
        session.port("service/hello")
        assert "hello" in project.page()
        pods = jobs(kube, project.namespace)
        session.next_live(lambda: project.add("web/www/index.html", "<p>saved</p>\n"), timeout=120)
        eventually(lambda: "saved" in project.page())

        contexts = [event["line"] for event in session.all("stepOutput") if event["line"].startswith("context: ")]
        assert len(contexts) == 2
        assert contexts[1].startswith("context: 1 of ")
        assert jobs(kube, project.namespace) == pods      # the same one
        session.interrupt()
        assert session.ended(60) == 130
    eventually(lambda: not jobs(kube, project.namespace))
    notices = [event["message"] for event in session.all("notice")]
    assert any("built in the cluster by Kaniko" in message for message in notices)


def test_what_was_built_is_there_for_the_next_run(built_there: Project, kube: Kube, everywhere: int) -> None:
    project = built_there
    project.run("build", "-p", "kaniko", "--file-output", "built.json", timeout=180).ended(0)
    built = json.loads((project.path / "built.json").read_text())["builds"]
    ref = ImageRef.parse(built[0]["tag"])
    assert ref.repository == f"{project.devloop.environ['REGISTRY']}/{project.image}"
    assert ref.digest
    assert not jobs(kube, project.namespace, JOBS)            # devloop has deleted them before it ended ...
    eventually(lambda: not jobs(kube, project.namespace))     # ... and their pods are the garbage collector's, in its own time

    done = project.run("run", "-p", "kaniko", timeout=180).ended(0)
    assert done.one("stepFinished", step="build")["cached"]
    image = project.deployment(kube)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"127.0.0.1:{everywhere}/{project.namespace}/{project.image}:{ref.tag}@{ref.digest}"


def test_artifacts_get_the_references_of_those_they_require(built_there: Project) -> None:
    project = built_there
    project.write("base/Dockerfile", (project.path / "web/Dockerfile").read_text().partition("\n")[0] + "\nRUN echo from-base > /base\n")
    project.edit("devloop.yaml", "      context: web\n", f"      context: web\n      requires: [base-{project.image}]\n"
                 f"    - image: base-{project.image}\n      context: base\n")
    name = f"base-{project.image}".replace("-", "_").upper()
    project.write("web/Dockerfile", f"ARG {name}\nFROM ${name}\nCOPY www /www\nRUN cat /base\n")

    done = project.run("build", "-p", "kaniko", timeout=240).ended(0)
    assert [event["subject"] for event in done.all("stepOutput", line="from-base")] == [project.image]


def test_auto_takes_what_is_there_and_says_so(built_there: Project) -> None:
    project = built_there
    project.edit("devloop.yaml", "builder: kaniko", "builder: auto")
    done = project.run("build", "-p", "kaniko", timeout=180).ended(0)

    notices = [event["message"] for event in done.all("notice")]
    assert any("built in the cluster, by Kaniko: " in message and "127.0.0.1:9" in message for message in notices)
    assert done.all("stepOutput", line=lambda line: line.startswith("Pushed "))


def test_a_failed_build_names_the_instruction_and_the_next_save_mends_it(built_there: Project) -> None:
    project = built_there
    good = (project.path / "web/Dockerfile").read_text()
    project.write("web/Dockerfile", good + "RUN echo sorry; exit 3\n")
    with project.start("dev", "-p", "kaniko") as session:
        session.finished(1, "failed", timeout=180)
        failed = session.wait_for("failure")
        assert f"web/Dockerfile:{good.count(chr(10)) + 1}: RUN echo sorry; exit 3 ended with exit code 3" in failed["message"]
        assert failed["details"] == ["sorry"]
        assert failed["exitCode"] == 10
        session.next_live(lambda: project.write("web/Dockerfile", good), timeout=120)


def test_nothing_is_left_of_a_build_whose_devloop_was_killed(built_there: Project, kube: Kube) -> None:
    project = built_there
    project.add("web/Dockerfile", "RUN echo begun; sleep 1000\n")
    with project.start("run", "-p", "kaniko") as session:
        session.wait_for("stepOutput", line="begun", timeout=120)
        assert jobs(kube, project.namespace)
        session.kill()
    eventually(lambda: not jobs(kube, project.namespace), timeout=150)


def test_doctor_looks_at_what_builds_in_the_cluster_take(built_there: Project, powerless: str) -> None:
    project = built_there
    checked = {event["name"]: event for event in project.run("doctor", "-p", "kaniko", timeout=180).ended(0).all("checked")}
    assert not {"docker", "buildx"} & set(checked)
    assert "built by kaniko" in checked["devloop.yaml"]["detail"]
    assert "Kaniko" in checked["route"]["detail"]
    assert "a probe was built" in checked["images"]["detail"]

    project.edit("devloop.yaml", "timeout: 2m", "timeout: 2m, dockerConfigSecret: nowhere")
    failed = project.run("doctor", "-p", "kaniko", timeout=180).one("checked", name="build login")
    assert "there is no secret 'nowhere'" in failed["detail"]

    project.devloop.environ["KUBECONFIG"] = powerless
    rights = project.run("doctor", "-p", "kaniko", timeout=180).one("checked", name="rights")
    assert f"create jobs.batch -n {project.namespace}, " in rights["detail"]
    assert "create pods/exec" in rights["detail"]


# --- a context from Git


@contextmanager
def served(root: Path, address: str) -> Iterator[int]:
    """Git repositories below `root`, over HTTP, at this port."""
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environ = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                       "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                       "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "", "CONTENT_LENGTH": str(len(body))}
            done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="git", daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_context_from_git_is_cloned_in_the_cluster(built_there: Project, docker_api: docker.APIClient, tmp_path: Path) -> None:
    project, origin = built_there, tmp_path / "origin"
    git = ["git", "-C", str(origin), "-c", "user.name=t", "-c", "user.email=t@example"]
    subprocess.run(["git", "init", "-q", "-b", "main", origin], check=True)

    def commit(text: str) -> str:
        (origin / "web").mkdir(exist_ok=True)
        (origin / "web" / "Dockerfile").write_text((project.path / "web/Dockerfile").read_text().partition("\n")[0] +
                                                   f"\nCOPY note /note\nRUN echo {text}; cat /note\n")
        (origin / "web" / "note").write_text(f"note {text}\n")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
        return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    commit("one")
    address = node_address(docker_api)
    with served(tmp_path, address) as port:
        url = f"http://{address}:{port}/origin/.git"
        project.edit("devloop.yaml", "timeout: 2m", f"timeout: 2m, context: {{git: {{url: '{url}', ref: main, subPath: web}}}}")
        first = project.run("build", "-p", "kaniko", timeout=180).ended(0)
        again = project.run("build", "-p", "kaniko", timeout=180).ended(0)
        commit("two")
        second = project.run("build", "-p", "kaniko", timeout=180).ended(0)
    assert first.all("stepOutput", line="note one")
    assert not first.all("stepOutput", line=lambda line: line.startswith("context: "))
    assert again.one("stepFinished", step="build")["cached"]
    assert second.all("stepOutput", line="note two")
