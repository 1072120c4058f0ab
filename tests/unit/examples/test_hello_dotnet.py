"""examples/hello-dotnet, as far as it can be known without Docker and a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devloop.config.load import load
from devloop.config.models import Config
from devloop.context import BuildContext, DigestCache, analyse
from devloop.deploy.manifests import ManifestSet, Rendered, render
from devloop.errors import ConfigError
from devloop.model import ImageRef, PublishedImage

EXAMPLE = Path(__file__).parents[3] / "examples" / "hello-dotnet"
CI = {"REGISTRY": "ghcr.io/acme", "KUBE_CONTEXT": "staging"}
PROFILES = ["minikube", "minikube-multinode", "ci", "kaniko", "hot"]
SOURCES = ["Hello.csproj", "Hellos.cs", "Program.cs", "appsettings.json"]
each_profile = pytest.mark.parametrize("profiles", [[], *([name] for name in PROFILES), ["minikube", "hot"]], ids="+".join)


def config(*profiles: str, **environ: str) -> Config:
    return load(EXAMPLE / "devloop.yaml", environ=CI | environ, profiles=profiles).config


def context(image: str, *profiles: str, base: Path = EXAMPLE, **docker: str) -> BuildContext:
    artifact = next(a for a in config(*profiles).build.artifacts if a.image == image)
    artifact = artifact.model_copy(update={"docker": artifact.docker.model_copy(update=docker)})
    return analyse(artifact, base, DigestCache())


def files(found: BuildContext) -> list[str]:
    return [file.path for file in found.files if file.kind == "file"]


# --- devloop.yaml

@each_profile
def test_its_config_loads(profiles: list[str]) -> None:
    assert [a.image for a in config(*profiles).build.artifacts] == ["hello-dotnet-web", "hello-dotnet-api"]


def test_the_profiles_are_those_that_the_readme_tells_of() -> None:
    with pytest.raises(ConfigError) as error:
        config("none")
    assert all(name in f"{error.value} {error.value.hint}" for name in PROFILES)
    readme = (EXAMPLE / "README.md").read_text()
    assert all(f"-p {name}" in readme for name in PROFILES)


def test_each_profile_sends_the_images_its_own_way() -> None:
    assert config().publish.mode == config("minikube").publish.mode == config("hot").publish.mode == "auto"
    multinode = config("minikube-multinode").publish
    assert (multinode.mode, multinode.minikube.enable_registry_addon) == ("minikube-registry", True)
    ci = config("ci")
    assert (ci.publish.mode, ci.publish.registry.repository, ci.deploy.kube_context) == ("registry", "ghcr.io/acme", "staging")


def test_kaniko_builds_in_the_cluster_with_a_login_of_the_clusters() -> None:
    chosen = config("kaniko", REGISTRY="ghcr.io/mine")
    assert (chosen.build.builder, chosen.build.kaniko.docker_config_secret) == ("kaniko", "ghcr-login")
    assert (chosen.publish.mode, chosen.publish.registry.repository) == ("registry", "ghcr.io/mine")


def test_minikubes_own_variable_names_the_cluster() -> None:
    assert config("minikube").deploy.kube_context == "minikube"
    assert config("minikube-multinode", MINIKUBE_PROFILE="three").deploy.kube_context == "three"


@pytest.mark.parametrize("name", CI)
def test_ci_wants_to_know_where_to(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load(EXAMPLE / "devloop.yaml", environ={key: value for key, value in CI.items() if key != name}, profiles=["ci"])


# --- the Dockerfiles

@each_profile
def test_the_images_are_built_from_the_sources_alone_by_any_builder(profiles: list[str]) -> None:
    web, api = context("hello-dotnet-web", *profiles), context("hello-dotnet-api", *profiles)
    assert files(web) == ["html/hello.js", "html/index.html", "html/style.css"]
    assert files(api) == SOURCES
    assert (web.needs_buildkit, api.needs_buildkit) == ("", "")


def test_packages_are_restored_from_the_project_file_alone() -> None:
    assert files(context("hello-dotnet-api", target="restore")) == ["Hello.csproj"]


def test_only_hot_builds_the_image_that_compiles_by_itself() -> None:
    assert [a.docker.target for name in ("minikube", "hot") for a in config(name).build.artifacts] == ["", "", "", "watch"]


@pytest.mark.parametrize(("image", "junk"), [
    ("hello-dotnet-api", ["bin/Debug/net8.0/Hello.dll", "obj/project.assets.json", ".vs/x", ".idea/x", "Hello.csproj.user", "Program.cs~"]),
    ("hello-dotnet-web", ["html/index.html~", "html/.index.html.swp", "notes.md"]),
], ids=["api", "web"])
def test_what_tools_leave_behind_is_not_sent_and_builds_nothing(tmp_path: Path, image: str, junk: list[str]) -> None:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    before = context(image, base=tmp_path)
    for name in junk:
        (before.root / name).parent.mkdir(parents=True, exist_ok=True)
        (before.root / name).write_text("junk")
    assert context(image, base=tmp_path).digest == before.digest
    source = before.root / files(before)[-1]
    source.write_text(source.read_text() + "\n")
    assert context(image, base=tmp_path).digest != before.digest


# --- the manifests

@pytest.fixture(params=["", *PROFILES], ids=["default", *PROFILES])
def rendered(request: pytest.FixtureRequest) -> Rendered:
    chosen = config(*filter(None, [request.param]))
    images = tuple(PublishedImage(a.image, ImageRef(a.image, "1234")) for a in chosen.build.artifacts)
    return render(ManifestSet(chosen.deploy.manifests, EXAMPLE).load(), images, name=chosen.name)


def pod(rendered: Rendered) -> Any:
    return next(m.object for m in rendered.manifests if m.ref.kind == "Deployment")["spec"]["template"]["spec"]


def test_they_render_with_the_images_that_are_built(rendered: Rendered) -> None:
    assert [c["image"] for c in pod(rendered)["containers"]] == ["hello-dotnet-web:1234", "hello-dotnet-api:1234", "mongo:7.0"]
    assert not rendered.notices
    assert sorted(m.ref.kind for m in rendered.manifests) == ["ConfigMap", "ConfigMap", "Deployment", "Secret", "Service"]


def test_whatever_they_refer_to_is_there(rendered: Rendered) -> None:
    keys = {(m.ref.kind, m.ref.name): {*m.object.get("data", ()), *m.object.get("stringData", ())} for m in rendered.manifests}
    for kind, name, key in references(pod(rendered)):
        assert (kind, name) in keys
        assert not key or key in keys[kind, name]


def references(spec: Any) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key (empty: all of them) of each ConfigMap and Secret that a pod uses."""
    for container in spec["containers"]:
        for source in container.get("envFrom", ()):
            yield "ConfigMap", source["configMapRef"]["name"], ""
        for variable in container.get("env", ()):
            source = variable["valueFrom"]["secretKeyRef"]
            yield "Secret", source["name"], source["key"]
    for volume in spec["volumes"]:
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], ""


def test_nothing_runs_as_root_and_the_ports_are_those_that_nginx_and_the_api_use(rendered: Rendered) -> None:
    containers = {c["name"]: c for c in pod(rendered)["containers"]}
    assert pod(rendered)["securityContext"]["runAsNonRoot"]
    assert [c["securityContext"]["runAsUser"] for c in containers.values()] == [101, 1654, 999]
    web, api = (containers[name]["ports"][0]["containerPort"] for name in ("web", "api"))
    data = {m.ref.name: m.object["data"] for m in rendered.manifests if m.ref.kind == "ConfigMap"}
    assert f"listen {web};" in data["hello-dotnet-web"]["default.conf"]
    assert f"proxy_pass http://127.0.0.1:{api};" in data["hello-dotnet-web"]["default.conf"]
    assert data["hello-dotnet-api"]["ASPNETCORE_HTTP_PORTS"] == str(api)
