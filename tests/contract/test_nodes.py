"""Images into nodes that are containers: through the Engine, without any tool."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import docker
import pytest
from cluster.registries import Build
from project import eventually
from standins.nodes import Nodes

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_containers import execute, labelled
from devloop.clients.kube import Kube
from devloop.clients.registry import OCI_MANIFEST
from devloop.errors import Cancelled, PublishError
from devloop.events import Event, Notice, StepFinished
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.archive import without
from devloop.publish.containers import IMPORT
from devloop.publish.loading import LoadedNodes
from devloop.publish.makers import publisher
from devloop.publish.meter import Meter
from devloop.publish.parcel import Parcel

pytestmark = pytest.mark.cluster
BOTH = pytest.mark.parametrize("tool", ["kind", "k3d"])

Make = Callable[[str, int], Nodes]


def route(tool: str, engine: DockerEngine, kube: Kube, nodes: Nodes) -> LoadedNodes:
    return publisher(tool, engine, kube, nodes.cluster)


def publish(way: LoadedNodes, image: BuiltImage) -> list[Event]:
    events: list[Event] = []
    way.publish(image, events.append, Cancel())
    return events


def finished(events: list[Event]) -> list[bool]:
    return [event.cached for event in events if isinstance(event, StepFinished)]


@BOTH
def test_every_node_has_the_image_and_what_is_there_is_not_sent_again(
        tool: str, make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes, events = make_nodes(tool, 3), list[Event]()
    way = route(tool, engine, kube, nodes)
    assert "from the Docker Engine" in way.reason
    assert way.publish(image, events.append, Cancel()) == PublishedImage("web", image.ref, local_only=True)
    assert all({f"docker.io/library/{image.ref}", image.image_id} <= nodes.images(name) for name in nodes.names)
    way.publish(image, events.append, Cancel())
    assert finished(events) == [False, True]


def test_a_node_that_lacks_it_gets_it_again(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes, events = make_nodes("kind", 2), list[Event]()
    way = route("kind", engine, kube, nodes)
    way.publish(image, events.append, Cancel())
    nodes.run(nodes.names[1], "/usr/bin/ctr", "-n", "k8s.io", "images", "rm", f"docker.io/library/{image.ref}")
    way.publish(image, events.append, Cancel())
    assert f"docker.io/library/{image.ref}" in nodes.images(nodes.names[1])
    assert finished(events) == [False, False]


def test_of_a_300_mb_image_with_a_change_of_1_mb_a_node_gets_1_mb(make_nodes: Make, engine: DockerEngine, kube: Kube,
                                                                    build_image: Build) -> None:
    base = build_image("big", run="RUN dd if=/dev/urandom of=/big bs=1M count=300 2>/dev/null\n")
    one, other = (build_image("hello-web", os.urandom(1_000_000), base=str(base.ref)) for _ in range(2))
    nodes = make_nodes("kind", 1)
    nodes.break_(nodes.names[0], "cat >/got; wc -c </got >>/sizes; exec </got")
    for image in (one, other):      # what a session before had sent is found, too
        assert not finished(publish(route("kind", engine, kube, nodes), image))[0]
    _, sizes = nodes.run(nodes.names[0], "cat", "/sizes")
    first, second = map(int, sizes.split())
    assert 314_500_000 < first < 320_000_000
    assert 1_000_000 < second < 1_030_000
    assert finished(publish(route("kind", engine, kube, nodes), other))[0]


def test_a_layer_that_images_share_comes_once_even_at_the_same_time(make_nodes: Make, engine: DockerEngine, kube: Kube,
                                                                    build_image: Build) -> None:
    base = build_image("big", os.urandom(30_000_000))
    images = [build_image(name, name.encode(), base=str(base.ref)) for name in ("hello-web", "hello-api", "hello-job")]
    nodes = make_nodes("kind", 1)
    nodes.break_(nodes.names[0], "cat >/got-$$; wc -c </got-$$ >>/sizes; exec </got-$$")
    way = route("kind", engine, kube, nodes)
    with ThreadPoolExecutor(3) as pool:
        assert [finished(events) for events in pool.map(partial(publish, way), images)] == [[False]] * 3
    assert 30_500_000 < sum(map(int, nodes.run(nodes.names[0], "cat", "/sizes")[1].split())) < 34_000_000


def test_nodes_that_differ_have_the_same_in_the_end(make_nodes: Make, engine: DockerEngine, kube: Kube, build_image: Build) -> None:
    base = build_image("base", os.urandom(100_000))
    image = build_image("hello-web", os.urandom(100_000), base=str(base.ref))
    nodes = make_nodes("k3d", 2)
    nodes.stop(nodes.names[1])
    publish(route("k3d", engine, kube, nodes), base)
    nodes.start(nodes.names[1])
    publish(route("k3d", engine, kube, nodes), image)
    full = f"{image.ref.canonical}:{image.ref.tag}"
    for name in nodes.names:
        assert full in nodes.images(name)
        assert nodes.run(name, "/usr/bin/ctr", "-n", "k8s.io", "images", "export", "/dev/null", full)[0] == 0


@pytest.mark.parametrize("kept", [False, True])
def test_what_an_archive_lacks_a_containerd_finds_in_its_own_store(make_nodes: Make, engine: DockerEngine, kept: bool) -> None:
    """For Engines that do not see our ports, and export each blob under its digest."""
    nodes = make_nodes("kind", 1)
    node = next(each for each in labelled(engine, f"io.x-k8s.kind.cluster={nodes.cluster}") if each.name == nodes.names[0])
    layer, meter, dropped = os.urandom(500_000), Meter("web", print), set[str]()
    whole = layout(layer, "docker.io/library/web:1")
    run = partial(execute, engine, node, cancel=Cancel())
    if kept:
        assert run(argv=IMPORT, stdin=[whole]).code == 0
    there = run(argv=("ctr", "-n", "k8s.io", "content", "ls", "-q")).output.split()
    parts = list(without(io.BytesIO(layout(layer, "docker.io/library/web:2")), there, dropped, meter))
    assert run(argv=IMPORT, stdin=parts).code == 0
    assert (len(dropped), sum(map(len, parts)) < 100_000) == ((3, True) if kept else (0, False))
    assert run(argv=("ctr", "-n", "k8s.io", "images", "export", "/dev/null", "docker.io/library/web:2")).code == 0


def layout(layer: bytes, name: str) -> bytes:
    """An image of one layer, as Engines from 25 on export it."""
    with Parcel(lambda digest, cancel: None) as parcel:
        described = []
        for body in (json.dumps({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}).encode(), layer):
            described.append({"digest": f"sha256:{hashlib.sha256(body).hexdigest()}", "size": len(body), "mediaType": "application/x"})
            parcel.upload(Cancel()).finish(str(described[-1]["digest"]), body)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described[0], "layers": described[1:]}
        parcel.put_manifest("1", OCI_MANIFEST, json.dumps(manifest).encode(), Cancel())
        return b"".join(parcel.archive(name))


def test_another_image_of_that_name_gives_way(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage,
                                              docker_api: docker.APIClient) -> None:
    nodes, events = make_nodes("kind", 1), list[Event]()
    way = route("kind", engine, kube, nodes)
    way.publish(image, events.append, Cancel())
    docker_api.tag("busybox:1.36", image.ref.repository, image.ref.tag, force=True)
    other = BuiltImage("web", image.ref, docker_api.inspect_image("busybox:1.36")["Id"])
    way.publish(other, events.append, Cancel())
    way.publish(other, events.append, Cancel())
    assert finished(events) == [False, False, True]


def test_what_a_node_says_is_told(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes = make_nodes("k3d", 2)
    way = route("k3d", engine, kube, nodes)
    nodes.break_(nodes.names[1], "echo ctr: write: no space left on device >&2; exit 1")
    with pytest.raises(PublishError) as caught:
        way.publish(image, print, Cancel())
    node = nodes.names[1]
    assert caught.value.message.startswith(f"{image.ref} did not get into node '{node}': 'docker exec {node} ctr -n k8s.io images import ")
    assert caught.value.message.endswith("ended with exit code 1: ctr: write: no space left on device")
    assert "disk is full" in caught.value.hint
    assert f"docker.io/library/{image.ref}" in nodes.images(nodes.names[0])      # one that fails does not hold up the others


def test_a_load_that_claims_success_is_not_believed(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes = make_nodes("kind", 1)
    nodes.break_(nodes.names[0], "exec cat >/dev/null")
    way = route("kind", engine, kube, nodes)
    way._loader.patience = 0.3      # type: ignore[misc]
    with pytest.raises(PublishError, match="the import is called a success, but 3 parts of the image are not there"):
        way.publish(image, print, Cancel())


def test_a_stopped_node_is_told_once_and_does_without(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes, events = make_nodes("kind", 2), list[Event]()
    nodes.stop(nodes.names[1])
    way = route("kind", engine, kube, nodes)
    way.publish(image, events.append, Cancel())
    way.publish(image, events.append, Cancel())
    told = [event for event in events if isinstance(event, Notice)]
    assert [(nodes.names[1] in notice.message, notice.hint) for notice in told] == [(True, f"Start it: docker start {nodes.names[1]}")]
    nodes.stop(nodes.names[0])
    with pytest.raises(PublishError, match="no node of kind cluster") as caught:
        way.publish(image, print, Cancel())
    assert f"docker start {nodes.names[0]} {nodes.names[1]}" in caught.value.hint


def test_an_image_that_is_gone_is_no_success(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    way = route("kind", engine, kube, make_nodes("kind", 1))
    with pytest.raises(PublishError, match="devloop-test-never-built:1 is no longer in the Docker Engine as it was built"):
        way.publish(BuiltImage("web", ImageRef("devloop-test-never-built", "1"), image.image_id), print, Cancel())


def test_a_node_that_stops_meanwhile_is_told(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes = make_nodes("kind", 1)
    loader = route("kind", engine, kube, nodes)._loader
    loader.nodes(print, Cancel())
    nodes.stop(nodes.names[0])
    assert "is not running" in loader.lacks(nodes.names[0], image, Cancel())


def test_cancelling_ends_a_load_at_once(make_nodes: Make, engine: DockerEngine, kube: Kube, image: BuiltImage) -> None:
    nodes = make_nodes("kind", 2)
    nodes.break_(nodes.names[1], "touch /begun; exec sleep 1000")
    cancel = Cancel()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(route("kind", engine, kube, nodes).publish, image, print, cancel)
        eventually(lambda: nodes.run(nodes.names[1], "test", "-e", "/begun")[0] == 0)
        cancel.cancel("a newer save")
        with pytest.raises(Cancelled, match="a newer save"):
            running.result(10)


def test_nodes_of_other_clusters_and_their_balancers_are_none_of_ours(make_nodes: Make, engine: DockerEngine, kube: Kube,
                                                                       image: BuiltImage) -> None:
    ours, others = make_nodes("kind", 1), make_nodes("kind", 1)
    route("kind", engine, kube, ours).publish(image, print, Cancel())
    assert f"docker.io/library/{image.ref}" not in others.images(others.names[0])
