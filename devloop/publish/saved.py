"""An image as a file, for command lines that want one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_images import ImageStream, save
from devloop.errors import PublishError
from devloop.model import BuiltImage
from devloop.publish.archive import contents
from devloop.publish.built import check_built
from devloop.publish.meter import Meter

CHUNK = 1 << 18


def chunks(stream: ImageStream, meter: Meter) -> Iterator[bytes]:
    """The stream's bytes, counted."""
    while data := stream.read(CHUNK):
        yield data
        meter.add(len(data))


@contextmanager
def saved(engine: DockerEngine, image: BuiltImage, meter: Meter, cancel: Cancel) -> Iterator[Path]:
    """The image in a temporary file. Raises `PublishError` where there is no room for it."""
    check_built(engine, image)
    with tempfile.TemporaryDirectory(prefix="devloop-") as directory:
        file = Path(directory) / "image.tar"
        with save(engine, str(image.ref), cancel) as stream:
            try:
                with file.open("wb") as out:
                    for chunk in chunks(stream, meter):
                        out.write(chunk)
            except OSError as error:
                raise PublishError(f"{image.ref} cannot be saved to {file}: {error.strerror}",
                                   hint="The tool that loads it wants a file. TMPDIR says where there is room for it.") from error
        yield file


def config_digest(file: Path) -> str:
    """The image's id as runtimes reckon it, which is not the Engine's own with the containerd image store."""
    with file.open("rb") as tar:
        manifest = next((each.json() for each in contents(tar) if each.name == "manifest.json"), None)
    config = str(manifest[0]["Config"]) if manifest else ""
    return f"sha256:{config.rpartition('/')[2].removesuffix('.json')}" if config else ""
