"""Every way an image reaches a cluster, from `devloop run` and `dev` to what the port answers. The cluster is real, and so is the Engine;
the tools are stand-ins."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from project import Project
from standins.disguise import disguise
from standins.nodes import Nodes, build_node_image
from standins.profiles import Profile

from devloop.clients.kube import Kube
from tests.cluster.addon import replace_registry

pytestmark = pytest.mark.cluster

HERE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "minikube"


def listens_on(pid: int) -> set[int]:
    """The local ports on which this process listens."""
    sockets = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):      # it was closed meanwhile
            sockets.add(os.readlink(fd))
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


def deployed(project: Project, kube: Kube) -> str:
    return str(project.deployment(kube)["spec"]["template"]["spec"]["containers"][0]["image"])


def test_several_nodes_are_served_through_the_registry_addon_from_save_to_served_and_port_5000_stays_free(
        project: Project, kubeconfig: str, home: Path, kube: Kube, registry_addon: None) -> None:
    Profile(home, "multi", nodes=2, registry=True)
    disguise(project, kubeconfig, "multi", minikube_home=home)
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        told = [event["message"] for event in session.all("notice")]
        assert told[0] == "images go through the registry addon of minikube profile 'multi', because it has 2 nodes"
        assert deployed(project, kube).startswith(f"localhost:5000/{project.image}@sha256:")
        session.next_live(lambda: project.edit("web/www/index.html", "Hello", "Good morning"))
        assert "Good morning" in project.page()
        assert listens_on(session.process.pid) == {project.port}
        session.interrupt()
        assert session.ended() == 130


def test_a_save_that_builds_nothing_finds_its_image_in_a_registry_that_was_replaced(
        project: Project, kubeconfig: str, home: Path, kube: Kube, registry_addon: None) -> None:
    Profile(home, "multi", nodes=2, registry=True)
    disguise(project, kubeconfig, "multi", minikube_home=home)
    with project.start("dev") as session:
        session.live(1)
        replace_registry(kube)
        always = "          imagePullPolicy: Always\n          ports:"
        session.next_live(lambda: project.edit("k8s/deployment.yaml", "          ports:", always))
        told = [event["message"] for event in session.all("notice")]
        assert f"the registry in the cluster was restarted and has lost its images; uploaded again: {project.image}" in told
        session.interrupt()
        assert session.ended() == 130


def test_minikubes_engine_builds_where_it_has_one_node(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    Profile(home, "one").change(docker_env={"DOCKER_HOST": HERE})
    disguise(project, kubeconfig, "one", minikube_home=home)
    result = project.run("run").ended(0)
    assert "images are built in minikube's own Engine (profile 'one')" in result.one("notice")["message"]
    assert deployed(project, kube) == result.one("stepFinished", step="build")["detail"]


def test_a_build_for_minikube_is_there_when_it_is_deployed(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    Profile(home, "one").change(docker_env={"DOCKER_HOST": HERE})
    disguise(project, kubeconfig, "one", minikube_home=home)
    project.devloop.environ["DOCKER_HOST"] = "unix:///nope"      # the Engine of the docker CLI is not asked
    built = project.run("build").ended(0).one("stepFinished", step="build")["detail"]
    project.run("deploy").ended(0)
    assert deployed(project, kube) == built


def test_images_are_loaded_into_every_node(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    profile = Profile(home, "multi", nodes=2, runtime="containerd")
    disguise(project, kubeconfig, "multi", minikube_home=home)
    result = project.run("run").ended(0)
    assert result.one("stepFinished", step="publish")["detail"].startswith("loaded into 2 nodes, ")
    assert all(deployed(project, kube) in profile.images(node) for node in profile.nodes)


def test_a_load_that_fails_deploys_nothing(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    Profile(home, "multi", nodes=2).change(faults={"load": "lost"})
    disguise(project, kubeconfig, "multi", minikube_home=home)
    failure = project.run("run").ended(11).one("failure")
    assert "did not get into node 'multi' (and 1 more)" in failure["message"]
    assert project.left(kube) == []


def test_images_are_built_on_minikubes_nodes(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    profile = Profile(home, "one")
    disguise(project, kubeconfig, "one", minikube_home=home)
    project.add("devloop.yaml", "publish: minikube-image-build\n")
    first = project.run("run").ended(0)
    assert any("FROM busybox" in event["line"] for event in first.all("stepOutput", step="build"))
    assert deployed(project, kube) in profile.images("one")
    assert project.run("run").ended(0).one("stepFinished", step="build")["cached"]


def test_kinds_nodes_are_loaded_and_a_load_that_fails_is_retried_by_the_next_save(project: Project, kubeconfig: str, kube: Kube,
                                                                                    docker_api: docker.APIClient) -> None:
    build_node_image(docker_api)
    nodes = Nodes(docker_api, "kind", project.image, 2)
    try:
        disguise(project, kubeconfig, f"kind-{project.image}")
        with project.start("dev") as session:
            session.live(1)
            assert all(f"docker.io/library/{deployed(project, kube)}" in nodes.images(name) for name in nodes.names)
            nodes.break_(nodes.names[1], "echo ctr: broken >&2; exit 1")
            project.edit("web/www/index.html", "Hello", "Good morning")
            session.finished(2, "failed")
            failure = session.wait_for("failure", phase="publish")
            assert f"did not get into node '{nodes.names[1]}'" in failure["message"]
            nodes.run(nodes.names[1], "rm", "/fault")
            session.next_live(lambda: project.edit("web/www/index.html", "Good morning", "Good evening"))
            assert all(f"docker.io/library/{deployed(project, kube)}" in nodes.images(name) for name in nodes.names)
            session.interrupt()
            assert session.ended() == 130
    finally:
        nodes.close()


def test_another_way_in_an_edited_config_is_taken_at_once(project: Project, kubeconfig: str, home: Path, kube: Kube) -> None:
    profile = Profile(home, "one")
    profile.change(docker_env={"DOCKER_HOST": HERE})
    disguise(project, kubeconfig, "one", minikube_home=home)
    with project.start("dev") as session:
        session.live(1)
        session.next_live(lambda: project.add("devloop.yaml", "publish: minikube-image-load\n"))
        assert "as publish.mode minikube-image-load says" in session.all("notice")[-1]["message"]
        assert deployed(project, kube) in profile.images("one")
        session.interrupt()
        assert session.ended() == 130
