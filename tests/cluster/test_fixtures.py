"""The fixtures give what they promise."""

from __future__ import annotations

import socket
from urllib.request import urlopen

import docker
import pytest

from devloop.clients.kube import Kube
from tests.cluster.cut import CuttableProxy

pytestmark = pytest.mark.cluster


def test_a_pod_can_be_created_at_once_in_a_fresh_namespace(kube: Kube, namespace: str) -> None:
    pod = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "main", "image": "busybox:1.36", "command": ["true"]}]}}
    assert kube.request("POST", f"/api/v1/namespaces/{namespace}/pods", body=pod)["metadata"]["name"] == "one"


def test_the_engine_has_the_base_image_that_nobody_can_pull(docker_api: docker.APIClient) -> None:
    assert "busybox:1.36" in docker_api.inspect_image("busybox:1.36")["RepoTags"]


def test_images_can_be_pushed_to_the_registry(docker_api: docker.APIClient, registry: str) -> None:
    name = f"{registry}/fixtures/busybox"
    docker_api.tag("busybox:1.36", name, "pushed")
    try:
        said = docker_api.push(name, "pushed")
    finally:
        docker_api.remove_image(f"{name}:pushed")
    assert "digest: sha256:" in said, said
    with urlopen(f"http://{registry}/v2/fixtures/busybox/tags/list") as answer:
        assert b"pushed" in answer.read()


def test_a_proxy_goes_on_when_what_is_behind_it_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as behind:
        port = behind.getsockname()[1]
    with CuttableProxy("127.0.0.1", port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            assert client.recv(1) == b""
        with socket.create_server(("127.0.0.1", port)) as behind, socket.create_connection(("127.0.0.1", proxy.port), 30) as client:
            far, _ = behind.accept()
            with far:
                far.sendall(b"!")
                assert client.recv(1) == b"!"
