"""What an Engine pushes, as an archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from devloop.cancel import Cancel
from devloop.publish.archive import without
from devloop.publish.meter import Meter
from devloop.publish.parcel import IN_MEMORY, Parcel


def has_old(digest: str, cancel: Cancel) -> int | None:
    return 7 if digest == "sha256:old" else None


def files(tar: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}      # type: ignore[union-attr]


def test_only_what_was_sent_is_in_the_archive_under_the_images_full_name():
    big = b"x" * (IN_MEMORY + 1)
    manifest = json.dumps({"config": {"digest": "sha256:c"}, "layers": [{"digest": "sha256:old"}, {"digest": "sha256:new"}]}).encode()
    with Parcel(has_old) as parcel:
        assert [parcel.size(digest, Cancel()) for digest in ("sha256:old", "sha256:new")] == [7, None]
        blob = parcel.upload(Cancel())
        blob.send(big)
        blob.finish("sha256:new", b"end")
        parcel.upload(Cancel()).finish("sha256:c", b"{}")
        parcel.put_manifest("1", "application/x", manifest, Cancel())
        assert parcel.size("sha256:new", Cancel()) == len(big) + 3
        assert parcel.needed == {"sha256:c", "sha256:old", "sha256:new"}
        found = files(b"".join(parcel.archive("docker.io/library/web:1")))

    top = hashlib.sha256(manifest).hexdigest()
    (described,) = json.loads(found.pop("index.json"))["manifests"]
    assert described == {"mediaType": "application/x", "digest": f"sha256:{top}", "size": len(manifest), "annotations": {
        "io.containerd.image.name": "docker.io/library/web:1", "org.opencontainers.image.ref.name": "1"}}
    assert json.loads(found.pop("oci-layout"))["imageLayoutVersion"] == "1.0.0"
    assert found == {"blobs/sha256/new": big + b"end", "blobs/sha256/c": b"{}", f"blobs/sha256/{top}": manifest}


def test_an_archive_of_the_old_form_passes_as_it_is_whatever_is_there():
    """Its layers have no digest, and two that are the same are one and a link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in (("a/layer.tar", b"layer"), (f"{'0' * 64}.json", b"config"), ("manifest.json", b"[]")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("b/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        tar.addfile(link)
    made.seek(0)
    dropped: set[str] = set()
    passed = b"".join(without(made, {f"sha256:{'0' * 64}"}, dropped, Meter("x", lambda _: None)))

    assert not dropped
    assert files(passed) == files(made.getvalue())
    with tarfile.open(fileobj=io.BytesIO(passed)) as tar:
        assert tar.getmember("b/layer.tar").linkname == "../a/layer.tar"


def test_of_a_list_of_platforms_nothing_is_known_to_be_needed():
    with Parcel(lambda digest, cancel: None) as parcel:
        parcel.put_manifest("1", "application/x", json.dumps({"manifests": []}).encode(), Cancel())
        assert parcel.needed == frozenset()


def test_a_parcel_leaves_no_file_open_whatever_was_in_it():
    with Parcel(lambda digest, cancel: None) as parcel:
        kept = parcel.upload(Cancel())
        kept.finish("sha256:a", b"a")
        given_up = parcel.upload(Cancel())
        given_up.abandon()
    assert kept.file.closed
    assert given_up.file.closed
