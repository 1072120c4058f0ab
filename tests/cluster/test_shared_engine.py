"""Images reach a cluster that uses our own Engine by doing nothing, and that is proven."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.errors import PublishError
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.shared import SharedEngine

pytestmark = pytest.mark.cluster


@pytest.fixture
def engine(docker_api: docker.APIClient) -> Iterator[DockerEngine]:
    engine = DockerEngine(os.environ)
    yield engine
    engine.close()


@pytest.fixture
def image(docker_api: docker.APIClient) -> Iterator[BuiltImage]:
    ref = ImageRef(f"devloop-test-{secrets.token_hex(4)}", "1")
    docker_api.tag("busybox:1.36", ref.repository, ref.tag)
    yield BuiltImage("web", ref, docker_api.inspect_image(str(ref))["Id"])
    docker_api.remove_image(str(ref))


def test_an_image_that_the_nodes_have_is_published_as_it_is(kube: Kube, engine: DockerEngine, image: BuiltImage) -> None:
    publisher = SharedEngine(engine, kube, "loopback")
    assert publisher.publish(image, print, Cancel()) == PublishedImage("web", image.ref, local_only=True)
    assert "/var/run/docker.sock" in publisher.reason


def test_an_image_that_is_gone_is_no_success(kube: Kube, engine: DockerEngine, image: BuiltImage) -> None:
    publisher = SharedEngine(engine, kube, "loopback")
    with pytest.raises(PublishError, match=r"no longer in the Docker Engine as it was built \(sha256:other, now: sha256:"):
        publisher.publish(BuiltImage("web", image.ref, "sha256:other"), print, Cancel())
    with pytest.raises(PublishError, match="now: none"):
        publisher.publish(BuiltImage("web", ImageRef("devloop-test-never-built", "1"), image.image_id), print, Cancel())


def test_a_cluster_with_other_images_is_told_apart(kube: Kube, image: BuiltImage, engine: DockerEngine, tmp_path: Path) -> None:
    """The same Engine, but as if it were far away: then nothing says that its machine is the node's."""
    nodes = kube.get("/api/v1/nodes")["items"]
    if not shutil.which("socat") or engine.info().name in [node["metadata"]["name"] for node in nodes]:
        pytest.skip("missing: socat, or a node that has another name than its machine")
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec socat - UNIX-CONNECT:/var/run/docker.sock\n")
    (tmp_path / "ssh").chmod(0o755)
    engine = DockerEngine(dict(os.environ) | {"DOCKER_HOST": "ssh://far.example", "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    try:
        with pytest.raises(PublishError, match=r"do not reach this cluster: node '.*' has a Docker Engine of its own") as caught:
            SharedEngine(engine, kube, "minikube").publish(image, print, Cancel())
    finally:
        engine.close()
    assert "minikube docker-env" in caught.value.hint
    assert caught.value.exit_code == 11
