"""The frozen values that everyone shares. No behaviour beyond parsing and printing."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as JSON: what a manifest holds and what the API server answers."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::\d+)?")


@dataclass(frozen=True)
class ImageRef:
    """``[registry/]repository[:tag][@digest]``, kept as it was written.

    `repository` includes the registry host; `tag` and `digest` are empty where absent.
    """

    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Raises ValueError, saying what is wrong, where the text is no image reference."""
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError(f"'{text}' has a malformed digest (expected @sha256:<64 hex digits>)")
        colon = rest.rfind(":")
        repository, tag = (rest[:colon], rest[colon + 1 :]) if colon > rest.rfind("/") else (rest, "")
        if colon > rest.rfind("/") and not _TAG.fullmatch(tag):
            raise ValueError(f"'{text}' has a malformed tag '{tag}'")
        ref = cls(repository, tag, digest)
        path = repository[len(ref.registry) + 1 :] if ref.registry else repository
        if not _PATH.fullmatch(path) or (ref.registry and not _HOST.fullmatch(ref.registry)):
            hint = " (a repository is lower-case)" if path.lower() != path else ""
            raise ValueError(f"'{text}' is not an image reference{hint}")
        return ref

    @property
    def registry(self) -> str:
        """The registry's host as written; empty for Docker Hub's short names."""
        host, slash, _ = self.repository.partition("/")
        return host if slash and (host == "localhost" or "." in host or ":" in host or host != host.lower()) else ""

    @property
    def canonical(self) -> str:
        """The repository in full, ``docker.io/library/`` included: what two spellings of one image share."""
        repository = self.repository if self.registry else f"docker.io/{self.repository}"
        host, _, path = repository.partition("/")
        host = "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host
        return f"{host}/library/{path}" if host == "docker.io" and "/" not in path else f"{host}/{path}"

    def with_tag(self, tag: str) -> ImageRef:
        return replace(self, tag=tag, digest="")

    def with_digest(self, digest: str) -> ImageRef:
        return replace(self, digest=digest)

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class BuiltImage:
    """What a builder made, or found to be there already.

    `artifact` is the image name as it stands in devloop.yaml and the manifests; `image_id` the Engine's id (``sha256:…``),
    empty where the builder pushed the image itself and `ref` has its digest instead.
    """

    artifact: str
    ref: ImageRef
    image_id: str = ""
    cached: bool = False


@dataclass(frozen=True)
class PublishedImage:
    """What to write into the manifests: `ref` as the cluster's nodes see it.

    `local_only`: no registry has it, so a pull would fail and ``imagePullPolicy: Always`` has to give way.
    """

    artifact: str
    ref: ImageRef
    local_only: bool = False


@dataclass(frozen=True, order=True)
class ObjectRef:
    """Which Kubernetes object. `namespace` is empty for cluster-scoped kinds. Prints as kubectl does: ``deployment/web``."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Object) -> ObjectRef:
        meta = obj.get("metadata") or {}
        return cls(obj.get("apiVersion", ""), obj.get("kind", ""), meta.get("namespace", ""), meta.get("name", ""))

    @property
    def group(self) -> str:
        return self.api_version.partition("/")[0] if "/" in self.api_version else ""

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """One object of one manifest file. `source` is the file as named to the user, `line` where the document starts (1-based)."""

    object: Object
    source: str
    line: int = 1

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef.of(self.object)
