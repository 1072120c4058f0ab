"""From the Engine's image store to a registry that the Engine itself cannot reach, over whatever connection leads there.

An Engine on this machine sends what the registry lacks through a `Door`. Another one's image is exported, and layers are sent as they
come then, mostly uncompressed: these registries are on this machine, in its cluster or its network, where compressing a byte takes
longer than sending it. And then a layer's digest is known before it is read (the image's ``diff_ids``), so that the registry can be
asked first, and nothing has to be remembered between two runs.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_images import save
from devloop.clients.registry import OCI_MANIFEST, Registry
from devloop.clients.registry_upload import UploadLost
from devloop.errors import PublishError
from devloop.model import ImageRef
from devloop.publish.blobs import Blobs, Layers
from devloop.publish.meter import Meter
from devloop.publish.push import pushed_through
from devloop.publish.repository import Repository
from devloop.publish.transfer import Transfer

ATTEMPTS = 3      # at a registry that forgets, while it is sent a layer, what it was sent of it: it was restarted


class Uploader:
    """Uploads to one registry. Safe from every thread: images go side by side, a layer that two of them share goes once."""

    def __init__(self, engine: DockerEngine, registry: Registry, *, near: bool | None = None) -> None:
        """`near`: whether the Engine can come to a port of this machine; None: it is seen where it has a socket here."""
        self._engine = engine
        self._registry = registry
        self._near = engine.endpoint.local if near is None else near
        self._blobs = Blobs()
        self._layers = Layers(self._blobs)

    def upload(self, image_id: str, repository: str, tag: str, meter: Meter, cancel: Cancel) -> str:
        """Have the image in `repository` (a path without host) under `tag`; the digest of its manifest, whose presence is proven.

        Raises `PublishError`, `EngineError`, `UnreachableError`, `Cancelled`.
        """
        if there := self.find(image_id, repository, tag, cancel):
            return there
        details = self._engine.image(image_id)
        if not details:
            raise PublishError(f"the image {image_id} is no longer in the Docker Engine",
                               hint="Something removed it meanwhile. Build again.")
        for left in reversed(range(ATTEMPTS)):
            try:
                place = Repository(self._registry, repository, self._blobs)
                digest = self._pushed_on(details, place, ImageRef(repository, tag), meter, cancel) if self._near else ""
                digest = digest or self._exported(details, place, tag, meter, cancel)
                break
            except UploadLost as error:
                if not left:
                    raise PublishError(f"the registry {self._registry.host} loses what it is sent: {error}",
                                       hint="Is it restarted all the time, or are there several of it without a common storage?") from error
        return self._proven(repository, digest, cancel)

    def find(self, image_id: str, repository: str, tag: str, cancel: Cancel) -> str:
        """The digest of the manifest, where the registry has this very image under this tag; else empty."""
        stored = self._registry.manifest(repository, tag, cancel)
        if not stored or image_id not in (stored.config, stored.digest):
            return ""
        self._blobs.homes.update(dict.fromkeys(stored.blobs, repository))      # an earlier session's: others may have them from there
        return stored.digest

    def _proven(self, repository: str, digest: str, cancel: Cancel) -> str:
        if self._registry.digest(repository, digest, cancel) != digest:
            raise PublishError(f"the registry {self._registry.host} has taken {repository} but does not have {digest}",
                               hint="Does something clean it up meanwhile?")
        return digest

    def _pushed_on(self, details: dict[str, Any], place: Repository, name: ImageRef, meter: Meter, cancel: Cancel) -> str:
        """The manifest's digest, after the Engine's own push to a door of ours; empty where it does not find that."""
        with self._layers.pushed(details["RootFS"].get("Layers") or (), cancel):
            digest = pushed_through(self._engine, details["Id"], name, meter, cancel, place=place)
        self._near = bool(digest)
        return digest

    def _exported(self, details: dict[str, Any], place: Repository, tag: str, meter: Meter, cancel: Cancel) -> str:
        with self._read_errors(details["Id"]), Transfer(place, self._blobs, meter, cancel) as transfer:
            body = self._manifest(transfer, details, cancel)
        place.put_manifest(tag, json.loads(body).get("mediaType") or OCI_MANIFEST, body, cancel)
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def _manifest(self, transfer: Transfer, details: dict[str, Any], cancel: Cancel) -> bytes:
        """The image's manifest, when all that it names is there."""
        def opened() -> Any:
            return save(self._engine, details["Id"], cancel)

        if self._containerd_store:
            return transfer.stored(opened, details["Id"])
        return transfer.unpacked(opened, details["Id"], details["RootFS"].get("Layers") or [])

    @cached_property
    def _containerd_store(self) -> bool:
        return self._engine.info().containerd_store

    @contextmanager
    def _read_errors(self, image_id: str) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, KeyError, ValueError, TypeError, IndexError) as error:
            raise PublishError(f"the Docker Engine's archive of {image_id} cannot be read: {error!r}",
                               hint="Does 'docker save' of this image work?") from error
