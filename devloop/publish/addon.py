"""minikube's registry addon: a registry in the cluster, and a proxy to it on port 5000 of every node.

Uploads go to the registry's pod itself: no port of this machine is involved. The nodes pull from their own ``localhost:5000``.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.duplex import PodRef
from devloop.clients.kube import Kube
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import RegistryUnreachable
from devloop.clients.tunnel import Tunnel
from devloop.errors import ApiError, Cancelled, PublishError
from devloop.events import Emit, Notice, StepFinished, StepStarted
from devloop.model import BuiltImage, ImageRef, Object, PublishedImage
from devloop.pods import PODS, ready
from devloop.publish.meter import Meter, size
from devloop.publish.names import ADDON, path_of, renamed
from devloop.publish.uploader import Uploader

NAMESPACE, SERVICE = "kube-system", "registry"
PATIENCE = 120.0             # seconds for the registry's pod to come up: its image may have to be pulled


@dataclass(frozen=True)
class _Pod:
    """A registry's pod, and the way into it. `running`: changes when a container starts anew, and has lost what it had."""

    ref: PodRef
    running: tuple[str, ...]
    registry: Registry
    uploader: Uploader


class RegistryAddonPublisher:
    """A `Publisher`. `close` it."""

    def __init__(self, engine: DockerEngine, kube: Kube, *, reason: str = "", patience: float = PATIENCE,
                 near: bool | None = None) -> None:
        """`near`: see `Uploader`."""
        self._engine, self._kube, self._patience, self._near = engine, kube, patience, near
        self.reason = reason or "minikube's registry addon: images are uploaded to it through the cluster's API"
        self._tunnel = Tunnel(kube)
        self._lock = threading.Lock()
        self._pod: _Pod | None = None
        self._published: dict[str, BuiltImage] = {}      # by artifact: what a registry that lost it gets again

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        meter = Meter(image.artifact, emit)
        try:
            digest = self._uploaded(self._current(emit, cancel), image, meter, cancel)
        except RegistryUnreachable:      # its pod has gone meanwhile; there may be another one
            self._forget()
            digest = self._uploaded(self._current(emit, cancel), image, meter, cancel)
        with self._lock:
            self._published[image.artifact] = image
        ref = ImageRef(renamed(image.artifact, ADDON), "", digest)
        emit(StepFinished("publish", image.artifact, time.monotonic() - started,
                          f"{ref}" + (f", {size(meter.sent)} sent" if meter.sent else ""), cached=not meter.sent))
        return PublishedImage(image.artifact, ref)

    def close(self) -> None:
        self._forget()
        self._tunnel.close()

    def _uploaded(self, pod: _Pod, image: BuiltImage, meter: Meter, cancel: Cancel) -> str:
        try:
            return pod.uploader.upload(image.image_id, path_of(renamed(image.artifact, ADDON)), image.ref.tag, meter, cancel)
        except RegistryUnreachable as error:
            said = self._tunnel.complaint(pod.ref)
            raise RegistryUnreachable(f"the registry in the cluster (pod {pod.ref.name}) cannot be reached: {said or error.message}",
                                      hint=f"See: kubectl -n {NAMESPACE} describe pod {pod.ref.name}") from error

    # --- the pod

    def _current(self, emit: Emit, cancel: Cancel) -> _Pod:
        """The registry's pod as it is now. One that is new to us gets all that was published to the one before."""
        with self._lock:
            service = self._service(cancel)
            pod = self._ready(service, cancel)
            running = tuple(str(s.get("containerID")) for s in pod["status"].get("containerStatuses") or ())
            ref = PodRef(NAMESPACE, pod["metadata"]["name"], pod["metadata"]["uid"])
            if self._pod is None or (self._pod.ref, self._pod.running) != (ref, running):
                if self._pod:
                    self._pod.registry.close()
                    self._pod = None
                registry = Registry(ADDON, self._engine.environ, connect=partial(self._tunnel.connect, ref, _port(service, pod)))
                made = _Pod(ref, running, registry, Uploader(self._engine, registry, near=self._near))
                self._refill(made, emit, cancel)
                self._pod = made
            return self._pod

    def _refill(self, pod: _Pod, emit: Emit, cancel: Cancel) -> None:
        if self._published:
            emit(Notice("the registry in the cluster was restarted and has lost its images; uploaded again: "
                        + ", ".join(sorted(self._published))))
        for image in self._published.values():
            self._uploaded(pod, image, Meter(image.artifact, emit), cancel)

    def _forget(self) -> None:
        with self._lock:
            if self._pod:
                self._pod.registry.close()
                self._tunnel.forget(self._pod.ref)
            self._pod = None

    def _service(self, cancel: Cancel) -> Object:
        try:
            return self._kube.request("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}", cancel=cancel)
        except ApiError as error:
            if error.status == 404:
                raise PublishError(f"the cluster has no registry: there is no service {NAMESPACE}/{SERVICE}",
                                   hint="Enable minikube's addon: minikube addons enable registry. Or let devloop do it: "
                                        "publish.minikube.enableRegistryAddon: true in devloop.yaml.") from error
            raise PublishError(f"the registry in the cluster cannot be found: {error.message}", hint=error.hint) from error

    def _ready(self, service: Object, cancel: Cancel) -> Object:
        """The newest pod of the service that is ready, as soon as there is one."""
        selector = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
        waiting = cancel.child()
        timer = threading.Timer(self._patience, waiting.cancel)
        timer.name, timer.daemon = "registry-patience", True
        timer.start()
        pods: dict[str, Object] = {}
        try:
            for event in self._kube.watch(PODS.path(NAMESPACE), query={"labelSelector": selector}, cancel=waiting):
                pods = {} if event.type == "SNAPSHOT" else pods
                for pod in event.objects:
                    pods[pod["metadata"]["uid"]] = pod
                    if event.type == "DELETED":
                        del pods[pod["metadata"]["uid"]]
                if up := [p for p in pods.values() if ready(p) and not p["metadata"].get("deletionTimestamp")]:
                    return max(up, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
            raise AssertionError("a watch has no end")
        except Cancelled:
            cancel.check()
            states = ", ".join(f"{p['metadata']['name']} is {p['status'].get('phase')}" for p in pods.values()) or "it has no pod"
            raise PublishError(f"the registry in the cluster ({NAMESPACE}/{SERVICE}) is not ready: {states}",
                               hint=f"See: kubectl -n {NAMESPACE} describe pod -l {selector}") from None
        finally:
            timer.cancel()
            waiting.detach()


def _port(service: Object, pod: Object) -> int:
    """The container's port behind the service's port 80."""
    port = next((p for p in service["spec"]["ports"] if p["port"] == 80), service["spec"]["ports"][0])
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (p for c in pod["spec"]["containers"] for p in c.get("ports") or () if p.get("name") == target)
    return next((int(p["containerPort"]) for p in named), 5000)
