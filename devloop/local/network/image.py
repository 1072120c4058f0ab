"""The relay's image: made here of one file, so that nothing is pulled, and made anew only where the relay is another."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from importlib import resources

from devloop.cancel import Cancel
from devloop.clients import docker_images
from devloop.clients.docker import DockerEngine
from devloop.errors import EngineError

_BINARIES = {"amd64": "relay-amd64", "x86_64": "relay-amd64", "arm64": "relay-arm64", "aarch64": "relay-arm64"}


def ensure(engine: DockerEngine, cancel: Cancel) -> str:
    """The reference of the relay's image in this Engine. Raises `EngineError` where the Engine's machine is neither amd64 nor arm64."""
    platform = engine.info().platform
    architecture = platform.partition("/")[2]
    if architecture not in _BINARIES:
        raise EngineError(f"the local target needs an Engine on amd64 or arm64, this one is on {platform}", status=0)
    ref, archive = build(architecture)
    if engine.image_id(ref) is None:
        docker_images.load(engine, archive, cancel)
    return ref


def build(architecture: str) -> tuple[str, bytes]:
    """The image's reference, which has the digest of its content, and its archive as ``docker load`` takes it."""
    binary = resources.files(__package__).joinpath("relay", _BINARIES[architecture]).read_bytes()
    layer = _tar({"relay": binary})
    config = json.dumps({
        "architecture": "arm64" if _BINARIES[architecture].endswith("arm64") else "amd64", "os": "linux",
        "config": {"Entrypoint": ["/relay"], "Labels": {"devloop.dev/image": "relay"}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}}).encode()
    digest = hashlib.sha256(config).hexdigest()
    ref = f"devloop-relay:{digest[:12]}"
    manifest = json.dumps([{"Config": f"{digest}.json", "RepoTags": [ref], "Layers": ["layer.tar"]}]).encode()
    return ref, _tar({f"{digest}.json": config, "layer.tar": layer, "manifest.json": manifest})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
