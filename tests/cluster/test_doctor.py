"""`devloop doctor` on the real thing, well and with every fault planted that it is there to find."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import Event, Result
from jsonschema import Draft202012Validator
from project import Project
from standins.disguise import disguise
from standins.profiles import Profile

from tests.cluster.registries import PASSWORD, USER, registry

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
ALL = ["devloop.yaml", "docker", "buildx", "context", "cluster", "rights", "route", "images", "login docker.io"]


def problems(result: Result) -> dict[str, Event]:
    return {event["name"]: event for event in result.all("checked", ok=False)}


def only(result: Result, name: str) -> Event:
    """The one problem there is."""
    found = problems(result)
    assert list(found) == [name], result.out
    assert found[name]["hint"]
    return found[name]


def checked(result: Result) -> list[str]:
    return [event["name"] for event in result.all("checked")]


def test_where_all_is_well_each_thing_is_said_to_be_and_the_exit_code_is_0(project: Project) -> None:
    result = project.run("doctor").ended(0)
    assert checked(result) == ALL
    schema = Draft202012Validator(json.loads((ROOT / "schemas" / "events.schema.json").read_text()))
    for event in result.events:
        assert event["type"] == "checked"
        schema.validate(event)
    details = {event["name"]: event["detail"] for event in result.events}
    assert "Docker Engine" in details["docker"]
    assert f"published as {project.image}:doctor-" in details["images"]


def test_people_see_a_line_for_each(project: Project) -> None:
    project.devloop.environ["DOCKER_HOST"] = "unix:///nope"
    said = project.devloop.run("doctor", "-n", project.namespace).ended(14).out
    assert "✓ context " in said
    assert "✗ docker       the Docker Engine at unix:///nope (from DOCKER_HOST) is not running" in said
    assert "  → Start Docker" in said


def test_the_probe_leaves_nothing_behind(project: Project, docker_api) -> None:  # type: ignore[no-untyped-def]
    project.run("doctor").ended(0)
    assert docker_api.images(project.image) == []


def test_a_broken_config_is_all_that_is_told(project: Project) -> None:
    project.add("devloop.yaml", "frobnicate: 1\n")
    result = project.run("doctor").ended(2)
    assert "frobnicate" in problems(result)["devloop.yaml"]["detail"]
    assert checked(result) == ["devloop.yaml"]


def test_a_missing_docker_leaves_the_cluster_to_be_looked_at(project: Project) -> None:
    project.devloop.environ["DOCKER_HOST"] = "unix:///nope"
    result = project.run("doctor").ended(14)
    only(result, "docker")
    assert checked(result) == ["devloop.yaml", "docker", "context", "cluster", "rights"]


def test_a_dockerfile_that_its_builder_cannot_build(project: Project) -> None:
    project.edit("web/Dockerfile", "USER 1000\n", "RUN --mount=type=cache,target=/x true\nUSER 1000\n")
    project.edit("devloop.yaml", "build:\n", "build:\n  engine: classic\n")
    assert "the Dockerfile needs BuildKit (RUN --mount on line 4)" in only(project.run("doctor").ended(10), "buildx")["detail"]


def test_a_context_that_is_not_known_to_be_local(project: Project, kubeconfig: str) -> None:
    content = yaml.safe_load(Path(kubeconfig).read_text())
    content["clusters"][0]["cluster"]["server"] = "https://203.0.113.7:6443"
    (project.path / "remote").write_text(yaml.safe_dump(content))
    project.devloop.environ["KUBECONFIG"] = str(project.path / "remote")
    assert "is not on this machine" in only(project.run("doctor").ended(2), "context")["detail"]


def test_a_cluster_that_does_not_answer(project: Project, kubeconfig: str) -> None:
    content = yaml.safe_load(Path(kubeconfig).read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (project.path / "down").write_text(yaml.safe_dump(content))
    project.devloop.environ["KUBECONFIG"] = str(project.path / "down")
    assert "does not answer" in only(project.run("doctor").ended(14), "cluster")["detail"]


def test_rights_that_are_missing_are_listed_as_kubectl_takes_them(project: Project, powerless: str) -> None:
    project.devloop.environ["KUBECONFIG"] = powerless
    found = problems(project.run("doctor").ended(12))
    assert list(found) == ["rights", "route"]      # the nodes cannot be listed either
    for right in ("create deployments.apps", "patch services", "get pods/log", "create pods/portforward", "delete configmaps",
                  "list events"):
        assert f"{right} -n {project.namespace}" in found["rights"]["detail"]
    assert "kubectl auth can-i" in found["rights"]["hint"]
    assert "publish: {registry:" in found["route"]["hint"]


def test_a_way_whose_tool_is_missing(project: Project) -> None:
    project.add("devloop.yaml", "publish: minikube-image-load\n")
    project.devloop.environ["PATH"] = "/usr/bin:/bin"
    assert only(project.run("doctor").ended(11), "route")["detail"] == "minikube is not installed, or not in PATH"


def test_a_way_that_loses_images_and_calls_it_a_success(project: Project, kubeconfig: str, tmp_path: Path) -> None:
    profile = Profile(tmp_path / "minikube", "lossy", nodes=2)
    disguise(project, kubeconfig, "lossy", minikube_home=tmp_path / "minikube")
    result = project.run("doctor").ended(0)
    assert "by 'minikube image load', because it has 2 nodes" in result.one("checked", name="route")["detail"]
    profile.change(faults={"load": "lost"})
    profile.change_node("lossy-m02", images={})
    assert "did not get into node 'lossy" in only(project.run("doctor").ended(11), "images")["detail"]


@pytest.fixture
def private(tmp_path: Path, kubeconfig: str) -> Iterator[str]:
    with registry(tmp_path / "private", passwords=True) as address:
        yield address


def test_a_login_that_the_registry_does_not_accept(project: Project, private: str) -> None:
    project.add("devloop.yaml", f"publish: {{registry: {{repository: {private}/acme}}}}\n")
    file = Path(project.devloop.environment["HOME"]) / ".docker" / "config.json"
    file.parent.mkdir()

    def log_in(password: str) -> None:
        file.write_text(json.dumps({"auths": {private: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}}}))

    log_in("wrong")
    found = problems(project.run("doctor").ended(11))
    assert list(found) == ["images", f"login {private}"]
    for problem in found.values():
        assert private in problem["detail"]
        assert USER in problem["detail"]
        assert f"docker login {private}" in problem["hint"]
        assert "wrong" not in problem["detail"]
    log_in(PASSWORD)
    result = project.run("doctor").ended(0)
    assert result.one("checked", name=f"login {private}")["detail"] == f"as {USER}"


def test_a_credential_helper_that_is_missing(project: Project) -> None:
    file = Path(project.devloop.environment["HOME"]) / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"credsStore": "absent"}))
    result = project.run("doctor").ended(14)
    assert "docker-credential-absent" in only(result, "login docker.io")["detail"]
