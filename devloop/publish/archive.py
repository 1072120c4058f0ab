"""The tar that an Engine makes of an image, read as it comes. There are two forms:

docker-archive   Engines before 25: ``<some id>/layer.tar``, which says nothing about the layer; ``<image id>.json``, the config; and, last,
                 ``manifest.json``, which tells what is what
OCI layout       newer ones: ``blobs/<algorithm>/<hex>``, each under its own digest; and ``manifest.json``, too
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from devloop.publish.meter import Meter

CHUNK = 4 << 20
PIECE = 1 << 18
END = bytes(2 * tarfile.BLOCKSIZE)


class Source(Protocol):
    def read(self, size: int = -1) -> bytes: ...


@dataclass(frozen=True)
class Content:
    """One file of the archive. `digest` is empty where its name does not tell it."""

    name: str
    digest: str
    size: int
    _file: IO[bytes]

    def chunks(self) -> Iterator[bytes]:
        """What is in it, before the next file is asked for."""
        while data := self._file.read(CHUNK):
            yield data

    def json(self) -> Any:
        """As JSON; None where it is something else."""
        try:
            return json.loads(self._file.read())
        except ValueError:
            return None


def contents(source: Source) -> Iterator[Content]:
    """Every regular file, in the archive's order. What is not read is skipped."""
    with tarfile.open(fileobj=cast(IO[bytes], source), mode="r|", bufsize=1 << 20) as tar:
        for member in tar:
            if member.isreg():
                file = tar.extractfile(member)
                assert file
                yield Content(member.name, _digest(member.name), member.size, file)


def _digest(name: str) -> str:
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "blobs":
        return f"{parts[1]}:{parts[2]}"
    if name.endswith(".json") and len(name) == 69:      # docker-archive's config
        return f"sha256:{name.removesuffix('.json')}"
    return ""


def layers(manifest: Any, diff_ids: list[str]) -> dict[str, str]:
    """The layers' digests by file name, from the archive's ``manifest.json``: its one image has them in the config's order."""
    return dict(zip(manifest[0]["Layers"], diff_ids, strict=True))


def without(source: Source, digests: Container[str], dropped: set[str], meter: Meter) -> Iterator[bytes]:
    """The same archive but for blobs with these digests, which are `dropped`. Only the newer form has its blobs by digest."""
    with tarfile.open(fileobj=cast(IO[bytes], source), mode="r|", bufsize=1 << 20) as tar:
        for member in tar:
            digest = _digest(member.name) if member.name.startswith("blobs/") else ""
            if digest in digests:
                dropped.add(digest)
                continue
            yield member.tobuf()
            if member.isreg() and (file := tar.extractfile(member)):
                meter.expect(member.size)
                while data := file.read(PIECE):
                    yield data
                    meter.add(len(data))
                yield padding(member.size)
    yield END


def header(name: str, size: int) -> bytes:
    """What comes before a file in a tar, as `padding` comes after it, and `END` after the last one."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


def padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
