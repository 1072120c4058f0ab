"""What the Engine pushes, kept for a containerd: an archive in the OCI layout with those blobs alone that the containerd lacks.

containerd's import takes whatever the archive has, and finds the rest in its own store (tried with 1.6 and 2.1).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Self

from devloop.cancel import Cancel
from devloop.clients.registry import Stored
from devloop.publish.archive import END, header, padding

IN_MEMORY = 16 << 20       # bytes of a blob; bigger ones wait in a file
CHUNK = 1 << 18
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

Has = Callable[[str, Cancel], int | None]
"""The size of a blob that need not be in the archive."""


class Parcel:
    """A `Place` for one image. `needed`: the digests of all that its manifest names, once that is here; none for a list of platforms:
    of these a containerd keeps its own."""

    def __init__(self, has: Has) -> None:
        self._has = has
        self._blobs: dict[str, Kept] = {}
        self._documents: dict[str, Stored] = {}      # by digest
        self._top = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for blob in self._blobs.values():
            blob.file.close()

    # --- as a place

    def size(self, digest: str, cancel: Cancel) -> int | None:
        return self._blobs[digest].size if digest in self._blobs else self._has(digest, cancel)

    def upload(self, cancel: Cancel) -> Kept:
        return Kept(self._blobs)

    def arrived(self, digest: str) -> None:
        """It keeps itself."""

    def manifest(self, reference: str, cancel: Cancel) -> Stored | None:
        return self._documents.get(reference)

    def put_manifest(self, reference: str, media_type: str, body: bytes, cancel: Cancel) -> None:
        self._top = f"sha256:{hashlib.sha256(body).hexdigest()}"      # of an image for several platforms, the list of them comes last
        self._documents[self._top] = Stored(self._top, media_type, body)

    # --- as an archive

    @property
    def needed(self) -> frozenset[str]:
        said: dict[str, Any] = json.loads(self._documents[self._top].body)
        return frozenset(blob["digest"] for blob in (said["config"], *said["layers"])) if "layers" in said else frozenset()

    def archive(self, name: str) -> Iterator[bytes]:
        """The tar, in which the image has this full name."""
        for digest, blob in self._blobs.items():
            yield header(_path(digest), blob.size)
            yield from blob.chunks()
            yield padding(blob.size)
        for digest, document in self._documents.items():
            yield _file(_path(digest), document.body)
        top = self._documents[self._top]
        named = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
        index = {"schemaVersion": 2, "manifests": [
            {"mediaType": top.media_type, "digest": top.digest, "size": len(top.body), "annotations": named}]}
        yield _file("index.json", json.dumps(index).encode())
        yield _file("oci-layout", _LAYOUT) + END


class Kept:
    """One blob."""

    def __init__(self, blobs: dict[str, Kept]) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, prefix="devloop-")  # noqa: SIM115  closed with the parcel
        self.size = 0
        self._blobs = blobs

    def send(self, chunk: bytes) -> None:
        self.size += self.file.write(chunk)

    def finish(self, digest: str, last: bytes = b"") -> None:
        self.send(last)
        self._blobs[digest] = self

    def abandon(self) -> None:
        self.file.close()

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while data := self.file.read(CHUNK):
            yield data


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _file(name: str, body: bytes) -> bytes:
    return header(name, len(body)) + body + padding(len(body))
