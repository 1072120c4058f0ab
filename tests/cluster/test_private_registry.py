"""Base images in a registry that wants a login: a real one, with passwords."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from devloop.build.builder import BuildJob
from devloop.build.docker import DockerBuilder
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
from devloop.errors import BuildError, UnreachableError
from devloop.events import Event, StepOutput
from devloop.model import ImageRef
from tests.cluster.registries import listening

pytestmark = pytest.mark.cluster

USER, PASSWORD = "tester", "s3cret"
HTPASSWD = "tester:$2b$04$rfqJV2WrgpEf32t1hT18OenvwtFPLRcEy4M0quQmKtS4562fQC6n6\n"   # of that password


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """Its address."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("missing: docker-registry (Debian's package of that name)")
    home = tmp_path_factory.mktemp("private")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / "htpasswd").write_text(HTPASSWD)
    (home / "config.yml").write_text(json.dumps({
        "version": "0.1", "log": {"level": "warn"}, "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"}, "auth": {"htpasswd": {"realm": "private", "path": str(home / "htpasswd")}}}))
    with (home / "log").open("wb") as log, subprocess.Popen([program, "serve", home / "config.yml"], stdout=log, stderr=log) as process:
        try:
            listening(f"127.0.0.1:{port}", process, home / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.fixture
def base(private_registry: str, docker_api: docker.APIClient) -> Iterator[str]:
    """An image that is in the registry and not in the Engine."""
    repository = f"{private_registry}/private/base-{secrets.token_hex(4)}"
    container = docker_api.create_container("busybox:1.36", ["true"])["Id"]
    docker_api.commit(container, repository, "1", changes=f"LABEL nonce={secrets.token_hex(8)}")   # an image of its own
    docker_api.remove_container(container)
    pushed = docker_api.push(repository, "1", auth_config={"username": USER, "password": PASSWORD})
    assert "digest: sha256:" in pushed, pushed
    docker_api.remove_image(f"{repository}:1")
    yield f"{repository}:1"
    for image in docker_api.images(f"{repository}*"):
        docker_api.remove_image(image["Id"], force=True)


class Builds:
    """Builds from a base image, with a docker configuration of their own."""

    def __init__(self, root: Path, base: str) -> None:
        self.root = root
        self.image = f"devloop-test-{secrets.token_hex(4)}"
        self.base = base
        self.lines: list[str] = []
        (root / "web").mkdir()
        (root / "web" / "Dockerfile").write_text(f"ARG BASE\nFROM $BASE\nLABEL of={self.image}\n")

    @property
    def registry(self) -> str:
        return self.base.partition("/")[0]

    def emit(self, event: Event) -> None:
        if isinstance(event, StepOutput):
            self.lines.append(event.line)

    def build(self, **config: Any) -> None:
        (self.root / "config.json").write_text(json.dumps(config))
        engine = DockerEngine(dict(os.environ) | {"DOCKER_CONFIG": str(self.root), "PATH": f"{self.root}:{os.environ['PATH']}"})
        artifact = Artifact(image=self.image, context="web")
        context = analyse(artifact, self.root, DigestCache())
        try:
            DockerBuilder(engine).build(BuildJob(artifact, context, ImageRef(self.image, "1"), {"BASE": self.base}), self.emit, Cancel())
        finally:
            engine.close()


@pytest.fixture
def builds(tmp_path: Path, base: str, docker_api: docker.APIClient) -> Iterator[Builds]:
    builds = Builds(tmp_path, base)
    yield builds
    for image in docker_api.images(builds.image):
        docker_api.remove_image(image["Id"], force=True)


def test_without_a_login_the_error_says_where_to_log_in(builds: Builds) -> None:
    with pytest.raises(BuildError) as caught:
        builds.build()
    assert "/web/Dockerfile:2: FROM $BASE failed: " in caught.value.message
    assert caught.value.hint.endswith(f"docker login {builds.registry}.")


def test_the_login_of_the_configuration_is_used(builds: Builds) -> None:
    builds.build(auths={builds.registry: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}})
    pulled = [line for line in builds.lines if "ulling from" in line or line.startswith(("Digest: ", "Status: "))]
    assert len(pulled) == 3, builds.lines
    assert not [line for line in builds.lines if PASSWORD in line or "Pull complete" in line]


def test_a_wrong_password_is_told_as_that(builds: Builds) -> None:
    with pytest.raises(BuildError) as caught:
        builds.build(auths={builds.registry: {"auth": base64.b64encode(f"{USER}:wrong-one".encode()).decode()}})
    assert "docker login" in caught.value.hint
    assert "wrong-one" not in caught.value.message


def test_a_credential_helper_is_asked_only_where_its_registry_is_needed(builds: Builds) -> None:
    helper = builds.root / "docker-credential-test"
    answer = json.dumps({"ServerURL": "", "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread -r registry\necho \"$registry\" >>{builds.root}/asked\necho '{answer}'\n")
    helper.chmod(0o755)
    config = {"credHelpers": {builds.registry: "test", "other.example": "missing"}, "credsStore": "missing"}
    builds.build(**config)
    assert (builds.root / "asked").read_text() == f"{builds.registry}\n"
    helper.unlink()
    builds.build(**config)   # the base image is here now


def test_a_helper_that_is_missing_is_missed_where_its_registry_is_needed(builds: Builds) -> None:
    with pytest.raises(UnreachableError, match=rf"docker-credential-absent, which .* names for {builds.registry}, is not installed"):
        builds.build(credHelpers={builds.registry: "absent"})
