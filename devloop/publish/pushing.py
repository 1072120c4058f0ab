"""One registry, reached by the Engine or, where the Engine sees something else under its name than we do, by ourselves."""

from __future__ import annotations

import threading
from collections.abc import Callable

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_auth import Credentials
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import RegistryUnreachable, refused
from devloop.clients.registry_http import is_here
from devloop.errors import EngineError, PublishError
from devloop.model import BuiltImage, ImageRef
from devloop.publish.blobs import Layers
from devloop.publish.built import layers
from devloop.publish.meter import Meter
from devloop.publish.names import path_of
from devloop.publish.push import Interrupted, pushed
from devloop.publish.uploader import Uploader

Login = Callable[[Cancel], Credentials | None]


class Pushing:
    """Pushes to the registry at `host` (empty: Docker Hub). Safe from every thread; `close` it."""

    def __init__(self, engine: DockerEngine, host: str, login: Login, *, insecure: bool) -> None:
        self._engine, self._host, self._login = engine, host, login
        self._ours = is_here(host) or insecure       # where our own upload can do what the Engine cannot
        self._registry = Registry(host, engine.environ, login, insecure=insecure)
        self._uploader = Uploader(engine, self._registry)
        self._layers = Layers()
        self._lock = threading.Lock()
        self._unseen = False          # from here; the Engine may see it through a proxy, or trust it
        self._by_ourselves = False
        self._digests: dict[str, tuple[str, str]] = {}

    def publish(self, image: BuiltImage, target: ImageRef, meter: Meter, cancel: Cancel) -> str:
        """Have the image there as `target`; the digest of its manifest. Raises as `Publisher.publish` does."""
        digest = self._there(image, target, cancel)
        if not digest and not self._by_ourselves:
            digest = self._by_engine(image, target, meter, cancel)
        if not digest:
            digest = self._uploader.upload(image.image_id, path_of(target.repository), target.tag, meter, cancel)
        with self._lock:
            self._digests[str(target)] = image.image_id, digest
        return digest

    def close(self) -> None:
        self._registry.close()

    def _there(self, image: BuiltImage, target: ImageRef, cancel: Cancel) -> str:
        """The manifest's digest, where the registry has this very image as `target` already."""
        path = path_of(target.repository)
        known, digest = self._digests.get(str(target), ("", ""))
        if self._unseen:
            return ""
        try:
            if known == image.image_id:
                return self._registry.digest(path, digest, cancel)
            return self._uploader.find(image.image_id, path, target.tag, cancel)
        except RegistryUnreachable:
            if self._by_ourselves:
                raise
            self._unseen = True
            return ""

    def _by_engine(self, image: BuiltImage, target: ImageRef, meter: Meter, cancel: Cancel) -> str:
        """Empty where we had better try ourselves."""
        try:
            digest = self._pushed(image, target, meter, cancel)
        except Interrupted:      # our own upload goes on where it was, or says what is wrong
            return ""
        except RegistryUnreachable:
            if not self._ours or self._unseen:
                raise
            self._by_ourselves = True
            return ""
        if not self._unseen and self._registry.digest(path_of(target.repository), digest, cancel) != digest:
            if not self._ours:
                raise PublishError(f"{self._host} has taken {target}, but does not have it", hint="Does something clean it up meanwhile?")
            self._by_ourselves = True       # on the Engine's machine another registry has this address
            return ""
        return digest

    def _pushed(self, image: BuiltImage, target: ImageRef, meter: Meter, cancel: Cancel) -> str:
        credentials, diff_ids = self._login(cancel), layers(self._engine, image.image_id)
        try:
            with self._layers.pushed(diff_ids, cancel):
                return pushed(self._engine, image.image_id, target, meter, cancel, credentials=credentials,
                              retries=self._unseen or not self._ours)
        except EngineError as error:
            raise self._refused(error.message, target, credentials) from error

    def _refused(self, fault: str, target: ImageRef, credentials: Credentials | None) -> Exception:
        known = credentials or {}
        return refused(self._host, fault, repository=path_of(target.repository), user=known.get("username") or "")
