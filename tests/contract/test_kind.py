"""`kind load`, and images on kind's nodes without it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import docker
import pytest
from standins.nodes import Nodes

from devloop.cancel import Cancel
from devloop.clients import kind
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.errors import PublishError
from devloop.model import BuiltImage
from devloop.publish.makers import publisher
from devloop.publish.meter import Meter
from devloop.publish.saved import saved

pytestmark = pytest.mark.cluster
TOOL = "kind"

Make = Callable[[str, int], Nodes]


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kind", *arguments], env=dict(environ), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("arguments", "said"), [
    (("load", "docker-image"), "ERROR: a list of image names is required"),
    (("load", "docker-image", "nope:1"), 'ERROR: image: "nope:1" not present locally'),
    (("load", "docker-image", "busybox:1.36", "--name", "none"), 'ERROR: no nodes found for cluster "none"'),
    (("load", "image-archive", "/nope.tar", "--name", "none"), "ERROR: stat /nope.tar: no such file or directory"),
    (("load", "image-archive", "/etc/passwd", "--name", "none"), 'ERROR: no nodes found for cluster "none"'),
])
def test_failures_are_one_line_on_stderr_and_exit_code_1(environ: Mapping[str, str], arguments: tuple[str, ...], said: str) -> None:
    done = run(environ, *arguments)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", said)


def test_an_image_is_loaded_where_it_is_not(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage) -> None:
    nodes = make_nodes("kind", 2)
    load = ("load", "docker-image", str(image.ref), "--name", nodes.cluster)
    first = run(environ, *load)
    assert first.returncode == 0, first.stderr
    assert f'Image: "{image.ref}" with ID "{image.image_id}" not yet present on node "{nodes.names[1]}", loading...' in first.stderr
    assert all(f"docker.io/library/{image.ref}" in nodes.images(name) for name in nodes.names)
    assert "found to be already present on all nodes." in run(environ, *load).stderr


def test_a_node_that_cannot_take_it_is_quoted(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage,
                                              engine: DockerEngine) -> None:
    nodes = make_nodes("kind", 1)
    nodes.break_(nodes.names[0], "echo ctr: content digest sha256:abc: not found >&2; exit 1")
    with saved(engine, image, Meter("web", print), Cancel()) as archive:
        said = kind.load(archive, nodes.cluster, environ, Cancel())
    assert said == "kind ended with exit code 1: Command Output: ctr: content digest sha256:abc: not found"


def test_the_fallback_loads_a_file_into_every_node(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage,
                                                   engine: DockerEngine) -> None:
    nodes = make_nodes("kind", 2)
    with saved(engine, image, Meter("web", print), Cancel()) as archive:
        assert kind.load(archive, nodes.cluster, environ, Cancel()) == ""
    assert all(f"docker.io/library/{image.ref}" in nodes.images(name) for name in nodes.names)
    assert not archive.exists()


def test_a_missing_kind_is_told_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="kind is not installed") as caught:
        kind.load(tmp_path / "x.tar", "x", {"PATH": str(tmp_path)}, Cancel())
    assert "https://kind.sigs.k8s.io/" in caught.value.hint


def test_nodes_in_another_engine_are_loaded_by_kind_and_proven_by_their_kubelets(
        environ: Mapping[str, str], kube: Kube, image: BuiltImage, docker_api: docker.APIClient) -> None:
    engine = DockerEngine(environ)
    try:
        route = publisher("kind", engine, kube, "elsewhere")
        assert "'kind load'" in route.reason
        with pytest.raises(PublishError, match=r'did not get into node .* exit code 1: ERROR: no nodes found for .*"elsewhere"'):
            route.publish(image, print, Cancel())
    finally:
        engine.close()
