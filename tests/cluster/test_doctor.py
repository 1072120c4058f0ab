"""`devloop doctor` on the real thing, well and with every fault planted that it is there to find."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker
import pytest
import yaml
from harness import Event, Result
from jsonschema import Draft202012Validator
from project import Project
from standins.disguise import disguise
from standins.profiles import Profile

from devloop.clients.kube import Kube
from devloop.deploy.manifests import ManifestSet
from devloop.deploy.rights import Right, needed
from devloop.forward.target import parse
from tests.cluster.front import AnonymousTokens, ImmutableTags
from tests.cluster.registries import PASSWORD, USER, registry
from tests.cluster.test_pullsecrets import trusted_registry

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


def test_forwards_take_rights_where_they_lead_to(kube: Kube) -> None:
    forwards = [(parse("service/web").resource, ""), (parse("statefulset/db").resource, "data")]
    found = set(needed(kube, [], "shop", pull_secret=False, forwards=forwards))
    assert found >= {Right(verb, resource, group, namespace) for verb in ("list", "watch") for resource, group, namespace in (
        ("services", "", "shop"), ("pods", "", "shop"), ("statefulsets", "apps", "data"), ("pods", "", "data"))}
    assert found >= {Right("create", "pods/portforward", "", namespace) for namespace in ("shop", "data")}


@pytest.fixture
def bound(kube: Kube, namespace: str) -> Iterator[Sequence[str]]:
    """The cluster-wide names of what gives the namespace's service account its rights; removed at the end."""
    names = [f"{namespace}-rights"]
    yield names
    for name in names:
        for kind in ("clusterrolebindings", "clusterroles"):
            kube.request("DELETE", f"{RBAC}/{kind}/{name}")


RBAC = "/apis/rbac.authorization.k8s.io/v1"


def test_who_has_the_rights_that_it_asks_for_and_no_others_can_work(project: Project, kube: Kube, powerless: str, bound: Sequence[str]
                                                                  ) -> None:
    """And what is served comes through the forward."""
    manifests = ManifestSet(["k8s/*.yaml"], project.path).load()
    rights = needed(kube, manifests, project.namespace, pull_secret=False, forwards=[(parse("service/hello").resource, "")])
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": project.namespace}
    for place, kind, name in ((f"/namespaces/{project.namespace}", "Role", "rights"), ("", "ClusterRole", bound[0])):
        own = [*rights, Right("list", "nodes")]      # the nodes for the proof that they use the Engine
        rules = [{"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]}
                 for right in own if bool(right.namespace) == bool(place)]
        kube.request("POST", f"{RBAC}{place}/{kind.lower()}s", body={"metadata": {"name": name}, "rules": rules})
        kube.request("POST", f"{RBAC}{place}/{kind.lower()}bindings", body={
            "metadata": {"name": name}, "subjects": [subject], "roleRef": {"apiGroup": RBAC.split("/")[2], "kind": kind, "name": name}})
    project.devloop.environ["KUBECONFIG"] = powerless
    result = project.run("doctor").ended(0)
    assert result.one("checked", name="rights")["detail"].startswith(f"all {len(rights) + 1} ")
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        assert project.page()
        session.interrupt()
        session.ended()


def test_each_right_of_the_way_is_asked_for(project: Project, powerless: str, kubeconfig: str, tmp_path: Path) -> None:
    Profile(tmp_path / "minikube", "addon", nodes=2, registry=True)
    disguise(project, powerless, "addon", minikube_home=tmp_path / "minikube")
    detail = problems(project.run("doctor").ended(12))["rights"]["detail"]
    for right in ("get services -n kube-system", "watch pods -n kube-system", "create pods/portforward -n kube-system"):
        assert right in detail


def test_an_engine_that_only_minikube_has_is_the_one_that_is_looked_at(project: Project, kubeconfig: str, tmp_path: Path) -> None:
    here = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    Profile(tmp_path / "minikube", "mini").change(docker_env={"DOCKER_HOST": here})
    disguise(project, kubeconfig, "mini", minikube_home=tmp_path / "minikube")
    project.devloop.environ["DOCKER_HOST"] = "unix:///nope"
    result = project.run("doctor").ended(0)
    assert checked(result) == ["devloop.yaml", "context", "cluster", "route", "docker", "buildx", "rights", "images", "login docker.io"]
    assert here in result.one("checked", name="docker")["detail"]


def test_where_minikubes_nodes_build_no_engine_is_looked_at(project: Project, kubeconfig: str, tmp_path: Path) -> None:
    Profile(tmp_path / "minikube", "mini")
    disguise(project, kubeconfig, "mini", minikube_home=tmp_path / "minikube")
    project.add("devloop.yaml", "publish: minikube-image-build\n")
    assert checked(project.run("doctor").ended(0)) == ["devloop.yaml", "context", "cluster", "route", "buildx", "rights", "images"]
    Profile(tmp_path / "other", "mini").change_node("mini", host="Stopped")
    project.devloop.environ |= {"MINIKUBE_HOME": str(tmp_path / "other"), "DOCKER_HOST": "unix:///nope"}
    assert list(problems(project.run("doctor").ended(10))) == ["images"]


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


def log_in(project: Project, address: str, password: str) -> None:
    file = Path(project.devloop.environment["HOME"]) / ".docker" / "config.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"auths": {address: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}}}))


@pytest.fixture
def private(tmp_path: Path, kubeconfig: str) -> Iterator[str]:
    with registry(tmp_path / "private", passwords=True) as address:
        yield address


def test_a_login_that_the_registry_does_not_accept(project: Project, private: str) -> None:
    project.add("devloop.yaml", f"publish: {{registry: {{repository: {private}/acme}}}}\n")
    log_in(project, private, "wrong")
    found = problems(project.run("doctor").ended(11))
    assert list(found) == ["images", f"login {private}"]
    for problem in found.values():
        assert private in problem["detail"]
        assert USER in problem["detail"]
        assert f"docker login {private}" in problem["hint"]
        assert "wrong" not in problem["detail"]
    log_in(project, private, PASSWORD)
    result = project.run("doctor").ended(0)
    assert result.one("checked", name=f"login {private}")["detail"] == f"as {USER}"


def test_a_wrong_login_of_the_environment(project: Project, private: str) -> None:
    project.add("devloop.yaml", f"publish: {{registry: {{repository: {private}/acme}}}}\n")
    project.devloop.environ |= {"DEVLOOP_REGISTRY_USER": USER, "DEVLOOP_REGISTRY_PASSWORD": "wrong"}
    found = problems(project.run("doctor").ended(11))
    assert list(found) == ["images", f"login {private}"]
    for problem in found.values():
        assert f"user '{USER}' (of DEVLOOP_REGISTRY_USER)" in problem["detail"]
        assert "docker login" not in problem["hint"]


def test_the_login_for_base_images_is_tried(project: Project, private: str) -> None:
    project.edit("web/Dockerfile", "FROM busybox:1.36", f"FROM {private}/busybox:1.36")
    log_in(project, private, "wrong")
    assert f"does not accept the login of user '{USER}'" in only(project.run("doctor").ended(11), f"login {private}")["detail"]
    log_in(project, private, PASSWORD)
    result = project.run("doctor").ended(0)
    assert result.one("checked", name=f"login {private}")["detail"] == f"as {USER}, for base images"


def test_a_registry_that_only_the_engine_reaches_is_no_problem(project: Project, kubeconfig: str, tmp_path: Path) -> None:
    with trusted_registry(tmp_path / "trusted", passwords=True) as address:
        project.add("devloop.yaml", f"publish: {{registry: {{repository: {address}/acme}}}}\n")
        log_in(project, address, PASSWORD)
        project.devloop.environ |= {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1,localhost"}
        result = project.run("doctor").ended(0)
        assert result.one("checked", name=f"login {address}")["detail"].startswith("the probe was let in; not tried from here: ")
        log_in(project, address, "wrong")
        assert list(problems(project.run("doctor").ended(11))) == ["images", f"login {address}"]


def test_a_token_that_anybody_gets_is_no_login(project: Project, tmp_path: Path) -> None:
    with registry(tmp_path / "tokens") as address, AnonymousTokens(address) as front:
        project.add("devloop.yaml", f"publish: {{registry: {{repository: {front.address}/acme}}}}\n")
        result = project.run("doctor").ended(11)
    assert "wants a login, and there is none" in only(result, "images")["detail"]
    assert result.one("checked", name=f"login {front.address}")["detail"] == "nobody is logged in"


def test_tags_that_cannot_be_changed_are_no_problem_the_next_time(project: Project, tmp_path: Path, docker_api: docker.APIClient) -> None:
    with registry(tmp_path / "immutable") as address, ImmutableTags(address) as front:
        project.add("devloop.yaml", f"publish: {{registry: {{repository: {front.address}/acme}}}}\n")
        first, second = (project.run("doctor").ended(0).one("checked", name="images")["detail"] for _ in range(2))
    assert "and found there" in first
    assert "stays the one of before there, as tags cannot be changed" in second
    assert front.refused == 1
    assert docker_api.images(f"{front.address}/*") == docker_api.images(project.image) == []


def test_a_credential_helper_that_is_missing(project: Project) -> None:
    file = Path(project.devloop.environment["HOME"]) / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"credsStore": "absent"}))
    result = project.run("doctor").ended(14)
    assert "docker-credential-absent" in only(result, "login docker.io")["detail"]
