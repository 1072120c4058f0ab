"""Images pushed to a registry of one's own."""

from __future__ import annotations

import threading
import time
from functools import partial

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.config.models import Registry
from devloop.errors import ConfigError
from devloop.events import Emit, StepFinished, StepStarted
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.logins import Logins
from devloop.publish.meter import Meter, size
from devloop.publish.names import renamed
from devloop.publish.pushing import Pushing


class RegistryPublisher:
    """A `Publisher`. `close` it."""

    def __init__(self, engine: DockerEngine, registry: Registry, *, reason: str = "", login_from_environment: bool = True) -> None:
        """`registry`: where to, as devloop.yaml says it. `login_from_environment`: DEVLOOP_REGISTRY_USER and _PASSWORD are for it."""
        self._engine = engine
        self._config = registry
        self.reason = reason or f"images are pushed to {registry.repository or 'the registries that they name'}, as publish.registry says"
        self._logins = Logins(engine.config, engine.environ, registry, from_environment=login_from_environment)
        self._lock = threading.Lock()
        self._hosts: dict[str, Pushing] = {}

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        target = ImageRef(renamed(image.artifact, self._config.repository), image.ref.tag)
        if "/" not in target.repository:
            raise ConfigError(f"publish.registry.repository is missing: {image.artifact} names no registry, and Docker Hub would refuse it",
                              hint="Set it to where images may be pushed to, such as ghcr.io/acme.")
        meter = Meter(image.artifact, emit)
        digest = self._pushing(target.registry).publish(image, target, meter, cancel)
        pulled = ImageRef(renamed(image.artifact, self._config.pull_repository or self._config.repository), target.tag, digest)
        emit(StepFinished("publish", image.artifact, time.monotonic() - started,
                          f"{pulled}" + (f", {size(meter.sent)} sent" if meter.sent else ""), cached=not meter.sent))
        return PublishedImage(image.artifact, pulled)

    def close(self) -> None:
        for pushing in self._hosts.values():
            pushing.close()

    def _pushing(self, host: str) -> Pushing:
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = Pushing(self._engine, host, partial(self._logins.of, host), insecure=self._config.insecure)
            return self._hosts[host]
