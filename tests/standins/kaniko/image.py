"""Images: pulled, put together of layers, and pushed."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import log
from .flags import Flags, seconds
from .names import HUB, Name, parse
from .registry import LISTS, MANIFESTS, OCI, Registry, RegistryError
from .transport import Tls, TransportError

Json = dict[str, Any]

LAYERS = Path("/kaniko/layers")
PROVIDERS = "credential providers by priority: [env, google, ecr, acr, gitlab]"
ZERO = "0001-01-01T00:00:00Z"
PATHS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KINDS = (("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
         (f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+gzip"))
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass
class Layer:
    digest: str
    diff_id: str
    size: int
    origin: Name | None = None          # where it is, if it is not here

    @property
    def file(self) -> Path:
        return LAYERS / self.digest.removeprefix("sha256:")


@dataclass
class Image:
    config: Json
    layers: list[Layer] = field(default_factory=list)
    oci: bool = False

    def clone(self) -> Image:
        return Image(copy.deepcopy(self.config), list(self.layers), self.oci)

    def append(self, layer: Layer, created_by: str) -> None:
        self.layers.append(layer)
        self.config["rootfs"]["diff_ids"].append(layer.diff_id)
        self.config.setdefault("history", []).append({"author": "kaniko", "created": ZERO, "created_by": created_by})


def scratch() -> Image:
    return Image({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "history": []})


def host_platform() -> str:
    return f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}"


def layer_of(archive: Path, level: int) -> Layer:
    """Of an archive, which is compressed."""
    data = archive.read_bytes()
    packed = gzip.compress(data, 6 if level < 0 else level, mtime=0)
    layer = Layer("sha256:" + hashlib.sha256(packed).hexdigest(), "sha256:" + hashlib.sha256(data).hexdigest(), len(packed))
    layer.file.write_bytes(packed)
    return layer


class Images:
    """Where images come from and where they go, as the flags say."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._pulled: dict[str, Image] = {}
        self._opened: dict[tuple[str, str], Registry] = {}

    def pull(self, text: str) -> Image:
        log.info(f"Retrieving image manifest {text}")
        if text in self._pulled:
            log.info("Returning cached image manifest")
            return self._pulled[text].clone()
        try:
            name = parse(text)
        except ValueError:
            raise RegistryError(f"could not parse reference: {text}") from None
        for mapped in self._mirrors(name):
            registry, _, prefix = mapped.partition("/")
            there = Name(text, registry, f"{prefix.rstrip('/')}/{name.repository}" if prefix else name.repository, name.tag, name.digest)
            log.info(f"Retrieving image {text} from mapped registry {registry}")
            try:
                return self._keep(text, self._pull(there, self._retries("image-download-retry")))
            except (RegistryError, TransportError) as error:
                log.warning(f"Failed to retrieve image {text} from remapped registry {registry}: {error}. "
                            "Will try with the next registry, or fallback to the original registry.")
        if self._mirrors(name) and self._flags.on["skip-default-registry-fallback"]:
            raise RegistryError(f"image not found on any configured mapped registries for {text}")
        log.info(f"Retrieving image {text} from registry {name.registry}")
        return self._keep(text, self._pull(name, self._retries("image-download-retry")))

    def download(self, layer: Layer) -> Path:
        """The layer's file, here."""
        if layer.origin and not layer.file.exists():
            self._open(layer.origin, "pull", pull=True).blob(layer.digest, layer.file)
        return layer.file

    def check_push(self, destination: str) -> None:
        try:
            name = parse(destination)
        except ValueError as error:
            raise RegistryError(f"getting tag for destination: {error}") from None
        log.info(PROVIDERS)
        told = f'checking push permission for "{destination}"'
        try:
            registry = self._open(name, "push,pull")
        except TransportError as error:
            raise RegistryError(f"{told}: creating push check transport for {name.registry} failed: {error}") from None
        except RegistryError as error:
            raise RegistryError(f"{told}: {error}") from None
        try:
            registry.may_push()
        except (RegistryError, TransportError) as error:
            raise RegistryError(f"{told}: {error}") from None

    def push(self, image: Image, destination: str) -> None:
        try:
            name = parse(destination)
        except ValueError as error:
            raise RegistryError(f"getting tag for destination: {error}") from None
        log.info(PROVIDERS)
        log.info(f"Pushing image to {destination}")
        manifest, config, digest = self.manifest(image)
        for attempt in range(self._retries("push-retry") + 1):
            try:
                self._push(image, name, manifest, config)
                break
            except (RegistryError, TransportError) as error:
                if attempt == self._retries("push-retry"):
                    raise RegistryError(f"failed to push to destination {destination}: {error}") from None
                log.warning(f"Retrying operation after {2 ** attempt}s due to {error}")
                time.sleep(2 ** attempt)
        log.info(f"Pushed {name.without_tag}@{digest}")

    def manifest(self, image: Image) -> tuple[bytes, bytes, str]:
        """The manifest, the configuration, and the manifest's digest."""
        config = json.dumps(image.config, separators=(",", ":"), sort_keys=True).encode()
        kind, layer = KINDS[image.oci]
        made = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFESTS[image.oci],
            "config": {"mediaType": kind, "size": len(config), "digest": "sha256:" + hashlib.sha256(config).hexdigest()},
            "layers": [{"mediaType": layer, "size": item.size, "digest": item.digest} for item in image.layers]}).encode()
        return made, config, "sha256:" + hashlib.sha256(made).hexdigest()

    def cached(self, repository: str, key: str) -> Layer | None:
        """The layer that is in the cache under this key."""
        log.info(f"Checking for cached layer {repository}:{key}...")
        try:
            image = self._pull(parse(f"{repository}:{key}"), 0)
        except (RegistryError, TransportError, ValueError):
            return None
        created = time.mktime(time.strptime(image.config["created"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        if created + seconds(self._flags.text["cache-ttl"]) < time.time():
            log.info(f"Cache entry expired: {repository}:{key}")
            return None
        return image.layers[0]

    def keep(self, layer: Layer, repository: str, key: str, created_by: str) -> None:
        """Into the cache."""
        log.info(f"Pushing layer {repository}:{key} to cache now")
        image = scratch()
        image.append(layer, created_by)
        image.config["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.push(image, f"{repository}:{key}")

    def _push(self, image: Image, name: Name, manifest: bytes, config: bytes) -> None:
        registry = self._open(name, "push,pull")
        registry.has("manifests", name.tag)
        for layer in image.layers:
            near = layer.origin and layer.origin.registry == name.registry
            if registry.has("blobs", layer.digest) or (near and layer.origin and registry.mount(layer.digest, layer.origin.repository)):
                continue
            registry.upload(layer.digest, self.download(layer))
        LAYERS.mkdir(parents=True, exist_ok=True)
        file = LAYERS / "config.json"
        file.write_bytes(config)
        registry.upload("sha256:" + hashlib.sha256(config).hexdigest(), file)
        registry.put_manifest(name.tag, manifest, MANIFESTS[image.oci])

    def _pull(self, name: Name, retries: int) -> Image:
        for attempt in range(retries + 1):
            try:
                return self._fetch(name)
            except (RegistryError, TransportError) as error:
                if attempt == retries:
                    raise type(error)(f"unable to complete operation after {retries} attempts, last error: {error}") from None
                log.warning(f"Retrying operation after {2 ** attempt}s due to {error}")
                time.sleep(2 ** attempt)
        raise AssertionError

    def _fetch(self, name: Name) -> Image:
        LAYERS.mkdir(parents=True, exist_ok=True)
        log.info(PROVIDERS)
        registry = self._open(name, "pull", pull=True)
        manifest = registry.manifest(name.reference)
        wanted = self._flags.text["custom-platform"] or host_platform()
        if manifest.get("mediaType") in LISTS or "manifests" in manifest:
            children = {f"{m['platform']['os']}/{m['platform']['architecture']}": m["digest"] for m in reversed(manifest["manifests"])}
            child = children.get("/".join(wanted.split("/")[:2]))
            if not child:
                raise RegistryError(f"no child with platform {wanted} in index {name.text}")
            manifest = registry.manifest(child)
        file = LAYERS / "pulled.json"
        registry.blob(manifest["config"]["digest"], file)
        config = json.loads(file.read_bytes())
        pairs = zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True)
        layers = [Layer(part["digest"], diff_id, part["size"], name) for part, diff_id in pairs]
        return Image(config, layers, OCI in manifest["config"]["mediaType"])

    def _open(self, name: Name, scope: str, *, pull: bool = False) -> Registry:
        flags = self._flags
        insecure = flags.on["insecure-pull" if pull else "insecure"] or name.registry in flags.many["insecure-registry"]
        # as the real one: --skip-tls-verify-pull says nothing
        verify = not (flags.on["skip-tls-verify"] or name.registry in flags.many["skip-tls-verify-registry"])
        tls = Tls(verify, flags.pairs("registry-certificate").get(name.registry, ""))
        key = (name.without_tag, scope)
        self._opened[key] = found = self._opened.get(key) or Registry(name.registry, name.repository, scope, insecure=insecure, tls=tls)
        return found

    def _mirrors(self, name: Name) -> list[str]:
        pairs = [pair.partition("=") for item in self._flags.many["registry-map"] for pair in item.split(";")]
        pairs += [(HUB, "=", mirror) for mirror in self._flags.many["registry-mirror"]]
        return [new for old, _, new in pairs if old == name.registry]

    def _retries(self, flag: str) -> int:
        return self._flags.number(flag)

    def _keep(self, text: str, image: Image) -> Image:
        self._pulled[text] = image
        return image.clone()
