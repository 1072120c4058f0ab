"""Images published to minikube's registry addon, in the real cluster, through its API."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.errors import Cancelled, PublishError
from devloop.events import Event, Notice, StepFinished, StepProgress
from devloop.model import BuiltImage, ImageRef
from devloop.pods import ready
from devloop.publish.addon import RegistryAddonPublisher
from tests.cluster import addon
from tests.cluster.addon import replace_registry
from tests.cluster.registries import Home
from tests.cluster.workloads import FOREVER, await_service_account, pod_spec

pytestmark = pytest.mark.cluster


class Publishing:
    def __init__(self, publisher: RegistryAddonPublisher) -> None:
        self.publisher = publisher
        self.events: list[Event] = []

    def publish(self, image: BuiltImage, cancel: Cancel | None = None) -> ImageRef:
        self.events.clear()
        return self.publisher.publish(image, self.events.append, cancel or Cancel()).ref

    @property
    def sent(self) -> str:
        """How much was sent, as it is told."""
        finished = self.events[-1]
        assert isinstance(finished, StepFinished)
        return finished.detail.partition(", ")[2]


@pytest.fixture
def publishing(kube: Kube, docker_home: Home) -> Iterator[Publishing]:
    publisher = RegistryAddonPublisher(docker_home.engine(), kube)
    yield Publishing(publisher)
    publisher.close()


def run(kube: Kube, namespace: str, name: str, image: ImageRef) -> None:
    """Run a pod of the image, which the node has to pull, until it is ready; then take it away."""
    await_service_account(kube, namespace)
    container = {"name": "web", "image": str(image), "imagePullPolicy": "Always", "command": FOREVER}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    kube.request("POST", pods, body={"metadata": {"name": name}, "spec": pod_spec(container, restartPolicy="Never")})
    eventually(lambda: ready(kube.get(f"{pods}/{name}")))
    kube.request("DELETE", f"{pods}/{name}", query={"gracePeriodSeconds": 0})


# before the others: they have the addon
def test_a_cluster_without_the_addon_is_told_how_to_get_it(kube, docker_home, build_image):
    publisher = RegistryAddonPublisher(docker_home.engine(), kube)
    try:
        with addon.alone(), pytest.raises(PublishError, match=r"^the cluster has no registry: there is no service") as caught:
            publisher.publish(build_image(), lambda _: None, Cancel())
    finally:
        publisher.close()

    assert caught.value.hint.startswith("Enable minikube's addon: minikube addons enable registry.")


def test_an_image_comes_to_the_nodes_through_the_registry_in_the_cluster(kube, registry_addon, namespace, publishing, build_image):
    image = build_image("ghcr.io/acme/hello-web", b"one")

    ref = publishing.publish(image)
    first = publishing.sent
    run(kube, namespace, "web", ref)
    again = publishing.publish(image)

    assert (ref.repository, ref.tag) == ("localhost:5000/acme/hello-web", "")
    assert ref.digest.startswith("sha256:")
    assert first.endswith("MB sent")
    assert again == ref
    assert publishing.sent == ""


def test_a_registry_that_lost_its_images_gets_them_again(kube, registry_addon, namespace, publishing, build_image):
    web, api, new = (build_image(name, name.encode()) for name in ("hello-web", "hello-api", "hello-web"))
    published = [publishing.publish(image) for image in (web, api)]

    replace_registry(kube)
    ref = publishing.publish(new)
    notices = [e.message for e in publishing.events if isinstance(e, Notice)]

    assert notices == ["the registry in the cluster was restarted and has lost its images; uploaded again: hello-api, hello-web"]
    for name, image in (("new", ref), ("api", published[1])):
        run(kube, namespace, name, image)


def test_before_a_deploy_a_registry_that_lost_its_images_gets_them_again(kube, registry_addon, namespace, publishing, build_image):
    web, api = (publishing.publish(build_image(name, name.encode())) for name in ("hello-web", "hello-api"))

    def confirmed(*artifacts: str) -> list[str]:
        publishing.events.clear()
        publishing.publisher.confirm(artifacts, publishing.events.append, Cancel())
        return [e.message for e in publishing.events if isinstance(e, Notice)]

    assert confirmed("hello-web", "hello-api") == []
    replace_registry(kube)
    assert confirmed("hello-web") == ["the registry in the cluster was restarted and has lost its images; uploaded again: hello-web"]
    assert confirmed("hello-web") == []
    run(kube, namespace, "web", web)
    assert api


@pytest.mark.parametrize("at", [10_000_000, 39_000_000])
def test_a_registry_that_goes_while_it_is_sent_an_image_gets_it_in_its_next_pod(kube, registry_addon, namespace, publishing, build_image,
                                                                               at: int) -> None:
    """Deleted at the end of the upload, it takes the rest, and even proves to have it."""
    image = build_image("hello-web", os.urandom(40_000_000))
    gone = threading.Event()

    def emit(event: Event) -> None:
        if isinstance(event, StepProgress) and event.current > at and not gone.is_set():
            gone.set()
            replace_registry(kube)

    ref = publishing.publisher.publish(image, emit, Cancel()).ref
    assert gone.is_set()
    run(kube, namespace, "web", ref)


def test_what_an_earlier_session_published_is_found_or_uploaded_again(kube, registry_addon, docker_home, build_image):
    image = build_image("hello-web", b"one")
    sent = []
    for replaced in (False, False, True):
        if replaced:
            replace_registry(kube)
        publisher = RegistryAddonPublisher(docker_home.engine(), kube)
        publishing = Publishing(publisher)
        publishing.publish(image)
        publisher.close()
        sent.append(bool(publishing.sent))

    assert sent == [True, False, True]


def test_two_images_side_by_side(registry_addon, publishing, build_image):
    images = [build_image(name, name.encode()) for name in ("hello-web", "hello-api")]
    with ThreadPoolExecutor(2) as pool:
        refs = list(pool.map(lambda image: publishing.publisher.publish(image, lambda _: None, Cancel()).ref, images))

    assert [ref.repository for ref in refs] == ["localhost:5000/hello-web", "localhost:5000/hello-api"]


def test_a_registry_that_does_not_come_up_is_told_after_a_while_and_a_cancel_ends_the_wait(kube, registry_addon, docker_home, build_image):
    patient, publisher = (RegistryAddonPublisher(docker_home.engine(), kube, patience=seconds) for seconds in (120, 1))
    image = build_image()
    kube.request("PATCH", "/apis/apps/v1/namespaces/kube-system/deployments/registry", body={"spec": {"replicas": 0}},
                 content_type="application/merge-patch+json")
    try:
        eventually(lambda: not addon.pods(kube, of="actual-registry=true"))
        cancel = Cancel()
        timer = threading.Timer(0.2, cancel.cancel, ("a newer save",))
        timer.start()
        with pytest.raises(Cancelled, match="a newer save"):
            Publishing(patient).publish(image, cancel)
        timer.join()
        with pytest.raises(PublishError, match=r"^the registry in the cluster \(kube-system/registry\) is not ready: it has no pod"):
            Publishing(publisher).publish(image)
    finally:
        patient.close()
        publisher.close()
        kube.request("PATCH", "/apis/apps/v1/namespaces/kube-system/deployments/registry", body={"spec": {"replicas": 1}},
                     content_type="application/merge-patch+json")


PROXIES = "/apis/apps/v1/namespaces/kube-system/daemonsets/registry-proxy"


def proxies(kube: Kube, **spec: object) -> None:
    """Change their pods' template."""
    kube.request("PATCH", PROXIES, body={"spec": {"template": {"spec": spec}}}, content_type="application/strategic-merge-patch+json")


def proxied(kube: Kube, wanted: int, up: int) -> bool:
    """Whether so many nodes are to have their proxy, and so many have it."""
    now = kube.get(PROXIES)
    status = now["status"]
    return (status.get("observedGeneration"), status["desiredNumberScheduled"], status["numberReady"]) == (
        now["metadata"]["generation"], wanted, up)


def refused(kube: Kube, engine: DockerEngine, image: BuiltImage) -> PublishError:
    eventually(lambda: any(map(ready, addon.pods(kube, of="actual-registry=true"))))
    with closing(RegistryAddonPublisher(engine, kube, patience=1)) as publisher, pytest.raises(PublishError) as caught:
        Publishing(publisher).publish(image)
    return caught.value


def test_nodes_without_their_proxy_are_told_and_waited_for(kube, registry_addon, namespace, docker_home, build_image):
    engine, image = docker_home.engine(), build_image()
    proxies(kube, nodeSelector={"devloop.test/no": "node"})
    try:
        eventually(lambda: proxied(kube, 0, 0))
        error = refused(kube, engine, image)
        with closing(RegistryAddonPublisher(engine, kube)) as publisher, ThreadPoolExecutor(1) as pool:
            published = pool.submit(Publishing(publisher).publish, image)
            proxies(kube, nodeSelector=None)
            ref = published.result()
    finally:
        proxies(kube, nodeSelector=None)
        eventually(lambda: proxied(kube, 1, 1))

    assert error.message == ("the nodes cannot pull from the registry in the cluster: "
                             "DaemonSet registry-proxy, their proxy to it, is to run on no node")
    assert error.hint.startswith("See: kubectl -n kube-system describe daemonset,pod -l kubernetes.io/minikube-addons=registry")
    run(kube, namespace, "web", ref)


def test_a_proxy_that_does_not_come_up_is_told_with_its_node(kube, registry_addon, docker_home, build_image):
    node = kube.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    proxies(kube, containers=[{"name": "registry-proxy", "image": "devloop-test-addon/no-such:1"}])
    try:
        eventually(lambda: proxied(kube, 1, 0) and len(addon.pods(kube, of="registry-proxy=true")) == 1)
        error = refused(kube, docker_home.engine(), build_image())
    finally:
        proxies(kube, containers=[{"name": "registry-proxy", "image": addon.PROXY}])
        eventually(lambda: proxied(kube, 1, 1))

    assert "0 of 1 nodes have their proxy to it (DaemonSet registry-proxy): " in error.message
    assert f"on node '{node}' pod registry-proxy-" in error.message


@pytest.fixture
def uploader_only(kube: Kube, namespace: str, powerless: str) -> Iterator[Kube]:
    """The cluster as somebody sees it who may send to the registry, and look at nothing else."""
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
             {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
             {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}]
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system"
    kube.request("POST", f"{path}/roles", body={"metadata": {"name": namespace}, "rules": rules})
    kube.request("POST", f"{path}/rolebindings", body={
        "metadata": {"name": namespace}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": namespace},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]})
    with closing(Kube(kubeconfig=powerless)) as seen:
        yield seen
    for kind in ("rolebindings", "roles"):
        kube.request("DELETE", f"{path}/{kind}/{namespace}")


def test_who_may_not_look_at_the_proxies_is_not_held_up(uploader_only, registry_addon, docker_home, build_image):
    with closing(RegistryAddonPublisher(docker_home.engine(), uploader_only)) as publisher:
        assert Publishing(publisher).publish(build_image()).digest
