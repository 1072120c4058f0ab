"""One image's blobs on their way from the Engine's archive of it to one repository."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from devloop.cancel import Cancel
from devloop.clients.registry import OCI_MANIFEST
from devloop.publish.archive import Content, Source, contents, layers
from devloop.publish.blobs import Blobs
from devloop.publish.meter import Meter
from devloop.publish.repository import Repository
from devloop.publish.sending import AT_ONCE, Sending

DOCUMENT = 4 << 20      # no manifest or config is bigger
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"

Opened = Callable[[], AbstractContextManager[Source]]
"""Begins to read the archive; perhaps more than once."""


class Transfer:
    """One attempt. Use it in a `with` block, whose end gives back the claims that are left."""

    def __init__(self, repository: Repository, blobs: Blobs, meter: Meter, cancel: Cancel) -> None:
        self._repository, self._blobs, self._meter, self._cancel = repository, blobs, meter, cancel
        self._sizes: dict[str, int] = {}      # of the blobs that the repository has
        self._held: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._blobs.give(self._held)

    # --- an image of layers and a config, as Engines without containerd's store have them

    def unpacked(self, opened: Opened, image_id: str, diff_ids: list[str]) -> bytes:
        """The manifest, when all that it names is there."""
        wanted = {image_id, *diff_ids}
        self._take(wanted)
        if wanted - self._sizes.keys():
            names = self._send(opened, wanted, {}, diff_ids)
            if wanted - self._sizes.keys():       # two layers of one size, and one was taken for the other: now it is known which is which
                self._send(opened, wanted, names, diff_ids)
        if lacking := wanted - self._sizes.keys():
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
        return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                           "config": {"mediaType": _CONFIG, "digest": image_id, "size": self._sizes[image_id]},
                           "layers": [{"mediaType": _LAYER, "digest": d, "size": self._sizes[d]} for d in diff_ids]}).encode()

    def _send(self, opened: Opened, wanted: Collection[str], names: dict[str, str], diff_ids: list[str]) -> dict[str, str]:
        """Send what is missing. Layers whose digest their `names` do not tell, in the old archives, are told by their size.

        Reads no further than it must. Where that is as far as ``manifest.json``: the layers' digests by name, as that has them.
        """
        there = set(self._sizes.values())
        missing = set(wanted) - self._sizes.keys()
        left = len(missing)
        with self._sending() as sending, opened() as stream:
            for content in contents(stream):
                if content.name == "manifest.json":
                    return layers(content.json(), diff_ids)
                digest = content.digest or names.get(content.name, "")
                unknown = not digest and not names and content.name.endswith("/layer.tar") and content.size not in there
                if digest in missing or unknown:
                    sending.send(replace(content, digest=digest))
                    left -= 1
                    if not left:
                        break
        return {}

    # --- an image with its manifest, as containerd's store has it

    def stored(self, opened: Opened, image_id: str) -> bytes:
        """The manifest, when all that it names is there."""
        documents: dict[str, bytes] = {}
        with self._sending() as sending, opened() as stream:
            for content in contents(stream):
                if content.digest and content.size <= DOCUMENT:
                    body = b"".join(content.chunks())
                    if _is_document(body):
                        documents[content.digest] = body
                    else:
                        self._send_if_missing(_held(content.digest, body), sending)
                elif content.digest:
                    self._send_if_missing(content, sending)
            manifest = chosen(documents, image_id)
            config = json.loads(manifest)["config"]["digest"]
            self._send_if_missing(_held(config, documents[config]), sending)
        return manifest

    def _send_if_missing(self, content: Content, sending: Sending) -> None:
        self._take({content.digest})
        if content.digest not in self._sizes:
            sending.send(content)

    # --- both

    def _take(self, digests: Collection[str]) -> None:
        """Claim these, and find out which of them the repository has, or has now, because another one of the registry has them."""
        self._blobs.take(digests, self._cancel)
        self._held.update(digests)
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
            for digest, size in zip(digests, pool.map(lambda digest: self._repository.size(digest, self._cancel), digests), strict=True):
                if size is not None:
                    self._arrived(digest, size)

    def _sending(self) -> Sending:
        return Sending(self._repository, self._meter, self._arrived, self._cancel)

    def _arrived(self, digest: str, size: int) -> None:
        self._sizes[digest] = size
        self._repository.arrived(digest)
        self._held.discard(digest)
        self._blobs.give({digest})


def chosen(documents: dict[str, bytes], image_id: str) -> bytes:
    """The manifest of the image with this id among an archive's JSON files. Of an index, the first whose config is there: what the archive
    has of other platforms, and of attestations, is incomplete or no image."""
    document: dict[str, Any] = json.loads(documents[image_id])
    if "layers" in document:
        return documents[image_id]
    for entry in document["manifests"]:
        body = documents.get(entry["digest"])
        if body and (entry.get("platform") or {}).get("os") != "unknown" and json.loads(body)["config"]["digest"] in documents:
            return body
    raise ValueError("it has no manifest whose parts are all there")


def _is_document(body: bytes) -> bool:
    try:
        return body.startswith(b"{") and isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _held(digest: str, body: bytes) -> Content:
    return Content(digest, digest, len(body), io.BytesIO(body))
