"""Which way is chosen for which cluster, why, and how little is asked for that."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest
from standins.nodes import Nodes
from standins.profiles import Profile

from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.clients.minikube import MinikubeError
from devloop.cluster import Cluster
from devloop.config.models import Minikube, Publish, Registry
from devloop.errors import PublishError
from devloop.model import BuiltImage
from devloop.publish.addon import RegistryAddonPublisher
from devloop.publish.minikube import ImageBuild
from devloop.publish.registry import RegistryPublisher
from devloop.publish.route import Route, Router, built_by_minikube
from devloop.publish.shared import SharedEngine

pytestmark = pytest.mark.cluster

Choose = Callable[..., Route]
HERE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")


def cluster(kind: str, name: str) -> Cluster:
    return Cluster(kind, name, kind != "remote", "", name, "https://127.0.0.1")      # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "minikube"


@pytest.fixture
def choose(kube: Kube, standin_environ: Mapping[str, str]) -> Iterator[Choose]:
    """``choose(kind, name, environ={}, kube=…, mode=…, …)``: the last ones are those of `publish` in devloop.yaml."""
    with ExitStack() as opened:
        def choose(kind: str, name: str = "minikube", *, environ: Mapping[str, str] = {}, kube: Kube = kube, **publish: Any) -> Route:
            return Router(Publish(**publish), cluster(kind, name), kube, environ={**standin_environ, **environ}, opened=opened,
                          cancel=Cancel()).choose()

        yield choose


def calls(home: Path) -> list[str]:
    return (home / "calls").read_text().splitlines()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Kube]]:
    """Makes a cluster that knows these paths' answers, and nothing else."""
    with ExitStack() as opened:
        def make(answers: dict[str, Any]) -> Kube:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    body = json.dumps(answers.get(self.path, {"kind": "Status", "code": 404, "reason": "NotFound"})).encode()
                    self.send_response(200 if self.path in answers else 404)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_: Any) -> None:
                    pass

            server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, name="api")
            thread.start()
            opened.callback(thread.join)
            opened.callback(server.server_close)
            opened.callback(server.shutdown)
            file = tmp_path / f"kubeconfig-{server.server_port}"
            file.write_text(json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
            kube = Kube(kubeconfig=str(file))
            opened.callback(kube.close)
            return kube

        yield make


LOCAL_REGISTRY = {"/api/v1/namespaces/kube-public/configmaps/local-registry-hosting": {
    "data": {"localRegistryHosting.v1": "host: localhost:5001\nhostFromContainerRuntime: reg:5000\n"}}}


NODES = ("list", "nodes", "", "")      # a right


def node(runtime: str) -> dict[str, Any]:
    return {"/api/v1/nodes": {"items": [{"metadata": {"name": "n"}, "status": {"nodeInfo": {
        "containerRuntimeVersion": runtime, "kernelVersion": "another"}}}]}}


# --- any cluster


def test_a_cluster_whose_nodes_use_our_engine_needs_nothing(choose: Choose, image: BuiltImage) -> None:
    route = choose("loopback", "c")
    assert (route.mode, route.rights) == ("none", (NODES,))
    assert route.reason == f"the cluster's nodes use the Docker Engine that builds ({HERE}): nothing to transfer"
    route.publisher.publish(image, print, Cancel())


@pytest.mark.parametrize("kind", ["loopback", "remote", "in-cluster", "kind", "k3d", "microk8s"])
def test_a_registry_that_the_cluster_announces_comes_first(choose: Choose, api: Callable[[dict[str, Any]], Kube], kind: str) -> None:
    route = choose(kind, "c", kube=api(LOCAL_REGISTRY))
    assert (route.mode, type(route.publisher)) == ("registry", RegistryPublisher)
    assert route.reason == "images are pushed to localhost:5001: the cluster announces this registry (KEP-1755)"


@pytest.mark.parametrize("kind", ["docker-desktop", "rancher-desktop", "colima", "orbstack"])
def test_one_machine_with_another_runtime_than_its_engine_is_asked_for_a_registry(choose: Choose, kind: str,
                                                                                 api: Callable[[dict[str, Any]], Kube]) -> None:
    route = choose(kind, "c", kube=api(LOCAL_REGISTRY | node("containerd://2.1")))
    assert (route.mode, type(route.publisher)) == ("registry", RegistryPublisher)
    assert route.reason == "images are pushed to localhost:5001: the cluster announces this registry (KEP-1755)"


def test_one_machine_whose_engine_builds_needs_no_registry(choose: Choose, api: Callable[[dict[str, Any]], Kube],
                                                           docker_api: docker.APIClient) -> None:
    same = node("docker://20.10")
    same["/api/v1/nodes"]["items"][0]["status"]["nodeInfo"]["kernelVersion"] = docker_api.info()["KernelVersion"]
    assert choose("docker-desktop", "c", kube=api(LOCAL_REGISTRY | same)).mode == "none"


def test_who_cannot_list_the_nodes_is_told_so(choose: Choose, api: Callable[[dict[str, Any]], Kube]) -> None:
    with pytest.raises(PublishError, match="cannot be told") as caught:
        choose("remote", "c", kube=api({}))
    assert caught.value.hint.startswith("devloop must be allowed to list the cluster's nodes. Or: Say in devloop.yaml which registry")


@pytest.mark.parametrize("kind", ["loopback", "remote", "kind", "minikube", "docker-desktop"])
def test_a_registry_of_ones_own_comes_before_everything(choose: Choose, api: Callable[[dict[str, Any]], Kube], kind: str) -> None:
    route = choose(kind, "c", kube=api(LOCAL_REGISTRY), registry=Registry(repository="ghcr.io/acme"))
    assert route.mode == "registry"
    assert route.reason == "images are pushed to ghcr.io/acme, as publish.registry says"


@pytest.mark.parametrize(("kind", "hint"), [
    ("remote", "Say in devloop.yaml which registry"), ("rancher-desktop", "choose dockerd (moby)"), ("colima", "--runtime docker"),
    ("docker-desktop", "kubeadm"), ("microk8s", "microk8s enable registry"), ("loopback", "Say in devloop.yaml which registry")])
def test_a_cluster_that_no_way_leads_to_is_told_with_what_to_configure(choose: Choose, api: Callable[[dict[str, Any]], Kube], kind: str,
                                                                       hint: str) -> None:
    with pytest.raises(PublishError) as caught:
        choose(kind, "c", kube=api(node("containerd://2.1")))
    assert "node 'n' runs containers with containerd://2.1" in caught.value.message
    assert hint in caught.value.hint
    assert "publish: {registry: {repository: ghcr.io/acme}}" in caught.value.hint


def test_none_is_believed_until_it_is_proven_wrong(choose: Choose, api: Callable[[dict[str, Any]], Kube], image: BuiltImage) -> None:
    route = choose("remote", "c", kube=api(node("containerd://2.1")), mode="none")
    assert route.reason.startswith("publish.mode says that the cluster's nodes use the Docker Engine")
    with pytest.raises(PublishError, match="do not reach this cluster"):
        route.publisher.publish(image, print, Cancel())


# --- kind, k3d


@pytest.mark.parametrize("tool", ["kind", "k3d"])
def test_nodes_in_our_engine_are_loaded(choose: Choose, make_nodes: Callable[[str, int], Nodes], api: Callable[[dict[str, Any]], Kube],
                                        tool: str) -> None:
    nodes = make_nodes(tool, 1)
    for route in (choose(tool, nodes.cluster, kube=api({})), choose("loopback", f"{tool}-{nodes.cluster}", mode=tool)):
        assert route.mode == tool
        assert route.reason == (f"images are loaded from the Docker Engine into the nodes of {tool} cluster '{nodes.cluster}', "
                                "which run in it")


# --- minikube


def test_one_node_with_docker_builds(choose: Choose, home: Path, kube: Kube, image: BuiltImage) -> None:
    """The test cluster's Engine plays the node's."""
    Profile(home).change(docker_env={"DOCKER_HOST": HERE})
    route = choose("minikube")
    assert (route.mode, route.engine.environ["DOCKER_HOST"]) == ("minikube-docker-env", HERE)
    assert route.reason.startswith("images are built in minikube's own Engine (profile 'minikube'): the cluster's nodes use ")
    route.publisher.publish(image, print, Cancel())
    assert calls(home) == ["profile list --output json --light", "-p minikube docker-env --shell none"]


def test_where_minikube_builds_no_registry_is_asked_for(choose: Choose, home: Path, api: Callable[[dict[str, Any]], Kube]) -> None:
    Profile(home)
    assert choose("minikube", kube=api(LOCAL_REGISTRY)).mode == "minikube-docker-env"


@pytest.mark.parametrize("profile", [{"nodes": 2}, {"runtime": "containerd"}, {"runtime": "containerd", "driver": "none"},
                                     {"nodes": 2, "registry": True}])
def test_else_a_registry_that_minikube_announces_comes_first(choose: Choose, home: Path, api: Callable[[dict[str, Any]], Kube],
                                                             profile: dict[str, Any]) -> None:
    Profile(home, **profile)
    route = choose("minikube", kube=api(LOCAL_REGISTRY))
    assert (route.mode, type(route.publisher)) == ("registry", RegistryPublisher)


def test_a_minikube_whose_api_server_is_down_can_be_loaded(choose: Choose, home: Path, tmp_path: Path) -> None:
    Profile(home, nodes=2)
    (tmp_path / "down").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))
    with closing(Kube(kubeconfig=str(tmp_path / "down"))) as down:
        assert choose("minikube", kube=down).mode == "minikube-image-load"


def test_after_docker_env_minikube_is_not_asked(choose: Choose, home: Path) -> None:
    Profile(home)
    route = choose("minikube", environ={"MINIKUBE_ACTIVE_DOCKERD": "minikube"})
    assert route.mode == "minikube-docker-env"
    assert not (home / "calls").exists()


def test_the_driver_none_has_this_machines_engine(choose: Choose, home: Path) -> None:
    Profile(home, driver="none")
    route = choose("minikube")
    assert (route.mode, route.rights) == ("none", (NODES,))


@pytest.mark.parametrize("runtime", ["containerd", "cri-o"])
def test_with_the_driver_none_and_another_runtime_it_has_not(choose: Choose, home: Path, runtime: str) -> None:
    Profile(home, driver="none", runtime=runtime)
    assert choose("minikube").mode == "minikube-image-load"


@pytest.mark.parametrize(("profile", "why"), [({"nodes": 3}, "because it has 3 nodes"),
                                              ({"runtime": "containerd"}, "because its container runtime is containerd"),
                                              ({"runtime": "cri-o"}, "because its container runtime is crio")])
def test_others_load_unless_there_is_the_registry_addon(choose: Choose, home: Path, profile: dict[str, Any], why: str) -> None:
    Profile(home, **profile)
    Profile(home, "other", registry=True, **profile)
    route = choose("minikube")
    assert route.mode == "minikube-image-load"
    assert route.reason.endswith(f"by 'minikube image load', {why}; faster: publish.minikube.enableRegistryAddon")
    assert calls(home) == ["profile list --output json --light"]
    route = choose("minikube", "other")
    assert (route.mode, type(route.publisher)) == ("minikube-registry", RegistryAddonPublisher)
    assert {namespace for *_, namespace in route.rights} == {"kube-system"}
    assert ("create", "pods/portforward", "", "kube-system") in route.rights
    assert route.reason == f"images go through the registry addon of minikube profile 'other', {why}"


def test_the_registry_addon_is_enabled_where_that_is_allowed(choose: Choose, home: Path) -> None:
    profile = Profile(home, nodes=2)
    route = choose("minikube", minikube=Minikube(enable_registry_addon=True))
    assert route.reason == ("images go through the registry addon of minikube profile 'minikube', because it has 2 nodes, "
                            "and enabled for this")
    assert profile.config["Addons"] == {"registry": True}


@pytest.mark.parametrize(("mode", "said"), [
    ("minikube-image-load", "by 'minikube image load', as publish.mode minikube-image-load says"),
    ("minikube-image-build", "by 'minikube image build', as publish.mode minikube-image-build says"),
    ("minikube-registry", "images go through the registry addon of minikube profile 'minikube', as publish.mode minikube-registry says"),
    ("minikube-docker-env", "images are built in minikube's own Engine")])
def test_each_way_can_be_forced(choose: Choose, home: Path, mode: str, said: str) -> None:
    Profile(home)
    route = choose("minikube", mode=mode)
    assert route.mode == mode
    assert said in route.reason
    assert bool(route.nodes) == isinstance(route.publisher, ImageBuild) == (mode == "minikube-image-build")


def test_docker_env_cannot_be_forced_on_several_nodes(choose: Choose, home: Path) -> None:
    Profile(home, nodes=2)
    with pytest.raises(MinikubeError, match="incompatible with multi-node clusters") as caught:
        choose("minikube", mode="minikube-docker-env")
    assert "remove publish.mode" in caught.value.hint


def test_a_cluster_that_minikube_does_not_know_cannot_be_forced_to_be_one(choose: Choose, home: Path) -> None:
    Profile(home, "other")
    with pytest.raises(MinikubeError, match=r"minikube has no profile 'prod' \(profiles: other\)"):
        choose("remote", "prod", mode="minikube-image-load")


def test_a_stopped_minikube_is_told_with_how_to_start_it(choose: Choose, home: Path) -> None:
    Profile(home).change_node("minikube", host="Stopped")
    with pytest.raises(MinikubeError) as caught:
        choose("minikube")
    assert caught.value.hint == "Start it: minikube start -p minikube"


def test_build_alone_asks_no_cluster_but_a_minikube() -> None:
    assert built_by_minikube(Publish(), "minikube")
    assert built_by_minikube(Publish(mode="minikube-image-build"), "remote")
    assert not built_by_minikube(Publish(), "kind")
    assert not built_by_minikube(Publish(mode="minikube-image-load"), "minikube")
    assert not built_by_minikube(Publish(registry=Registry(repository="ghcr.io/acme")), "minikube")


def test_the_image_is_in_the_engine_that_the_route_names(choose: Choose, docker_api: docker.APIClient) -> None:
    assert choose("loopback", "c").engine.info().name == docker_api.info()["Name"]
    assert isinstance(choose("loopback", "c").publisher, SharedEngine)
