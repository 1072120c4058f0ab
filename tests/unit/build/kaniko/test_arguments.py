"""The executor's command line says what devloop.yaml does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devloop.build.builder import BuildJob
from devloop.build.kaniko.arguments import arguments, cache_repository, order
from devloop.build.kaniko.git import git_context
from devloop.config.models import Artifact, Git, Kaniko
from devloop.errors import ConfigError
from devloop.model import ImageRef
from tests.unit.build.conftest import MakeJob

TARGET = ImageRef("registry.local:5000/acme/hello-web", "1")


def flags(job: BuildJob, *, insecure: bool = False, **kaniko: object) -> list[str]:
    return arguments(job, Kaniko.model_validate(kaniko), TARGET, insecure=insecure)


@pytest.fixture
def made(job: MakeJob) -> BuildJob:
    return job("FROM busybox AS web\nCOPY . /\n", build_args={"B": "2", "A": "one 'word'"}, target="web", platform="linux/arm64",
               labels={"team": "a b"})


def test_where_to_and_what_from(made: BuildJob) -> None:
    found = flags(made)

    assert "--context=dir:///kaniko/devloop/context" in found
    assert "--dockerfile=/kaniko/devloop/in/Dockerfile" in found
    assert "--destination=registry.local:5000/acme/hello-web:1" in found
    assert "--digest-file=/dev/termination-log" in found
    assert not [flag for flag in found if "tar://" in flag or "insecure" in flag or "skip-tls" in flag]


def test_the_artifacts_options(made: BuildJob) -> None:
    found = flags(made)

    assert [flag for flag in found if flag.startswith("--build-arg")] == ["--build-arg=A=one 'word'", "--build-arg=B=2"]
    assert {"--target=web", "--custom-platform=linux/arm64", "--label=team=a b"} <= set(found)


@pytest.mark.parametrize(("cache", "expected"), [
    ({}, {"--cache=true", "--cache-repo=registry.local:5000/acme/hello-web/cache", "--cache-ttl=336h", "--cache-copy-layers=false"}),
    ({"repository": "r.io/layers", "ttl": "24h", "copyLayers": True},
     {"--cache=true", "--cache-repo=r.io/layers", "--cache-ttl=24h", "--cache-copy-layers=true"}),
    ({"enabled": False}, set()),
])
def test_the_cache(made: BuildJob, cache: dict[str, object], expected: set[str]) -> None:
    assert {flag for flag in flags(made, cache=cache) if flag.startswith("--cache")} == expected


def test_docker_hub_has_no_names_within_names() -> None:
    assert cache_repository(Kaniko(), ImageRef("docker.io/acme/web", "1")) == "docker.io/acme/web-cache"


def test_registries(made: BuildJob) -> None:
    found = flags(made, insecure=True, registryMirror=["mirror.gcr.io"], insecureRegistries=["10.0.0.1:5000"], skipTlsVerify=True,
                  args=["--snapshot-mode=redo"])

    assert {"--registry-mirror=mirror.gcr.io", "--insecure-registry=10.0.0.1:5000", "--insecure-registry=registry.local:5000", "--insecure",
            "--skip-tls-verify-registry=registry.local:5000", "--skip-tls-verify", "--skip-tls-verify-pull"} <= set(found)
    assert found[-1] == "--snapshot-mode=redo"


@pytest.mark.parametrize(("ref", "fragment"), [("", "c0ffee"), ("HEAD", "#c0ffee"), ("refs/heads/main", "refs/heads/main#c0ffee")])
def test_a_commit_is_cloned(tmp_path: Path, ref: str, fragment: str) -> None:
    artifact = Artifact(image="hello-web")
    context = git_context(artifact, Git(url="https://github.com/acme/hello.git", ref="main", sub_path="web"), "c0ffee", ref)
    job = BuildJob(artifact, context, ImageRef("hello-web", "1"), {})
    kaniko = Kaniko.model_validate({"context": {"git": {"url": "https://github.com/acme/hello.git", "ref": "main", "subPath": "web"}}})
    found = arguments(job, kaniko, TARGET, insecure=False)

    assert found[:3] == [f"--context=git://github.com/acme/hello.git#{fragment}", "--context-sub-path=web", "--dockerfile=Dockerfile"]
    assert not context.depends_on(tmp_path / "Dockerfile")


def cloned(image: str, context: str, sub_path: str, dockerfile: str = "") -> tuple[list[str], str]:
    """The flags that say what is cloned, and the digest."""
    artifact = Artifact.model_validate({"image": image, "context": context, "docker": {"dockerfile": dockerfile}})
    url = "https://github.com/acme/hello.git"
    made = git_context(artifact, Git(url=url, sub_path=sub_path), "c0ffee")
    found = flags(BuildJob(artifact, made, ImageRef(image, "1"), {}), context={"git": {"url": url, "subPath": sub_path}})
    return [flag for flag in found if flag.startswith(("--context-sub", "--dockerfile"))], made.digest


def test_each_artifact_has_its_own_directory_of_the_clone() -> None:
    web, api = cloned("web", "web", "app"), cloned("api", "./services/api/", "app", "../Dockerfile")
    assert web[0] == ["--context-sub-path=app/web", "--dockerfile=Dockerfile"]
    assert api[0] == ["--context-sub-path=app/services/api", "--dockerfile=../Dockerfile"]
    assert web[1] != api[1]
    assert cloned("web", ".", "")[0] == ["--dockerfile=Dockerfile"]
    assert cloned("web", "web", "")[0] == ["--context-sub-path=web", "--dockerfile=Dockerfile"]
    assert cloned("web", "web", "app")[1] == cloned("web", ".", "app/web")[1]      # where it is, however it is written


@pytest.mark.parametrize("context", ["../web", "web/../..", "/srv/web"])
def test_a_context_that_is_not_below_devloop_yaml_is_in_no_clone(context: str) -> None:
    with pytest.raises(ConfigError, match=r"the build context of web, .* leads out of devloop.yaml's directory"):
        cloned("web", context, "app")


def test_two_commits_are_two_contexts() -> None:
    git, artifact = Git(url="https://github.com/acme/hello.git"), Artifact(image="hello-web")
    assert len({git_context(artifact, git, commit).digest for commit in ("a", "b")}) == 2


def test_the_order_survives_a_shell(tmp_path: Path, made: BuildJob) -> None:
    """The executor gets every word as it is, and its environment, proxies in both spellings."""
    kaniko = Kaniko.model_validate({"env": {"HTTPS_PROXY": "http://p:1", "ODD": "a'b \"c\" $HOME\nd"}, "certificates": "ca"})
    words = arguments(made, kaniko, TARGET, insecure=False)
    text = order(words, kaniko).replace("exec /kaniko/executor", "exec python3 -c "
                                        "'import json,os,sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))'")
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)

    got, environ = json.loads(done.stdout)
    assert got == words
    assert "--build-arg=HTTPS_PROXY" in words
    assert (environ["HTTPS_PROXY"], environ["https_proxy"], environ["ODD"]) == ("http://p:1", "http://p:1", "a'b \"c\" $HOME\nd")
    assert environ["SSL_CERT_DIR"].endswith(":/kaniko/certificates")
    assert environ["DOCKER_CONFIG"] == "/kaniko/.docker/"
