"""Our own uploader: from the real Engine's store to real registries, over ways that break."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import docker
import pytest

from devloop.cancel import Cancel
from devloop.clients.registry import OCI_MANIFEST, Registry
from devloop.config import models
from devloop.errors import Cancelled, PublishError
from devloop.model import BuiltImage
from devloop.publish.blobs import Blobs
from devloop.publish.meter import Meter
from devloop.publish.registry import RegistryPublisher
from devloop.publish.repository import Repository
from devloop.publish.transfer import Transfer
from devloop.publish.uploader import Uploader
from tests.cluster.cut import CuttableProxy
from tests.cluster.registries import Home, Route, free_address, registry

pytestmark = pytest.mark.cluster

BOTH = pytest.mark.parametrize("near", [True, False], ids=["pushed", "exported"])


class Uploads:
    """An uploader through a `Route`. `near`: the Engine pushes to it, through a door on this machine; else its export is read."""

    def __init__(self, home: Home, address: str, near: bool = True) -> None:
        self.registry = Registry(address, {})
        self.uploader = Uploader(home.engine(), self.registry, near=near)

    def upload(self, image: BuiltImage, cancel: Cancel | None = None) -> str:
        meter = Meter(image.artifact, lambda _: None)
        return self.uploader.upload(image.image_id, image.artifact, image.ref.tag, meter, cancel or Cancel())

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.close()


def pulled_id(api: docker.APIClient, name: str) -> str:
    """The id of the image that the Engine gets for this name."""
    said = list(api.pull(name, stream=True, decode=True))
    assert not [m for m in said if "error" in m], said
    found = api.inspect_image(name)["Id"]
    api.remove_image(name)
    return str(found)


@BOTH
def test_of_a_300_mb_image_with_a_change_of_1_mb_that_1_mb_is_sent(tmp_path, docker_home, build_image, docker_api, near):
    base = build_image("big", run="RUN dd if=/dev/urandom of=/big bs=1M count=300 2>/dev/null\n")
    one, other = (build_image("hello-web", os.urandom(1_000_000), base=str(base.ref)) for _ in range(2))
    with registry(tmp_path / "registry") as address, Route(address) as route, Uploads(docker_home, route.address, near) as up:
        up.upload(one)
        first, route.sent = route.sent, 0
        digest = up.upload(other)
        second, route.sent = route.sent, 0
        assert up.upload(other) == digest
        third = route.sent
        assert pulled_id(docker_api, f"{address}/hello-web@{digest}") == other.image_id

    assert 314_500_000 < first < 320_000_000
    assert 1_000_000 < second < 1_030_000
    assert third < 1500


def test_a_layer_of_the_same_size_as_another_is_not_taken_for_it(tmp_path, docker_home, build_image, docker_api):
    """Old Engines' archives do not say which layer is which before their end."""
    base = build_image("base", b"a" * 3000)
    one, other = build_image("hello-web", b"b" * 3000, base=str(base.ref)), build_image("hello-web", b"c" * 3000, base=str(base.ref))
    with registry(tmp_path / "registry") as address, Uploads(docker_home, address, near=False) as up:
        for image in (base, one, other):
            assert pulled_id(docker_api, f"{address}/{image.artifact}@{up.upload(image)}") == image.image_id


@BOTH
def test_a_layer_that_two_images_share_is_sent_once_even_at_the_same_time(tmp_path, docker_home, build_image, docker_api, near):
    base = build_image("big", os.urandom(30_000_000))
    images = [build_image(name, name.encode(), base=str(base.ref)) for name in ("hello-web", "hello-api", "hello-job")]
    with registry(tmp_path / "registry") as address, Route(address) as route, Uploads(docker_home, route.address, near) as up:
        with ThreadPoolExecutor(3) as pool:
            digests = list(pool.map(up.upload, images))
        for image, digest in zip(images, digests, strict=True):
            assert pulled_id(docker_api, f"{address}/{image.artifact}@{digest}") == image.image_id

    assert 30_500_000 < route.sent < 32_300_000


@BOTH
def test_a_layer_that_another_image_brought_in_an_earlier_session_is_taken_from_there(tmp_path, docker_home, build_image, docker_api, near):
    base = build_image("big", os.urandom(30_000_000))
    one, other = (build_image(name, name.encode(), base=str(base.ref)) for name in ("hello-web", "hello-api"))
    with registry(tmp_path / "registry") as address, Route(address) as route:
        with Uploads(docker_home, route.address, near) as earlier:
            first = earlier.upload(one)
        with Uploads(docker_home, route.address, near) as up:
            assert up.upload(one) == first
            route.sent = 0
            digest = up.upload(other)
            assert route.sent < 100_000
        assert pulled_id(docker_api, f"{address}/hello-api@{digest}") == other.image_id


@BOTH
def test_after_a_break_the_upload_goes_on_where_it_was(tmp_path, docker_home, build_image, docker_api, near):
    image = build_image("hello-web", os.urandom(40_000_000))
    with registry(tmp_path / "registry") as address, Route(address, 20_000_000, b"PATCH") as route, \
            Uploads(docker_home, route.address, near) as up:
        digest = up.upload(image)
        assert pulled_id(docker_api, f"{address}/hello-web@{digest}") == image.image_id

    assert route.cuts == 1
    assert route.sent < 43_000_000


def test_after_a_break_that_the_registry_does_not_forgive_only_that_layer_is_sent_again(tmp_path, docker_home, build_image, docker_api):
    image = build_image("hello-web", os.urandom(20_000_000), os.urandom(30_000_000))
    with registry(tmp_path / "registry") as address, Route(address, 45_000_000) as route, \
            Uploads(docker_home, route.address, near=False) as up:
        digest = up.upload(image)
        assert pulled_id(docker_api, f"{address}/hello-web@{digest}") == image.image_id

    assert route.cuts == 1
    assert route.sent < 85_000_000


@BOTH
def test_a_registry_that_was_restarted_empty_meanwhile_gets_everything(tmp_path, docker_home, build_image, docker_api, near):
    image = build_image("hello-web", os.urandom(30_000_000))
    address = free_address()
    restarted = threading.Event()

    class Restarting(Route):
        restarting = threading.Lock()

        def passing(self, data: bytes, sink: object) -> None:
            super().passing(data, sink)        # type: ignore[arg-type]
            with self.restarting:
                if self.sent > 15_000_000 and not restarted.is_set():
                    restarted.set()
                    first.__exit__(None, None, None)
                    second.__enter__()
                    self.cut()

        def connected(self) -> socket.socket:
            with self.restarting:      # who comes back meanwhile waits: the second one may take a while to listen
                return super().connected()

    first, second = registry(tmp_path / "first", address), registry(tmp_path / "second", address)
    first.__enter__()
    try:
        with Restarting(address) as route, Uploads(docker_home, route.address, near) as up:
            digest = up.upload(image)
            assert pulled_id(docker_api, f"{address}/hello-web@{digest}") == image.image_id
    finally:
        (second if restarted.is_set() else first).__exit__(None, None, None)

    assert restarted.is_set()


def as_layout(api: docker.APIClient, image: BuiltImage, *, with_index: bool) -> tuple[io.BytesIO, str]:
    """The image as newer Engines save it: each file under its digest. `with_index`: as containerd's store has it; and that one's digest."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(api.get_image(image.image_id)))) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}      # type: ignore[union-attr]
    (said,) = json.loads(files["manifest.json"])
    blobs = {digest_of(files[name]): files[name] for name in (said["Config"], *said["Layers"])}
    config, *layers = [{"digest": digest, "size": len(data)} for digest, data in blobs.items()]
    tops: list[Any] = [{"schemaVersion": 2, "mediaType": OCI_MANIFEST,
                        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer} for layer in layers]}]
    if with_index:
        of_another = {"digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
        tops.append({"schemaVersion": 2, "manifests": [of_another, {"digest": digest_of(json.dumps(tops[0]).encode())}]})
    blobs |= {digest_of(data): data for data in (json.dumps(top).encode() for top in tops)}
    named = {f"blobs/sha256/{digest[7:]}": data for digest, data in sorted(blobs.items())}
    old = [{"Config": f"blobs/sha256/{config['digest'][7:]}", "Layers": [f"blobs/sha256/{layer['digest'][7:]}" for layer in layers]}]
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in {**named, "index.json": b"{}", "manifest.json": json.dumps(old).encode()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made, digest_of(json.dumps(tops[-1]).encode())


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("containerd", [False, True], ids=["Engine 25", "containerd's store"])
def test_newer_engines_archives_are_understood(tmp_path, build_image, docker_api, containerd):
    image = build_image("hello-web", b"one", os.urandom(5_000_000))
    saved, image_id = as_layout(docker_api, image, with_index=containerd)
    blobs = Blobs()
    with registry(tmp_path / "registry") as address, Route(address) as route, closing(Registry(route.address, {})) as client:
        def sent(repository: str) -> tuple[str, int]:
            saved.seek(0)
            before = route.sent
            with Transfer(Repository(client, repository, blobs), blobs, Meter("x", lambda _: None), Cancel()) as transfer:
                def opened() -> AbstractContextManager[io.BytesIO]:
                    return nullcontext(saved)

                layers = docker_api.inspect_image(image.image_id)["RootFS"]["Layers"]
                body = transfer.stored(opened, image_id) if containerd else transfer.unpacked(opened, image.image_id, layers)
            client.put_manifest(repository, "1", OCI_MANIFEST, body, Cancel())
            return pulled_id(docker_api, f"{address}/{repository}:1"), route.sent - before

        first, again, mounted = sent("hello-web"), sent("hello-web"), sent("hello-api")

    assert [image_id for image_id, _ in (first, again, mounted)] == [image.image_id] * 3
    assert 7_000_000 < first[1] < 7_300_000
    assert again[1] < 5_000
    assert mounted[1] < 7_000


@BOTH
@pytest.mark.parametrize("silent", [False, True], ids=["while sending", "while nothing answers"])
def test_cancelling_ends_an_upload_at_once(tmp_path, docker_home, build_image, silent, near):
    image = build_image("hello-web", os.urandom(30_000_000))
    cancel = Cancel()

    class Cancelling(Route):
        def passing(self, data: bytes, sink: object) -> None:
            super().passing(data, sink)        # type: ignore[arg-type]
            if self.sent > 10_000_000:
                if silent:
                    self.silence()
                threading.Thread(target=cancel.cancel, args=("a newer save",)).start()

    with registry(tmp_path / "registry") as address, Cancelling(address) as route, Uploads(docker_home, route.address, near) as up, \
            pytest.raises(Cancelled, match="a newer save"):
        up.upload(image, cancel)

    assert [t.name for t in threading.enumerate() if t.name.startswith(("upload", "look"))] == []


@BOTH
def test_an_image_that_is_gone_is_told(tmp_path, docker_home, build_image, docker_api, near):
    image = build_image("hello-web", b"one")
    docker_api.remove_image(str(image.ref))
    with registry(tmp_path / "registry") as address, Uploads(docker_home, address, near) as up, \
            pytest.raises(PublishError, match=f"the image {image.image_id} is no longer in the Docker Engine"):
        up.upload(image)


class ElsewhereEngine(CuttableProxy):
    """The real Engine as one in a virtual machine: it finds nothing of ours on what it takes for 127.0.0.1."""

    def __init__(self, socket_of_engine: str) -> None:
        super().__init__(socket_of_engine, 0)
        self.pushes = 0

    def connected(self) -> socket.socket:
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._target[0])
        return far

    def passing(self, data: bytes, sink: socket.socket) -> None:
        if asked := re.match(rb"POST \S+/images/127.0.0.1(?::|%3A)(\d+)/\S+/push", data):
            self.pushes += 1
            fault = f"Get \"https://127.0.0.1:{asked[1].decode()}/v2/\": connect: connection refused"
            said = json.dumps({"errorDetail": {"message": fault}})
            self.reply(sink, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + said.encode())


def test_an_engine_that_does_not_see_our_ports_is_asked_once_and_its_exports_are_read(tmp_path, docker_home, build_image, docker_api):
    one, other = build_image("hello-web", b"one"), build_image("hello-web", b"two")
    with registry(tmp_path / "registry") as address, ElsewhereEngine("/var/run/docker.sock") as elsewhere:
        engine = docker_home.engine(DOCKER_HOST=f"tcp://127.0.0.1:{elsewhere.port}")
        client = Registry(address, {})
        uploader = Uploader(engine, client, near=True)
        for image in (one, other):
            digest = uploader.upload(image.image_id, "hello-web", image.ref.tag, Meter("x", lambda _: None), Cancel())
            assert pulled_id(docker_api, f"{address}/hello-web@{digest}") == image.image_id
        client.close()
    assert elsewhere.pushes == 1


def test_after_a_push_the_engine_has_no_name_more_for_the_image(tmp_path, docker_home, build_image, docker_api):
    image = build_image("hello-web", b"one")
    with registry(tmp_path / "registry") as address, Uploads(docker_home, address) as up:
        up.upload(image)
    there = docker_api.inspect_image(image.image_id)
    assert (there["RepoTags"], there["RepoDigests"]) == ([str(image.ref)], [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("missing: the right to mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


@BOTH
def test_a_registry_whose_disk_is_full_is_told_at_once(small_disk, docker_home, build_image, near):
    image = build_image("hello-web", os.urandom(20_000_000))
    with registry(small_disk) as address, Uploads(docker_home, address, near) as up, pytest.raises(PublishError) as caught:
        up.upload(image)
    assert caught.value.message.startswith(f"{address} refuses hello-web: there is no room: ")


def test_a_disk_that_is_full_is_told_at_once_where_the_engine_itself_would_try_for_a_minute(small_disk, docker_home, build_image):
    image = build_image("hello-web", os.urandom(20_000_000))
    with registry(small_disk) as address, pytest.raises(PublishError, match="there is no room"), \
            closing(RegistryPublisher(docker_home.engine(), models.Registry(repository=address))) as publisher:
        publisher.publish(image, lambda _: None, Cancel())
