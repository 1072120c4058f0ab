"""`k3d image import`, whose default mode calls failures a success."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from standins.nodes import Nodes

from devloop.cancel import Cancel
from devloop.clients import k3d
from devloop.clients.docker import DockerEngine
from devloop.model import BuiltImage
from devloop.publish.meter import Meter
from devloop.publish.saved import saved

pytestmark = pytest.mark.cluster
TOOL = "k3d"
STANDINS = Path(__file__).parents[1] / "standins"

Make = Callable[[str, int], Nodes]


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["k3d", "image", "import", *arguments], env=dict(environ), capture_output=True, text=True, check=False)


def test_what_it_says_is_coloured_unless_told_otherwise(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage) -> None:
    nodes = make_nodes("k3d", 1)
    direct = (str(image.ref), "-c", nodes.cluster, "-m", "direct")
    assert "\x1b[36mINFO\x1b[0m[0000] Importing image(s) into cluster" in run(environ, *direct).stdout
    done = run({**environ, "LOG_COLORS": "0"}, *direct)
    assert done.stdout.startswith(f"INFO[0000] Importing image(s) into cluster '{nodes.cluster}'")
    assert f"docker.io/library/{image.ref}" in nodes.images(nodes.names[0])


def test_a_node_that_fails_is_a_success_to_it_but_not_in_direct_mode(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage,
                                                                  engine: DockerEngine) -> None:
    nodes = make_nodes("k3d", 1)
    nodes.break_(nodes.names[0], "echo ctr: no space left on device >&2; exit 1")
    if f"{STANDINS}:" in environ["PATH"]:      # the real one would pull an image for this
        done = run({**environ, "LOG_COLORS": "0"}, str(image.ref), "-c", nodes.cluster)
        assert done.returncode == 0
        assert f"ERRO[0000] failed to import images in node '{nodes.names[0]}'" in done.stderr
    with saved(engine, image, Meter("web", print), Cancel()) as archive:
        said = k3d.load(archive, nodes.cluster, environ, Cancel())
    assert said.startswith("k3d ended with exit code 1: FATA[0000] ")
    assert nodes.names[0] in said


def test_an_image_that_is_not_there_is_an_error_only_where_it_is_the_only_one(environ: Mapping[str, str], make_nodes: Make,
                                                                               image: BuiltImage) -> None:
    nodes = make_nodes("k3d", 1)
    assert run(environ, "nope:1", "-c", nodes.cluster, "-m", "direct").returncode == 1
    both = run({**environ, "LOG_COLORS": "0"}, "nope:1", str(image.ref), "-c", nodes.cluster, "-m", "direct")
    assert both.returncode == 0
    assert "WARN[0000] Image 'nope:1' is not a file and couldn't be found in the container runtime" in both.stderr


def test_the_fallback_loads_a_file_into_every_node(environ: Mapping[str, str], make_nodes: Make, image: BuiltImage,
                                                   engine: DockerEngine) -> None:
    nodes = make_nodes("k3d", 2)
    with saved(engine, image, Meter("web", print), Cancel()) as archive:
        assert k3d.load(archive, nodes.cluster, environ, Cancel()) == ""
    assert all(f"docker.io/library/{image.ref}" in nodes.images(name) for name in nodes.names)
