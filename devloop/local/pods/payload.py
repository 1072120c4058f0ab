"""What ConfigMap, Secret, downwardAPI and projected volumes hold, and the tar that brings it there."""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devloop.clients.kube import Resource
from devloop.local.kinds import CONFIG_MAPS, SECRETS
from devloop.local.pods.fields import Facts, field, resource_field
from devloop.local.pods.references import References, Unmet
from devloop.model import Object

DEFAULT_MODE = 0o644
DATA = "..data"      # as with the kubelet: the link that makes all files change at once


@dataclass(frozen=True)
class File:
    data: bytes
    mode: int


Files = Mapping[str, File]
"""By their path in the volume."""


def projected(volume: Object) -> bool:
    """Whether the volume's files come from objects."""
    return any(kind in volume for kind in ("configMap", "secret", "downwardAPI", "projected"))


def files(pod: Object, volume: Object, references: References, facts: Facts) -> Files:
    """Raises `Unmet` where an object or a key is not there, or a field is none of a pod's."""
    if "projected" in volume:
        source = volume["projected"]
        mode = source.get("defaultMode", DEFAULT_MODE)
        parts = [_source(pod, part, mode, references, facts) for part in source.get("sources") or ()]
        return {path: file for part in parts for path, file in part.items()}
    kind = next(kind for kind in ("configMap", "secret", "downwardAPI") if kind in volume)
    return _source(pod, volume, volume[kind].get("defaultMode", DEFAULT_MODE), references, facts)


def _source(pod: Object, part: Object, mode: int, references: References, facts: Facts) -> dict[str, File]:
    if "configMap" in part:
        return _keys(CONFIG_MAPS, part["configMap"], mode, references)
    if "secret" in part:
        return _keys(SECRETS, part["secret"], mode, references)
    if "downwardAPI" in part:
        return {item["path"]: File(_downward(pod, item, facts), item.get("mode", mode)) for item in part["downwardAPI"].get("items") or ()}
    return {}      # serviceAccountToken and clusterTrustBundle: there is no API server to use them with


def _keys(kind: Resource, reference: Object, mode: int, references: References) -> dict[str, File]:
    values = references.values(kind, reference)
    items = reference.get("items")
    if values is None:
        return {}
    if not items:
        return {key: File(value, mode) for key, value in values.items()}
    found = {}
    for item in items:
        if item["key"] in values:
            found[item["path"]] = File(values[item["key"]], item.get("mode", mode))
        elif not reference.get("optional"):
            told = "configmap references non-existent config key" if kind == CONFIG_MAPS else "secret references non-existent secret key"
            raise Unmet(f"{told}: {item['key']}")
    return found


def _downward(pod: Object, item: Object, facts: Facts) -> bytes:
    try:
        if reference := item.get("fieldRef"):
            return field(pod, reference["fieldPath"], facts).encode()
        return resource_field(pod, item["resourceFieldRef"], {}, facts).encode()
    except ValueError as error:
        raise Unmet(str(error)) from error


# --- the tar


class Tar:
    """A tar that is being written, of what goes into a volume; `root` is what the volume's own directory is called in it."""

    def __init__(self, root: str = ".") -> None:
        self._root = root
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115  closed by `done`

    def directory(self, path: str, mode: int, gid: int = 0) -> None:
        self._add(path, tarfile.DIRTYPE, mode, gid)

    def file(self, path: str, file: File, gid: int = 0) -> None:
        self._add(path, tarfile.REGTYPE, file.mode, gid, data=file.data)

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, 0, target=target)

    def files(self, files: Files, version: int, gid: int | None, *, before: Files | None = None) -> None:
        """All files of a volume as the kubelet lays them out: in a directory of their own, which `DATA` points to. `before`: those that are
        there, of the version before this one.

        The Engine removes what it unpacks over: the links that are there stay as they are, and new ones come first, so that `DATA` alone
        is away for a moment.
        """
        place = f"..{version}"
        extra = 0o440 if gid is not None else 0
        folders = sorted({"/".join(parts[:n]) for parts in (path.split("/") for path in files) for n in range(1, len(parts))})
        for folder in ("", *folders):
            self.directory(f"{place}/{folder}".rstrip("/"), 0o2775 if gid is not None else 0o755, gid or 0)
        for path, file in sorted(files.items()):
            self.file(f"{place}/{path}", File(file.data, file.mode | extra), gid or 0)
        for top in sorted(_tops(files) - _tops(before or {})):
            self.link(top, f"{DATA}/{top}")
        self.link(DATA, place)
        if before is not None:
            self.link(f"..{version - 1}", DATA)      # takes the place of the directory, with all that is in it

    def done(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()

    def _add(self, path: str, type: bytes, mode: int, gid: int, *, data: bytes = b"", target: str = "") -> None:
        entry = tarfile.TarInfo(posixpath.normpath(f"{self._root}/{path}"))
        entry.type, entry.mode, entry.gid, entry.size, entry.linkname = type, mode, gid, len(data), target
        self._tar.addfile(entry, io.BytesIO(data))


def _tops(files: Files) -> set[str]:
    return {path.partition("/")[0] for path in files}


def folders(paths: Iterable[str]) -> list[str]:
    """Every folder on the way to each of these and they themselves, parents first."""
    return sorted({"/".join(parts[:n]) for parts in (path.strip("/").split("/") for path in paths) for n in range(1, len(parts) + 1)})
