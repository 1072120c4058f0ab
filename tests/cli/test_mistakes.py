"""What a user can get wrong before anything is built: the exit code, and that the message helps. No traceback, ever (see harness)."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Devloop

GOOD = "apiVersion: devloop/v1\nname: hello\nbuild:\n  artifacts:\n    - image: hello-web\n"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec: {containers: [{name: web, image: hello-web}]}
"""


def config(devloop: Devloop, text: str) -> None:
    (devloop.cwd / "devloop.yaml").write_text(text)


def project(devloop: Devloop, deployment: str = DEPLOYMENT) -> None:
    config(devloop, GOOD)
    (devloop.cwd / "k8s").mkdir()
    (devloop.cwd / "k8s" / "web.yaml").write_text(deployment)
    (devloop.cwd / "Dockerfile").write_text("FROM busybox:1.36\n")


@pytest.mark.parametrize(("text", "said"), [
    ("", ("devloop.yaml",)),
    (GOOD + "bulid: {}\n", ("devloop.yaml:6:1", "bulid", "build")),
    (GOOD.replace("image", "imgae"), ("devloop.yaml:5:7", "imgae", "image")),
    (GOOD + "name: again\n", ("devloop.yaml:6:1", "name")),
    (GOOD + "logs: {since: yesterday}\n", ("devloop.yaml:6", "since", "yesterday")),
    (GOOD + "deploy:\n\tnamespace: x\n", ("devloop.yaml:7", "tab")),
    (GOOD + "deploy: {namespace: '${NOT_SET}'}\n", ("devloop.yaml:6", "NOT_SET")),
    ("- a list\n", ("devloop.yaml:1:1",)),
], ids=["empty", "unknown key", "unknown key deep down", "duplicate key", "wrong value", "tab", "unset variable", "no mapping"])
def test_a_mistake_in_the_config_is_told_with_its_place(devloop: Devloop, text: str, said: tuple[str, ...]) -> None:
    config(devloop, text)
    result = devloop.run("build").ended(2)
    assert all(part in result.out + result.err for part in said), result


def test_a_missing_config_is_told_by_its_name(devloop: Devloop) -> None:
    assert "devloop.yaml" in devloop.json("dev").ended(2).one("failure")["message"]
    assert "other.yaml" in devloop.json("dev", "-f", "other.yaml").ended(2).one("failure")["message"]


def test_a_config_that_is_a_directory_is_told_so(devloop: Devloop) -> None:
    (devloop.cwd / "devloop.yaml").mkdir()
    assert "directory" in devloop.json("run").ended(2).one("failure")["message"]


def test_no_manifest_uses_the_artifact(devloop: Devloop) -> None:
    project(devloop, DEPLOYMENT.replace("image: hello-web", "image: hello-wbe"))
    failure = devloop.json("render").ended(12).one("failure")
    assert "hello-web" in failure["message"]
    assert "hello-wbe" in str(failure)


def test_a_manifest_that_is_no_yaml_is_told_with_its_place(devloop: Devloop) -> None:
    project(devloop, DEPLOYMENT + "  broken: [\n")
    assert "web.yaml:" in devloop.json("render").ended(2).one("failure")["message"]


@pytest.mark.parametrize("command", ["run", "build", "render", "delete"])
@pytest.mark.parametrize("namespace", ["My_NS", "a/b", "-a", "a" * 64])
def test_a_namespace_that_cannot_be_is_told_before_anything_is_done(devloop: Devloop, command: str, namespace: str) -> None:
    project(devloop)
    failure = devloop.json(command, f"--namespace={namespace}").ended(2).one("failure")
    assert failure["message"].startswith("--namespace: expected a namespace: lower-case letters, digits and '-', 63 characters at most")


def test_docker_cannot_be_reached(devloop: Devloop) -> None:
    project(devloop)
    assert "no-docker.sock" in str(devloop.json("build").ended(14).one("failure"))


@pytest.mark.parametrize("command", ["dev", "run", "deploy", "delete"])
def test_there_is_no_kubeconfig(devloop: Devloop, command: str) -> None:
    project(devloop)
    assert "no-kubeconfig" in devloop.json(command).ended(14).one("failure")["message"]


def kubeconfig(devloop: Devloop, server: str) -> None:
    Path(devloop.environ["KUBECONFIG"]).write_text(f"""
clusters: [{{name: prod, cluster: {{server: "{server}"}}}}]
users: [{{name: me, user: {{token: secret-token}}}}]
contexts: [{{name: prod, context: {{cluster: prod, user: me}}}}]
current-context: prod
""")


@pytest.mark.parametrize("command", ["dev", "run", "deploy", "delete"])
def test_a_cluster_that_is_not_local_is_not_touched(devloop: Devloop, command: str) -> None:
    project(devloop)
    kubeconfig(devloop, "https://prod.invalid:6443")
    failure = devloop.json(command).ended(2).one("failure")
    assert "prod" in failure["message"]
    assert "--kube-context prod" in failure["hint"]


def test_a_cluster_that_is_not_local_is_touched_if_it_is_named(devloop: Devloop) -> None:
    project(devloop)
    kubeconfig(devloop, "https://prod.invalid:6443")
    assert "prod.invalid" in devloop.json("deploy", "--kube-context", "prod").ended(14).one("failure")["message"]
    config(devloop, GOOD + "deploy: {kubeContext: prod}\n")
    assert "prod.invalid" in devloop.json("deploy").ended(14).one("failure")["message"]


def test_a_local_cluster_that_does_not_run_is_told_so(devloop: Devloop) -> None:
    project(devloop)
    kubeconfig(devloop, "https://127.0.0.1:1")
    failure = devloop.json("run").ended(14).one("failure")
    assert "127.0.0.1:1" in failure["message"]
    assert failure["hint"]


def test_secrets_of_the_kubeconfig_are_never_shown(devloop: Devloop) -> None:
    project(devloop)
    kubeconfig(devloop, "https://127.0.0.1:1")
    said = devloop.run("run", "-v")
    assert "secret-token" not in said.out + said.err


def test_a_list_of_builds_that_is_none_is_told_with_what_is_expected(devloop: Devloop) -> None:
    project(devloop)
    kubeconfig(devloop, "https://127.0.0.1:1")
    (devloop.cwd / "builds.json").write_text('{"images": []}')
    assert "imageName" in devloop.json("render", "--build-artifacts", "builds.json").ended(2).one("failure")["hint"]
