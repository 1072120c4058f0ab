"""Logs and forwards while pods come and go: nothing lost, nothing doubled, and the local port never closes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import docker
import pytest
from harness import Session
from project import Project, eventually

from devloop.clients.kube import Kube

pytestmark = pytest.mark.cluster

LINES = 5000


@pytest.fixture
def dev(project: Project) -> Iterator[Session]:
    """A session whose first generation is live, its port forwarded."""
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        yield session


def chatty(project: Project) -> None:
    """Every start of the container prints `LINES` numbered lines, the last one unterminated, and goes on serving."""
    project.edit("web/serve", 'echo "serving', f"i=0; while [ $((i += 1)) -lt {LINES} ]; do echo \"line $i of {LINES}\"; done; "
                                               f"printf 'line {LINES} of {LINES}'; sleep 1; echo; echo \"serving")


def numbers(session: Session, pod: str = "") -> list[int]:
    return [int(event["line"].split()[1]) for event in session.all("logLine", line=lambda line: line.startswith("line "))
            if not pod or event["pod"] == pod]


def kill_container(docker_api: docker.APIClient, pod: str) -> None:
    """As a crash would."""
    filters = {"label": [f"io.kubernetes.pod.name={pod}", "io.kubernetes.container.name=web"]}
    for container in docker_api.containers(filters=filters):
        docker_api.kill(container["Id"])


def test_ten_thousand_lines_are_counted_across_a_restart(project: Project, kube: Kube, docker_api: docker.APIClient) -> None:
    chatty(project)
    with project.start("dev") as session:
        session.live(1)
        [pod] = project.pods(kube)
        session.wait_for("logLine", line="serving /www on port 8080")
        kill_container(docker_api, pod)
        eventually(lambda: len(session.all("logLine", line="serving /www on port 8080")) == 2)
        assert numbers(session) == [*range(1, LINES + 1), *range(1, LINES + 1)]


def test_the_new_pods_logs_come_from_their_first_line(project: Project, kube: Kube) -> None:
    chatty(project)
    with project.start("dev") as session:
        session.live(1)
        session.wait_for("logLine", line="serving /www on port 8080")
        [old] = project.pods(kube)
        session.next_live(lambda: project.write("web/www/index.html", "new"))
        [new] = eventually(lambda: [pods] if len(pods := project.pods(kube)) == 1 and pods != [old] else [])
        session.wait_for("logLine", line="serving /www on port 8080", pod=new[0])
        assert numbers(session, new[0]) == [*range(1, LINES + 1)]
        assert numbers(session, old) == [*range(1, LINES + 1)]
        session.wait_for("logLine", line="stopping", pod=old)      # and the old one's, to its last


def test_a_connection_that_is_open_while_its_pod_is_replaced_ends_and_the_port_stays(project: Project, dev: Session) -> None:
    with socket.create_connection(("127.0.0.1", project.port), timeout=20) as held:
        held.sendall(b"GET / HTTP/1.1\r\n")          # an unfinished request: the server waits for the rest of it
        dev.next_live(lambda: project.write("web/www/index.html", "replaced"))
        assert project.page() == "replaced"
        with suppress(ConnectionResetError):
            assert held.recv(100) == b""             # its pod has gone, and so has it
    assert project.page() == "replaced"
    assert dev.all("forwardChanged", state="closed") == []
    assert {event["localPort"] for event in dev.all("forwardChanged")} == {project.port}


def test_a_pod_that_is_killed_is_followed_by_the_next_without_doing_anything(project: Project, dev: Session, kube: Kube) -> None:
    [old] = project.pods(kube)
    kube.request("DELETE", f"/api/v1/namespaces/{project.namespace}/pods/{old}")
    [new] = eventually(lambda: [pod for pod in project.pods(kube) if pod != old])
    dev.wait_for("forwardChanged", state="ready", pod=new)
    assert "Hello from Kubernetes" in project.page()


def test_a_container_that_restarts_is_forwarded_to_again(project: Project, dev: Session, kube: Kube, docker_api: docker.APIClient) -> None:
    [pod] = project.pods(kube)
    kill_container(docker_api, pod)
    eventually(lambda: len(dev.all("logLine", line="serving /www on port 8080")) == 2)
    assert "Hello from Kubernetes" in project.page()


def test_a_crash_after_the_rollout_is_told(project: Project, dev: Session, kube: Kube, docker_api: docker.APIClient) -> None:
    [pod] = project.pods(kube)
    kill_container(docker_api, pod)
    told = dev.wait_for("notice", message=lambda said: f"pod {pod} (container web)" in said and "exit code 137" in said)
    assert told["level"] == "warning"


def test_a_taken_port_gives_way_to_the_next_free_one_and_says_so(project: Project) -> None:
    with socket.create_server(("127.0.0.1", project.port)), project.start("dev") as session:
        taken = project.port
        project.port = session.port("service/hello")
        assert project.port != taken
        assert "Hello from Kubernetes" in project.page()
        assert session.all("notice", message=lambda said: str(taken) in said and str(project.port) in said)


def test_a_taken_port_that_must_be_had_is_an_error_that_names_who_has_it(project: Project) -> None:
    project.edit("devloop.yaml", "localPort:", "strict: true, localPort:")
    with socket.create_server(("127.0.0.1", project.port)), project.start("run", "--port-forward") as session:
        failure = session.wait_for("failure")
        assert str(project.port) in failure["message"]
        assert "python" in str(failure) or "pytest" in str(failure)
        assert session.ended() not in (0, 1)


def test_without_forwards_no_port_is_opened(project: Project) -> None:
    with project.start("dev", "--no-port-forward") as session:
        session.live(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", project.port))


def test_excluded_containers_are_not_shown(project: Project) -> None:
    project.edit("devloop.yaml", "portForward:", "logs: {exclude: [web]}\nportForward:")
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        project.page()
        session.interrupt()
        session.ended()
        assert session.all("logLine") == []
