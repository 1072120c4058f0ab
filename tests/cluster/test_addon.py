"""Images published to minikube's registry addon, in the real cluster, through its API."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.errors import Cancelled, PublishError
from devloop.events import Event, Notice, StepFinished, StepProgress
from devloop.model import BuiltImage, ImageRef
from devloop.pods import ready
from devloop.publish.addon import RegistryAddonPublisher
from tests.cluster import addon
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


def replace_registry(kube: Kube) -> str:
    """As a drained node or a restart of minikube does it. The uid of the pod that goes; its container may run a while longer."""
    (old,) = addon.pods(kube, of="actual-registry=true")
    kube.request("DELETE", f"/api/v1/namespaces/kube-system/pods/{old['metadata']['name']}", query={"gracePeriodSeconds": 0})
    return str(old["metadata"]["uid"])


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


def test_a_registry_that_goes_while_it_is_sent_an_image_gets_it_in_its_next_pod(kube, registry_addon, namespace, publishing, build_image,
                                                                               docker_api: docker.APIClient) -> None:
    image = build_image("hello-web", os.urandom(40_000_000))
    gone = threading.Event()

    def emit(event: Event) -> None:
        if isinstance(event, StepProgress) and event.current > 10_000_000 and not gone.is_set():
            gone.set()
            pod = replace_registry(kube)
            # while it ends it might take the rest, and even prove to have it: the push is over only when it has really gone
            eventually(lambda: not docker_api.containers(filters={"label": f"io.kubernetes.pod.uid={pod}"}))

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
