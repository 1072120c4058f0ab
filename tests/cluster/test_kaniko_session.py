"""Sessions of the real command that build in the cluster, on a machine from which no Docker Engine can be reached."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest
from project import Project, eventually

from devloop.clients.kube import Kube
from devloop.model import ImageRef
from tests.cluster.gitserver import commit, served
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


def test_nothing_is_left_of_a_pod_that_never_ran(built_there: Project, kube: Kube) -> None:
    project = built_there
    project.edit("devloop.yaml", "timeout: 2m", "timeout: 20s, nodeSelector: {pool: none}")
    with project.start("dev", "-p", "kaniko") as session:
        eventually(lambda: jobs(kube, project.namespace, PODS))
        session.kill()
    assert jobs(kube, project.namespace, JOBS)
    eventually(lambda: not jobs(kube, project.namespace), timeout=150)


def test_artifacts_build_at_once_in_pods_of_their_own(built_there: Project, kube: Kube, docker_api: docker.APIClient) -> None:
    project = built_there
    project.edit("devloop.yaml", "builder: kaniko,", "builder: kaniko, concurrency: 2,")
    project.edit("devloop.yaml", "      context: web\n", f"      context: web\n    - image: other-{project.image}\n      context: web\n"
                 "      docker: {buildArgs: {WHO: other}}\n")
    seen: list[list[str]] = []
    both = threading.Barrier(2, action=lambda: seen.append(jobs(kube, project.namespace, PODS)))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            both.wait(120)      # for the other build's RUN
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((node_address(docker_api), 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="both", daemon=True)
        thread.start()
        project.add("web/Dockerfile", f"ARG WHO\nRUN wget -q -O- http://{server.server_address[0]}:{server.server_port}/$WHO\n")
        project.run("build", "-p", "kaniko", timeout=240).ended(0)
        server.shutdown()
        thread.join()
    assert [len(pods) for pods in seen] == [2]


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


def test_a_context_from_git_is_cloned_in_the_cluster(built_there: Project, docker_api: docker.APIClient, tmp_path: Path) -> None:
    project, origin, docker_config = built_there, tmp_path / "origin", tmp_path / "docker"
    docker_config.mkdir()
    (docker_config / "config.json").write_text(json.dumps({"auths": {"base.example": {"auth": base64.b64encode(b"me:x").decode()}}}))
    project.devloop.environ["DOCKER_CONFIG"] = str(docker_config)
    first_line = (project.path / "web/Dockerfile").read_text().partition("\n")[0]
    dockerfile = first_line + "\nCOPY note /note\nRUN cat /note; grep -o base.example /kaniko/.docker/config.json\n"

    def noted(web: str) -> None:
        commit(origin, {f"app/{name}/{file}": text for name, note in (("web", web), ("other", "of another"))
                        for file, text in (("Dockerfile", dockerfile), ("note", f"note {note}\n"))})

    noted("one")
    (project.path / "other").mkdir()
    project.edit("devloop.yaml", "      context: web\n", f"      context: web\n    - image: other-{project.image}\n      context: other\n")
    with served(tmp_path, node_address(docker_api)) as address:
        git = f"{{git: {{url: 'http://{address}/origin', ref: main, subPath: app}}}}"
        project.edit("devloop.yaml", "timeout: 2m", f"timeout: 2m, fromDockerConfig: true, context: {git}")
        first = project.run("build", "-p", "kaniko", timeout=180).ended(0)
        again = project.run("build", "-p", "kaniko", timeout=180).ended(0)
        noted("two")
        second = project.run("build", "-p", "kaniko", timeout=180).ended(0)
    notes = {event["line"]: event["subject"] for event in first.all("stepOutput", line=lambda line: line.startswith("note "))}
    assert notes == {"note one": project.image, "note of another": f"other-{project.image}"}
    assert len(first.all("stepOutput", line="base.example")) == 2      # what the Dockerfile starts from is not known: all logins are there
    assert not first.all("stepOutput", line=lambda line: line.startswith("context: "))
    assert [event["cached"] for event in again.all("stepFinished", step="build")] == [True, True]
    assert second.all("stepOutput", line="note two")
