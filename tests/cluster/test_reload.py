"""An edit of devloop.yaml in a session: it is in force as a whole, or what was there goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import Session
from project import Project, eventually

from devloop.clients.kube import Kube

pytestmark = pytest.mark.cluster

SECONDS = 15


@pytest.fixture
def contexts(project: Project, tmp_path: Path) -> Iterator[threading.Event]:
    """Beside the cluster's own context: `refused`, where nothing listens; `prod`, which is far away; and `silent`, which never answers.
    Set once that was asked something."""
    asked = threading.Event()
    connections: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
                connections.append(connection)
                asked.set()
            except OSError:
                return

    thread = threading.Thread(target=accept)
    thread.start()
    config = yaml.safe_load(Path(project.devloop.environ["KUBECONFIG"]).read_text())
    for name, address in (("refused", "127.0.0.1:1"), ("prod", "prod.invalid:80"), ("silent", f"127.0.0.1:{server.getsockname()[1]}")):
        config["clusters"].append({"name": name, "cluster": {"server": f"http://{address}"}})
        config["contexts"].append({"name": name, "context": {"cluster": name, "user": config["users"][0]["name"]}})
    file = tmp_path / "contexts"
    file.write_text(yaml.safe_dump(config))
    project.devloop.environ["KUBECONFIG"] = str(file)
    yield asked
    server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for each in (server, *connections):
        each.close()


@pytest.fixture
def dev(project: Project, contexts: threading.Event) -> Iterator[Session]:
    """A session whose first generation is live, its port forwarded."""
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        yield session


def serves(project: Project, session: Session, text: str) -> None:
    """What ran before is there, and a save changes it."""
    assert project.page()
    session.next_live(lambda: project.write("web/www/index.html", text))
    assert project.page() == text
    assert not session.all("objectApplied", action="deleted")


def deploy_to(project: Project, line: str) -> None:
    project.edit("devloop.yaml", "deploy:\n", f"deploy:\n  {line}\n")


def test_a_context_that_is_not_there_or_does_not_answer_leaves_the_session_as_it_is(project: Project, dev: Session) -> None:
    before = None
    for context, said in (("nosuch", "nosuch"), ("refused", "127.0.0.1:1"), ("prod", "prod.invalid")):
        deploy_to(project, f"kubeContext: {context}")
        before = dev.wait_for("failure", after=before)
        assert said in before["message"]
        project.edit("devloop.yaml", f"  kubeContext: {context}\n", "")
        before = dev.wait_for("configReloaded", after=before)
    serves(project, dev, "still here")
    assert len(dev.all("sessionStarted")) == 1
    dev.interrupt()
    assert dev.ended(SECONDS) == 130


def test_a_ctrl_c_while_a_new_target_is_asked_ends_the_session_in_order(project: Project, dev: Session, contexts: threading.Event,
                                                                        kube: Kube) -> None:
    deploy_to(project, "kubeContext: silent")
    assert contexts.wait(SECONDS)
    dev.interrupt()
    assert dev.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


def test_another_name_ends_one_session_and_begins_the_next(project: Project, dev: Session, kube: Kube) -> None:
    project.edit("devloop.yaml", "name: hello", "name: goodbye")
    started = dev.wait_for("sessionStarted", project="goodbye")
    assert dev.all("objectApplied", action="deleted")[-1].index < started.index
    dev.wait_for("generationFinished", after=started, outcome="live")
    assert project.deployment(kube)["metadata"]["labels"]["devloop.dev/name"] == "goodbye"
    dev.interrupt()
    assert dev.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


@pytest.mark.parametrize("also", ["", "name: goodbye"], ids=["same session", "another session"])
def test_a_forward_that_cannot_be_leaves_all_as_it_was(project: Project, dev: Session, also: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = (project.path / "devloop.yaml").read_text()
        port = taken.getsockname()[1]
        new = text.replace("portForward:", f"logs: {{exclude: ['*']}}\nportForward:\n"
                           f"  - {{resource: deployment/hello, port: 8080, localPort: {port}, strict: true}}")
        project.write("devloop.yaml", new.replace("name: hello", also) if also else new)
        failure = dev.wait_for("failure")
        assert str(port) in failure["message"]
    serves(project, dev, "still here")
    dev.wait_for("logLine", after=failure, line=lambda line: "serving" in line)      # the logs are not left out
