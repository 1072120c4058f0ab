"""How a session ends: at once, with exit code 130, and with nothing left behind in the cluster, the Engine or this machine."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from harness import Session
from project import Project, eventually, other

from devloop.clients.kube import Kube

pytestmark = pytest.mark.cluster

SECONDS = 15     # "a few", on a busy machine


@pytest.mark.parametrize("end", [Session.interrupt, Session.terminate], ids=["Ctrl-C", "SIGTERM"])
def test_nothing_is_left_when_it_ends(project: Project, kube: Kube, end: Callable[[Session], None]) -> None:
    with project.start("dev") as session:
        session.live(1)
        end(session)
        assert session.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])
    assert kube.get(f"/api/v1/namespaces/{project.namespace}")["status"]["phase"] == "Active"


def test_volume_claims_outlive_a_session(project: Project, kube: Kube) -> None:
    project.write("k8s/data.yaml", """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
""")
    with project.start("dev") as session:
        session.live(1)
        session.interrupt()
        assert session.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == ["persistentvolumeclaim/data"])


def test_with_no_cleanup_all_of_it_stays(project: Project, kube: Kube) -> None:
    with project.start("dev", "--no-cleanup") as session:
        session.live(1)
        session.interrupt()
        assert session.ended(SECONDS) == 130
    assert {"deployment/hello", "service/hello", "configmap/hello"} <= set(project.left(kube))


def test_ctrl_c_ends_a_build_at_once(project: Project, kube: Kube, docker_processes: Callable[[], list[str]]) -> None:
    project.edit("web/Dockerfile", "USER 1000", "RUN echo waiting; sleep 86398\nUSER 1000")
    with project.start("dev") as session:
        session.wait_for("stepOutput", line="waiting")
        session.interrupt()
        assert session.ended(SECONDS) == 130
    assert project.left(kube) == []
    eventually(lambda: not any("sleep 86398" in command for command in docker_processes()))


def test_ctrl_c_ends_a_rollout_at_once(project: Project, kube: Kube) -> None:
    project.write("k8s/other.yaml", other(readinessProbe={"exec": {"command": ["false"]}}))
    with project.start("dev") as session:
        session.wait_for("stepStarted", step="rollout", subject="deployment/other")
        eventually(lambda: "deployment/other" in project.left(kube))
        session.interrupt()
        assert session.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


def test_ctrl_c_after_a_failure_leaves_nothing_either(project: Project, kube: Kube) -> None:
    project.write("k8s/other.yaml", other(image="no-such-image:1", imagePullPolicy="Never"))
    with project.start("dev") as session:
        session.finished(1, "failed")
        session.interrupt()
        assert session.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


def test_a_signal_that_comes_twice_at_once_is_one(project: Project, kube: Kube) -> None:
    """As timeout(1) sends it: to its child, and to its child's group."""
    with project.start("dev") as session:
        session.live(1)
        session.terminate()
        session.terminate()
        assert session.ended(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


def test_a_second_ctrl_c_ends_it_immediately(project: Project, kube: Kube) -> None:
    """The cluster's answer to the clean-up is held back, so that the first Ctrl-C cannot end by itself."""
    with project.start("dev") as session:
        session.live(1)
        finalizers = {"metadata": {"finalizers": ["example.org/never"]}}
        path = f"/api/v1/namespaces/{project.namespace}/configmaps/hello"
        kube.request("PATCH", path, body=finalizers, content_type="application/merge-patch+json")
        session.interrupt()
        session.wait_for("objectApplied", action="deleted", timeout=SECONDS)

        def impatient() -> bool:      # the first few may be taken for an echo
            if session.process.poll() is None:
                session.interrupt()
            return session.process.poll() is not None

        eventually(impatient, timeout=5)
        assert session.ended(5) == 130
    kube.request("PATCH", path, body={"metadata": {"finalizers": None}}, content_type="application/merge-patch+json")


def test_a_terminal_is_left_as_it_was_found(project: Project, kube: Kube) -> None:
    with project.terminal("dev") as terminal:
        terminal.wait_for(r"live in [\d.]+ s")
        terminal.wait_for(rf"http://localhost:{project.port}")
        terminal.press("\x03")
        assert terminal.process.wait(SECONDS) == 130
        assert terminal.modes_now() == terminal.modes
        terminal.closed()                    # all that it wrote is read then
        if "\x1b[?25l" in terminal.raw:      # a hidden cursor is shown again
            assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")
    eventually(lambda: project.left(kube) == [])


def test_a_closed_terminal_ends_it_and_nothing_is_left(project: Project, kube: Kube) -> None:
    with project.terminal("dev") as terminal:
        terminal.wait_for(r"live in [\d.]+ s")
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.process.wait(SECONDS) == 130
    eventually(lambda: project.left(kube) == [])


def test_a_reader_that_has_left_ends_it_and_nothing_is_left(project: Project, kube: Kube) -> None:
    """`devloop dev | head`"""
    with project.start("dev") as session:
        session.live(1)
        session.stop_reading()
        project.write("web/www/index.html", "something to report")
        assert session.process.wait(SECONDS) == 128 + signal.SIGPIPE      # as a shell says it
    eventually(lambda: project.left(kube) == [])
