"""minikube's registry addon: a registry in the cluster, and a proxy to it on port 5000 of every node.

Uploads go to the registry's pod itself: no port of this machine is involved. The nodes pull from their own ``localhost:5000``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.duplex import PodRef
from devloop.clients.kube import Kube
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import RegistryUnreachable
from devloop.clients.tunnel import Tunnel
from devloop.errors import PublishError
from devloop.events import Emit, Notice, StepFinished, StepStarted
from devloop.model import BuiltImage, ImageRef, Object, PublishedImage
from devloop.publish.addonparts import NAMESPACE, AddonParts, identity
from devloop.publish.meter import Meter, size
from devloop.publish.names import ADDON, path_of, renamed
from devloop.publish.uploader import Uploader

PATIENCE = 120.0             # seconds for the registry's pod, and for its proxies, to come up: their images may have to be pulled
ATTEMPTS = 3                 # at a registry whose pod is replaced while it is sent an image


@dataclass(frozen=True)
class _Pod:
    """A registry's pod, and the way into it."""

    ref: PodRef
    seen: Object
    registry: Registry
    uploader: Uploader


class RegistryAddonPublisher:
    """A `Publisher`. `close` it."""

    def __init__(self, engine: DockerEngine, kube: Kube, *, reason: str = "", patience: float = PATIENCE,
                 near: bool | None = None) -> None:
        """`near`: see `Uploader`."""
        self._engine, self._near = engine, near
        self.reason = reason or "minikube's registry addon: images are uploaded to it through the cluster's API"
        self._parts = AddonParts(kube, patience)
        self._tunnel = Tunnel(kube)
        self._lock = threading.Lock()
        self._pod: _Pod | None = None
        self._proxied = False                            # each node's proxy was seen to be ready
        self._filled: tuple[str, ...] = ()               # the identity of the pod that has all that was published
        self._published: dict[str, BuiltImage] = {}      # by artifact: what a registry that lost it gets again

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        meter = Meter(image.artifact, emit)

        def upload(pod: _Pod) -> str:
            digest = self._uploaded(pod, image, meter, cancel)
            with self._lock:      # before it is asked whether the pod is there still: whoever finds another one has to know of this
                self._published[image.artifact] = image
            return digest

        ref = ImageRef(renamed(image.artifact, ADDON), "", self._with_pod(upload, emit, cancel))
        emit(StepFinished("publish", image.artifact, time.monotonic() - started,
                          f"{ref}" + (f", {size(meter.sent)} sent" if meter.sent else ""), cached=not meter.sent))
        return PublishedImage(image.artifact, ref)

    def confirm(self, artifacts: Collection[str], emit: Emit, cancel: Cancel) -> None:
        """See `Confirming`. A registry that was replaced has lost everything."""
        with self._lock:
            self._published = {artifact: image for artifact, image in self._published.items() if artifact in artifacts}
            pod = self._pod
        if self._published and not (pod and self._parts.stands(pod.seen, cancel)):
            self._with_pod(lambda _: "", emit, cancel)

    def close(self) -> None:
        if self._pod:
            self._forget(self._pod)
        self._tunnel.close()

    def _with_pod(self, work: Callable[[_Pod], str], emit: Emit, cancel: Cancel) -> str:
        """What `work` with the registry's pod comes to. One that was deleted takes images until it ends: then it is done again."""
        for left in reversed(range(ATTEMPTS)):
            pod = None
            try:
                pod = self._current(emit, cancel)
                done = work(pod)
                if self._parts.stands(pod.seen, cancel):
                    return done
            except RegistryUnreachable:      # its pod has gone meanwhile; there may be another one
                if not left:
                    raise
                pod = pod or self._pod      # then it went while it got what the one before had had
            if pod:
                self._forget(pod)
        raise PublishError("the registry in the cluster is replaced again and again while it is sent an image",
                           hint=f"See: kubectl -n {NAMESPACE} get events")

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
            service = self._parts.service(cancel)
            seen = self._parts.pod(service, cancel)
            if not self._proxied:
                self._parts.proxies(cancel)
                self._proxied = True
            if self._pod is None or identity(self._pod.seen) != identity(seen):
                if self._pod:
                    self._pod.registry.close()
                ref = PodRef(NAMESPACE, seen["metadata"]["name"], seen["metadata"]["uid"])
                registry = Registry(ADDON, self._engine.environ, connect=partial(self._tunnel.connect, ref, _port(service, seen)))
                self._pod = _Pod(ref, seen, registry, Uploader(self._engine, registry, near=self._near))
            if self._filled != identity(seen):
                self._refill(self._pod, emit, cancel)
                self._filled = identity(seen)
            return self._pod

    def _refill(self, pod: _Pod, emit: Emit, cancel: Cancel) -> None:
        if self._published:
            emit(Notice("the registry in the cluster was restarted and has lost its images; uploaded again: "
                        + ", ".join(sorted(self._published))))
        for image in self._published.values():
            self._uploaded(pod, image, Meter(image.artifact, emit), cancel)

    def _forget(self, pod: _Pod) -> None:
        """Whoever comes next looks for the pod anew."""
        with self._lock:
            pod.registry.close()
            self._tunnel.forget(pod.ref)
            if self._pod is pod:
                self._pod = None


def _port(service: Object, pod: Object) -> int:
    """The container's port behind the service's port 80."""
    port = next((p for p in service["spec"]["ports"] if p["port"] == 80), service["spec"]["ports"][0])
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (p for c in pod["spec"]["containers"] for p in c.get("ports") or () if p.get("name") == target)
    return next((int(p["containerPort"]) for p in named), 5000)
