"""One repository of a registry, as the place where an image's blobs go."""

from __future__ import annotations

from devloop.cancel import Cancel
from devloop.clients.registry import Registry, Stored
from devloop.clients.registry_upload import Upload
from devloop.publish.blobs import Blobs


class Repository:
    """`blobs`: what is known of the registry's other repositories. Raises as `Registry` does."""

    def __init__(self, registry: Registry, path: str, blobs: Blobs) -> None:
        self._registry, self._path, self._blobs = registry, path, blobs

    def size(self, digest: str, cancel: Cancel) -> int | None:
        """The size of a blob that is there, or is there now, because another repository of the registry has it."""
        size = self._registry.blob(self._path, digest, cancel)
        home = self._blobs.homes.get(digest)
        if size is None and home and home != self._path and self._registry.mount(self._path, digest, home, cancel):
            size = self._registry.blob(self._path, digest, cancel)
        if size is not None:
            self.arrived(digest)
        return size

    def upload(self, cancel: Cancel) -> Upload:
        """A blob on its way; `arrived` tells when it is there."""
        return Upload(self._registry, self._path, cancel)

    def arrived(self, digest: str) -> None:
        self._blobs.homes[digest] = self._path

    def manifest(self, reference: str, cancel: Cancel) -> Stored | None:
        return self._registry.manifest(self._path, reference, cancel)

    def put_manifest(self, reference: str, media_type: str, body: bytes, cancel: Cancel) -> None:
        self._registry.put_manifest(self._path, reference, media_type, body, cancel)
