"""examples/hello-dotnet on the real API server, and running there on stand-ins for the bases that cannot be had everywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import docker
import pytest
import yaml
from harness import Devloop, Session
from project import eventually

from devloop.clients.kube import SSA, Kube
from devloop.deploy.objects import prepare

pytestmark = pytest.mark.cluster

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello-dotnet"
STANDINS = Path(__file__).parent / "standins" / "hello-dotnet"
BASES = {"mcr.microsoft.com/dotnet/sdk:8.0": "dotnet", "mcr.microsoft.com/dotnet/aspnet:8.0": "dotnet",
         "nginxinc/nginx-unprivileged:1.27-alpine": "nginx", "mongo:7.0": "mongo"}


@pytest.fixture
def example(tmp_path: Path, kubeconfig: str) -> Devloop:
    shutil.copytree(EXAMPLE, tmp_path / "hello")
    return Devloop(tmp_path / "hello", {"KUBECONFIG": kubeconfig, "REGISTRY": "ghcr.io/acme", "KUBE_CONTEXT": "staging"})


@pytest.mark.parametrize("profiles", [[], ["minikube"], ["minikube-multinode"], ["ci"], ["kaniko"], ["hot"]], ids="+".join)
def test_the_api_server_accepts_what_every_profile_renders(example: Devloop, kube: Kube, namespace: str, profiles: list[str]) -> None:
    flags = [flag for name in profiles for flag in ("-p", name)]
    example.run("render", "-n", namespace, "-o", "all.yaml", *flags).ended(0)
    accepted = {}
    for body in yaml.safe_load_all((example.cwd / "all.yaml").read_text()):
        path = kube.resource(body["apiVersion"], body["kind"]).path(namespace, body["metadata"]["name"])
        query = {"dryRun": "All", "fieldManager": "devloop", "fieldValidation": "Strict"}
        accepted[body["kind"]] = kube.request("PATCH", path, query=query, body=prepare(body, namespace), content_type=SSA)
    assert accepted.keys() == {"ConfigMap", "Deployment", "Secret", "Service"}
    containers = accepted["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["web", "api", "mongo"]


@pytest.fixture
def runnable(example: Devloop, namespace: str, docker_api: docker.APIClient) -> Iterator[Devloop]:
    """The example on stand-ins, with images of its own."""
    mark = namespace.rpartition("-")[2]
    for target in set(BASES.values()):
        for _ in docker_api.build(path=str(STANDINS), target=target, tag=f"standin-{mark}-{target}:1", rm=True, forcerm=True):
            pass
    for file in ("devloop.yaml", "k8s/deployment.yaml", "api/Dockerfile", "web/Dockerfile"):
        text = (example.cwd / file).read_text()
        for base, target in BASES.items():
            text = text.replace(base, f"standin-{mark}-{target}:1")
        for image in ("web", "api"):
            text = text.replace(f"image: hello-dotnet-{image}", f"image: hello-{mark}-{image}")
        (example.cwd / file).write_text(text)
    yield example
    for image in docker_api.images(f"*-{mark}-*"):
        for tag in image["RepoTags"] or ():
            docker_api.remove_image(tag, force=True)


def ask(session: Session, path: str, body: str | None = None) -> str:
    """What the forwarded Service answers: to a POST where there is a body."""
    url = f"http://127.0.0.1:{session.port('service/hello-dotnet')}{path}"
    with urlopen(Request(url, data=body.encode() if body is not None else None), timeout=10) as answer:
        return str(answer.read().decode())


def hellos(session: Session, name: str) -> Any:
    return json.loads(ask(session, f"/hello/{name}"))


@pytest.mark.parametrize("target", [(), ("--local",)], ids=["kubernetes", "docker"])
def test_page_and_api_answer_and_a_change_of_the_sources_restores_no_packages(runnable: Devloop, namespace: str, target: tuple[str, ...],
                                                                              ) -> None:
    with runnable.start("dev", "-n", namespace, *target) as session:
        session.live(1)
        assert ask(session, "/") == (EXAMPLE / "web/html/index.html").read_text().rstrip("\n")
        ask(session, "/hello/ann", "bob")
        ask(session, "/hello/ann", "eve")
        first = hellos(session, "ann")
        assert (first["greeting"], first["from"], first["user"]) == ("Hello, ann!", ["bob", "eve"], 1654)
        assert hellos(session, "ann")["from"] == []

        program, changed = runnable.cwd / "api/Program.cs", runnable.cwd / "changed"
        changed.write_text(program.read_text() + "// changed\n")
        session.next_live(lambda: shutil.copy(changed, program))
        second = eventually(lambda: (now := hellos(session, "ann"))["program"] != first["program"] and now)
        assert second["restored"] == first["restored"]
        session.interrupt()
        session.ended()


@pytest.mark.parametrize("target", [(), ("--local",)], ids=["kubernetes", "docker"])
def test_hot_runs_the_api_from_its_sources(runnable: Devloop, namespace: str, target: tuple[str, ...]) -> None:
    with runnable.start("run", "-n", namespace, "-p", "hot", "--port-forward", *target) as session:
        session.live(1)
        ask(session, "/hello/ann", "bob")
        assert hellos(session, "ann")["from"] == ["bob"]
        session.interrupt()
        session.ended()
    runnable.run("delete", "-n", namespace, "-p", "hot", *target).ended(0)      # on the Engine it would run on beside all other tests
