"""minikube's many ways to fail with exit code 0, and what devloop makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import docker
import pytest
from standins.profiles import Profile

from devloop.build.builder import BuildJob
from devloop.build.minikube import MinikubeBuilder, build_options
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.minikube import DRIVER, MULTINODE, NO_PROFILE, NOT_RUNNING, Minikube, MinikubeError
from devloop.config.models import Artifact, DockerBuild
from devloop.context import DigestCache, analyse
from devloop.errors import BuildError, PublishError
from devloop.events import Event, Notice, StepFinished, StepOutput
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.loading import LoadedNodes
from devloop.publish.meter import Meter
from devloop.publish.minikube import ImageBuild, ImageLoad
from devloop.publish.saved import saved

pytestmark = pytest.mark.cluster
TOOL = "minikube"

RUNTIMES = pytest.mark.parametrize("runtime", ["docker", "containerd", "crio"])
Make = Callable[..., Profile]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "minikube"


@pytest.fixture
def standin(home: Path, standin_environ: Mapping[str, str]) -> Minikube:
    return Minikube("minikube", standin_environ)


# --- no state: the real one can be asked, too


def test_a_profile_that_does_not_exist_is_told_in_four_ways(environ: Mapping[str, str]) -> None:
    minikube = Minikube("devloop-test-none", environ)
    for ask in (minikube.profile, minikube.docker_env, minikube.hosts, lambda cancel: minikube.on_node("x", "true", cancel)):
        with pytest.raises(MinikubeError) as caught:
            ask(Cancel())
        assert caught.value.code == NO_PROFILE, caught.value.message
        assert "devloop-test-none" in caught.value.message
        assert "minikube start -p devloop-test-none" in caught.value.hint
    assert minikube.load(Path("/nonexistent.tar"), Cancel()).endswith(
        '(exit code 14): loading profile: cluster "devloop-test-none" does not exist')


def test_a_missing_minikube_is_told_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="minikube is not installed") as caught:
        Minikube("x", {"PATH": str(tmp_path)}).profile(Cancel())
    assert "https://minikube.sigs.k8s.io/" in caught.value.hint


# --- what it says of a cluster


@pytest.mark.parametrize(("wanted", "found"), [
    ({}, ("docker", "docker", ("minikube",), False)),
    ({"nodes": 3, "runtime": "containerd", "driver": "kvm2"}, ("kvm2", "containerd", ("minikube", "minikube-m02", "minikube-m03"), False)),
    ({"runtime": "cri-o", "registry": True}, ("docker", "crio", ("minikube",), True)),
])
def test_a_profile_is_described(standin: Minikube, home: Path, wanted: dict[str, object], found: tuple[object, ...]) -> None:
    Profile(home, "other")
    Profile(home, **wanted)      # type: ignore[arg-type]
    profile = standin.profile(Cancel())
    assert (profile.driver, profile.runtime, profile.nodes, profile.registry) == found


def test_docker_env_gives_the_variables(standin: Minikube, home: Path) -> None:
    Profile(home)
    assert standin.docker_env(Cancel())["DOCKER_HOST"] == "tcp://192.168.49.2:2376"


@pytest.mark.parametrize(("wanted", "host", "code", "said"), [
    ({"nodes": 2}, "Running", MULTINODE, "The docker-env command is incompatible with multi-node clusters."),
    ({"driver": "none"}, "Running", DRIVER, "'none' driver does not support 'minikube docker-env' command"),
    ({"runtime": "crio"}, "Running", 14, "the docker-env command only supports the docker and containerd runtimes"),
    ({}, "Stopped", NOT_RUNNING, "it said nothing"),
])
def test_docker_env_says_no(standin: Minikube, home: Path, wanted: dict[str, object], host: str, code: int, said: str) -> None:
    Profile(home, **wanted).change_node("minikube", host=host)      # type: ignore[arg-type]
    with pytest.raises(MinikubeError) as caught:
        standin.docker_env(Cancel())
    assert caught.value.code == code
    assert f"(exit code {code}): {said}" in caught.value.message


def test_hosts_are_told_of_one_node_and_of_several_whatever_the_exit_code(standin: Minikube, home: Path) -> None:
    one, several = Profile(home), Profile(home, "several", nodes=2)
    assert standin.hosts(Cancel()) == {"minikube": "Running"}
    one.change_node("minikube", host="Stopped")
    assert standin.hosts(Cancel()) == {"minikube": "Stopped"}
    several.change_node("several-m02", host="Stopped")
    assert Minikube("several", standin.environ).hosts(Cancel()) == {"several": "Running", "several-m02": "Stopped"}
    one.change(gone=True)
    with pytest.raises(MinikubeError, match="the cluster's machine is gone"):
        standin.hosts(Cancel())


@RUNTIMES
def test_what_image_a_node_has(standin: Minikube, home: Path, runtime: str) -> None:
    profile = Profile(home, nodes=2, runtime=runtime)
    identity = f"sha256:{'ab' * 32}"
    profile.change_node("minikube-m02", images={"web:1": identity})
    assert standin.image_id("minikube-m02", runtime, ImageRef("web", "1"), Cancel()) == identity
    assert standin.image_id("minikube", runtime, ImageRef("web", "1"), Cancel()) is None
    profile.change_node("minikube-m02", host="Stopped")
    with pytest.raises(MinikubeError, match='"minikube-m02" is not running'):
        standin.image_id("minikube-m02", runtime, ImageRef("web", "1"), Cancel())


def test_the_registry_addon_is_enabled_again_and_again(standin: Minikube, home: Path) -> None:
    profile = Profile(home)
    standin.enable_registry(Cancel())
    standin.enable_registry(Cancel())
    assert profile.config["Addons"] == {"registry": True}


# --- image load


def way(engine: DockerEngine, minikube: Minikube) -> LoadedNodes:
    loader = ImageLoad(engine, minikube, minikube.profile(Cancel()), "because")
    loader.patience = 0.2
    return LoadedNodes(loader)


@RUNTIMES
def test_every_node_gets_the_image_once(standin: Minikube, home: Path, runtime: str, engine: DockerEngine, image: BuiltImage) -> None:
    profile, events = Profile(home, nodes=2, runtime=runtime), list[Event]()
    publisher = way(engine, standin)
    assert publisher.publish(image, events.append, Cancel()) == PublishedImage("web", image.ref, local_only=True)
    assert all(profile.images(node) == {str(image.ref): image.image_id} for node in profile.nodes)
    publisher.publish(image, events.append, Cancel())
    assert [event.cached for event in events if isinstance(event, StepFinished)] == [False, True]
    assert not (home / "cache").exists()      # no tar is left in minikube's cache, to be loaded when the image has gone


def test_a_load_that_fails_in_silence_is_noticed(standin: Minikube, home: Path, engine: DockerEngine, image: BuiltImage) -> None:
    Profile(home, nodes=2).change(faults={"load": "lost"})
    with pytest.raises(PublishError) as caught:
        way(engine, standin).publish(image, print, Cancel())
    assert caught.value.message == f"{image.ref} did not get into node 'minikube' (and 1 more): it has no such image"
    assert "minikube logs -p minikube" in caught.value.hint


def test_an_old_image_that_stays_because_it_is_used_is_noticed(standin: Minikube, home: Path, engine: DockerEngine,
                                                               image: BuiltImage) -> None:
    """Until v1.38.1 (minikube #13511); with tags made of the content it takes a tag of one's own to meet this."""
    profile, old = Profile(home), f"sha256:{'0' * 64}"
    profile.change_node("minikube", images={str(image.ref): old}, used=[str(image.ref)])
    with pytest.raises(PublishError, match=f"it has another image of that name \\({old}\\)"):
        way(engine, standin).publish(image, print, Cancel())


def test_a_stale_tar_in_its_cache_is_not_loaded(standin: Minikube, home: Path, engine: DockerEngine, image: BuiltImage,
                                                docker_api: docker.APIClient) -> None:
    profile = Profile(home)
    stale = home / "cache" / "images" / "amd64" / str(image.ref).replace(":", "_")
    stale.parent.mkdir(parents=True)
    with saved(engine, image, Meter("web", print), Cancel()) as archive:
        stale.write_bytes(archive.read_bytes())
    gone = BuiltImage("web", ImageRef(image.ref.repository, "2"), image.image_id)
    with pytest.raises(PublishError, match="no longer in the Docker Engine as it was built"):
        way(engine, standin).publish(gone, print, Cancel())
    assert profile.images("minikube") == {}


def test_a_stopped_node_is_told_and_does_without(standin: Minikube, home: Path, engine: DockerEngine, image: BuiltImage) -> None:
    profile, events = Profile(home, nodes=2), list[Event]()
    profile.change_node("minikube-m02", host="Stopped")
    way(engine, standin).publish(image, events.append, Cancel())
    assert [event.message for event in events if isinstance(event, Notice)] == [
        "node 'minikube-m02' is stopped and does not get the images"]
    profile.change_node("minikube", host="Stopped")
    with pytest.raises(PublishError, match="no node of minikube profile 'minikube' runs") as caught:
        way(engine, standin).publish(image, print, Cancel())
    assert caught.value.hint == "Start it: minikube start -p minikube"


# --- image build


class Bench:
    def __init__(self, root: Path, minikube: Minikube, image: str) -> None:
        self.root, self.image, self.events = root, image, list[Event]()
        self.minikube, self.profile = minikube, minikube.profile(Cancel())
        self.builder = MinikubeBuilder(minikube, self.profile)

    def build(self, dockerfile: str, **options: object) -> BuiltImage:
        (self.root / "Dockerfile").write_text(dockerfile)
        artifact = Artifact(image=self.image, docker=DockerBuild(**options))      # type: ignore[arg-type]
        context = analyse(artifact, self.root, DigestCache())
        job = BuildJob(artifact, context, ImageRef(self.image, "1"), artifact.docker.build_args)
        return self.builder.build(job, self.events.append, Cancel())


@RUNTIMES
def test_an_image_is_built_on_every_node(standin: Minikube, home: Path, tmp_path: Path, runtime: str, image: BuiltImage,
                                         docker_api: docker.APIClient) -> None:
    profile = Profile(home, nodes=2, runtime=runtime)
    bench = Bench(tmp_path, standin, f"{image.ref.repository}-built")
    built = bench.build("FROM busybox:1.36\nARG WHO\nLABEL who=$WHO\n", build_args={"WHO": "me"}, labels={"a": "b=c"})
    try:
        assert docker_api.inspect_image(str(built.ref))["Config"]["Labels"] == {"who": "me", "a": "b=c"}
        assert all(profile.images(node) == {str(built.ref): built.image_id} for node in profile.nodes)
        assert bench.builder.find(built.ref, "*") == (built.ref, built.image_id)
        assert any("FROM busybox" in event.line for event in bench.events if isinstance(event, StepOutput))
        ImageBuild(standin, bench.profile, "because").publish(built, print, Cancel())
        profile.change_node("minikube-m02", images={})
        with pytest.raises(PublishError, match="is not on node 'minikube-m02' as it was built"):
            ImageBuild(standin, bench.profile, "because").publish(built, print, Cancel())
    finally:
        docker_api.remove_image(str(built.ref))


def test_a_build_that_fails_with_exit_code_0_is_a_failed_build(standin: Minikube, home: Path, tmp_path: Path, image: BuiltImage) -> None:
    Profile(home)
    bench = Bench(tmp_path, standin, f"{image.ref.repository}-built")
    with pytest.raises(BuildError) as caught:
        bench.build("FROM busybox:1.36\nRUN echo about to fail; exit 7\n")
    assert "Dockerfile:2: RUN echo about to fail; exit 7 ended with exit code 7" in caught.value.message
    assert "about to fail" in caught.value.details


def test_a_dockerfile_that_needs_buildkit_is_refused_where_there_is_none(standin: Minikube, home: Path, tmp_path: Path,
                                                                         image: BuiltImage) -> None:
    Profile(home)
    with pytest.raises(BuildError, match="which 'minikube image build' does not use with the docker runtime"):
        Bench(tmp_path, standin, f"{image.ref.repository}-built").build("FROM busybox:1.36\nRUN --mount=type=cache,target=/x true\n")


def test_options_are_written_as_each_runtimes_builder_wants_them(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS t\n")
    docker = DockerBuild(target="t", platform="linux/arm64", network="host", labels={"a": "b"}, cache_from=["c"])
    artifact = Artifact(image="web", docker=docker)
    job = BuildJob(artifact, analyse(artifact, tmp_path, DigestCache()), ImageRef("web", "1"), {"K": "V"})
    both = ["target=t", "platform=linux/arm64"]
    assert build_options(job, buildctl=False) == [*both, "network=host", "cache-from=c", "label=a=b", "build-arg=K=V"]
    assert build_options(job, buildctl=True) == [*both, "force-network-mode=host", "cache-from=c", "label:a=b", "build-arg:K=V"]
