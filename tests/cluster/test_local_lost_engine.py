"""The Engine goes away under a session without a cluster."""

from __future__ import annotations

import socket

import pytest
from project import Project, eventually

from devloop.clients.docker import DockerEngine
from tests.cluster.cut import CuttableProxy
from tests.cluster.localpods import things

pytestmark = pytest.mark.cluster


class Way(CuttableProxy):
    """To this machine's Engine."""

    def connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect("/var/run/docker.sock")
        return sock


def test_what_cannot_be_removed_is_told_and_removed_later(project: Project) -> None:
    project.edit("devloop.yaml", "name: hello", f"name: {project.image}")
    engine = DockerEngine()
    with Way("", 0) as way:
        project.devloop.environ["DOCKER_HOST"] = f"tcp://127.0.0.1:{way.port}"
        with project.start("dev", "--local") as session:
            session.live(1)
            way.refusing = True
            way.cut()
            session.interrupt()
            assert session.ended() == 130
            told = session.all("failure")[-1]
    assert "127.0.0.1" in told["message"]
    assert "devloop delete --local" in told["hint"]
    assert things(engine, project.image)
    del project.devloop.environ["DOCKER_HOST"]
    assert project.run("delete", "--local").code == 0
    eventually(lambda: not things(engine, project.image))
    engine.close()
