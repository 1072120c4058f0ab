"""`devloop run`, `build`, `deploy`, `render` and `delete`, as their users run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from jsonschema import Draft202012Validator
from project import Project, eventually, other

from devloop.clients.kube import Kube

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]


def test_a_first_run_builds_and_deploys_and_a_second_one_finds_it_all_there(project: Project, kube: Kube) -> None:
    first = project.run("run").ended(0)
    reference = first.one("stepFinished", step="build")["detail"]
    assert reference.startswith(f"{project.image}:")
    assert not reference.endswith(":latest")
    deployment = project.deployment(kube)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == reference
    assert deployment["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "devloop"
    assert deployment["status"]["readyReplicas"] == 1
    assert {event["action"] for event in first.all("objectApplied")} == {"created"}

    second = project.run("run").ended(0)
    assert second.one("stepFinished", step="build")["cached"]
    assert {event["action"] for event in second.all("objectApplied")} <= {"unchanged"}
    assert project.deployment(kube)["metadata"]["generation"] == deployment["metadata"]["generation"]


def test_every_event_of_a_run_is_as_the_schema_says(project: Project) -> None:
    schema = Draft202012Validator(json.loads((ROOT / "schemas" / "events.schema.json").read_text()))
    for event in project.run("run").ended(0).events:
        schema.validate(event)


def test_without_a_terminal_a_run_is_told_in_plain_lines(project: Project) -> None:
    said = project.devloop.run("run", "-n", project.namespace).ended(0)
    assert not set("\x1b\r\b") & set(said.out + said.err)
    assert "live in" in said.out


def test_delete_removes_all_of_it_and_is_content_when_nothing_is_there(project: Project, kube: Kube) -> None:
    project.run("run").ended(0)
    project.run("delete").ended(0)
    eventually(lambda: project.left(kube) == [])
    assert kube.get(f"/api/v1/namespaces/{project.namespace}")["status"]["phase"] == "Active"
    project.run("delete").ended(0)


def test_a_change_patches_the_image_and_nothing_else(project: Project, kube: Kube) -> None:
    project.run("run").ended(0)
    project.edit("web/www/index.html", "Hello", "Good morning")
    changed = [event["resource"] for event in project.run("run").ended(0).all("objectApplied") if event["action"] != "unchanged"]
    assert changed == ["deployment/hello"]


def test_run_with_forwards_stays_until_ctrl_c_and_leaves_what_it_deployed(project: Project, kube: Kube) -> None:
    with project.start("run", "--tail") as session:
        session.live(1)
        session.port("service/hello")
        assert "Hello from Kubernetes" in project.page()
        assert json.loads(project.page("/cgi-bin/status"))["greeting"] == "Nice to see you."
        session.wait_for("logLine", line="serving /www on port 8080")
        session.interrupt()
        assert session.ended() == 130
    assert "deployment/hello" in project.left(kube)


def test_a_failing_build_ends_with_10_names_the_line_and_deploys_nothing(project: Project, kube: Kube) -> None:
    project.edit("web/Dockerfile", "USER 1000\n", "RUN echo about to fail; exit 7\nUSER 1000\n")
    result = project.run("run").ended(10)
    failure = result.one("failure")
    assert "Dockerfile:4" in failure["message"]
    assert "7" in failure["message"]
    assert any("about to fail" in line for line in failure["details"])
    assert project.left(kube) == []


def test_a_manifest_that_kubernetes_refuses_ends_with_12(project: Project) -> None:
    project.edit("k8s/deployment.yaml", "containerPort: 8080", "containerPort: 123456")
    failure = project.run("run").ended(12).one("failure")
    assert "deployment/hello" in failure["message"]
    assert "containerPort" in str(failure)


@pytest.mark.parametrize(("container", "said"), [
    ({"image": "no-such-image:1", "imagePullPolicy": "Never"}, ["no-such-image:1"]),
    # without a probe it is taken for ready, where the kubelet happens to look before it ends
    ({"command": ["sh", "-c", "echo my last words; exit 3"], "readinessProbe": {"exec": {"command": ["false"]}}}, ["my last words", "3"]),
    ({"envFrom": [{"configMapRef": {"name": "settings"}}]}, ["settings"]),
    ({"readinessProbe": {"periodSeconds": 1, "exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}}}, ["not yet"]),
], ids=["no image", "crash", "no config map", "probe"])
def test_a_rollout_that_fails_ends_with_13_and_says_why(project: Project, container: dict[str, Any], said: list[str]) -> None:
    project.write("k8s/other.yaml", other(**container))
    project.edit("devloop.yaml", "manifests:", "rolloutTimeout: 30s\n  manifests:")      # the pod's start is in it
    project.edit("k8s/deployment.yaml", "  selector:", "  replicas: 0\n  selector:")      # on a busy machine it might be late, too
    failure = project.run("run").ended(13).one("failure")
    assert all(part in str(failure) for part in ["deployment/other", *said]), failure
    assert failure["hint"]


def test_ctrl_c_during_a_rollout_ends_run_with_130(project: Project) -> None:
    project.write("k8s/other.yaml", other(readinessProbe={"exec": {"command": ["false"]}}))
    with project.start("run") as session:
        session.wait_for("stepStarted", step="rollout", subject="deployment/other")
        session.interrupt()
        assert session.ended(timeout=10) == 130


def test_the_list_that_build_writes_is_what_deploy_takes(project: Project, kube: Kube) -> None:
    project.run("build", "--file-output", "builds.json").ended(0)
    builds = json.loads((project.path / "builds.json").read_text())["builds"]
    assert [build["imageName"] for build in builds] == [project.image]
    project.edit("web/www/index.html", "Hello", "Not built")       # deploy takes what the list says, whatever the files say now
    project.run("deploy", "--build-artifacts", "builds.json").ended(0)
    assert project.deployment(kube)["spec"]["template"]["spec"]["containers"][0]["image"] == builds[0]["tag"]


def test_render_says_what_run_deploys(project: Project, kube: Kube) -> None:
    project.devloop.run("render", "-n", project.namespace, "-o", "all.yaml").ended(0)
    rendered = {document["kind"]: document for document in yaml.safe_load_all((project.path / "all.yaml").read_text())}
    assert rendered.keys() == {"Deployment", "Service", "ConfigMap"}
    project.run("run").ended(0)
    deployed = project.deployment(kube)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert rendered["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] == deployed


def test_an_artifact_that_others_require_is_built_first_and_handed_over(project: Project, docker_api: docker.APIClient) -> None:
    project.write("base/Dockerfile", "FROM busybox:1.36\nRUN echo from the base >/base\n")
    project.edit("web/Dockerfile", "FROM busybox:1.36\n", "ARG BASE\nFROM ${BASE}\n")
    project.edit("devloop.yaml", "      context: web\n", f"""      context: web
      requires: [{{image: base-{project.image}, alias: BASE}}]
    - image: base-{project.image}
      context: base
""")
    result = project.run("build").ended(0)
    assert [event["subject"] for event in result.all("stepFinished", step="build")] == [f"base-{project.image}", project.image]
    web = result.one("stepFinished", step="build", subject=project.image)["detail"]
    output = docker_api.create_container(web, entrypoint=["cat", "/base"])
    try:
        docker_api.start(output)
        docker_api.wait(output)
        assert docker_api.logs(output) == b"from the base\n"
    finally:
        docker_api.remove_container(output)


def test_volume_claims_outlive_delete(project: Project, kube: Kube) -> None:
    project.write("k8s/data.yaml", """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
""")
    project.run("run").ended(0)
    project.run("delete").ended(0)
    eventually(lambda: project.left(kube) == ["persistentvolumeclaim/data"])
