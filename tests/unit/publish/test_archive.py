"""Archives in both forms that Engines make."""

import io
import json
import tarfile

import pytest

from devloop.publish.archive import CHUNK, contents, layers
from devloop.publish.transfer import chosen

HEX = "ab" * 32


def archive(files: dict[str, bytes], links: dict[str, str] | None = None) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    made.seek(0)
    return made


@pytest.mark.parametrize(("name", "digest"), [
    (f"blobs/sha256/{HEX}", f"sha256:{HEX}"), (f"{HEX}.json", f"sha256:{HEX}"), (f"{HEX}/layer.tar", ""), ("manifest.json", ""),
    ("index.json", ""), (f"{HEX}/json", ""),
])
def test_a_file_is_known_by_its_digest_where_its_name_tells_it(name, digest):
    (found,) = contents(archive({name: b"x"}))

    assert (found.name, found.digest, found.size) == (name, digest, 1)


def test_files_are_read_in_chunks_and_what_is_not_read_is_skipped():
    data = bytes(range(256)) * (CHUNK // 128)
    read = [(found.name, list(found.chunks())) for found in contents(archive({"a": data, "b": data, "c": b""})) if found.name != "b"]

    assert [(name, b"".join(chunks) == data, [len(c) for c in chunks]) for name, chunks in read] == [
        ("a", True, [CHUNK, CHUNK]), ("c", False, [])]


def test_links_to_a_layer_that_is_there_already_are_no_files():
    assert [found.name for found in contents(archive({"a/layer.tar": b"x"}, {"b/layer.tar": "../a/layer.tar"}))] == ["a/layer.tar"]


def test_the_manifest_tells_which_layer_is_which():
    files = {"manifest.json": json.dumps([{"Config": "c.json", "Layers": ["x/layer.tar", "y/layer.tar"]}]).encode()}
    (manifest,) = (found.json() for found in contents(archive(files)))

    assert layers(manifest, ["sha256:1", "sha256:2"]) == {"x/layer.tar": "sha256:1", "y/layer.tar": "sha256:2"}


MANIFEST = json.dumps({"config": {"digest": "config"}, "layers": []}).encode()
FOREIGN = json.dumps({"config": {"digest": "elsewhere"}, "layers": []}).encode()


def index(*entries: tuple[str, str]) -> bytes:
    return json.dumps({"manifests": [{"digest": digest, "platform": {"os": os}} for digest, os in entries]}).encode()


@pytest.mark.parametrize("documents", [
    {"id": MANIFEST, "config": b"{}"},
    {"id": index(("m", "linux")), "m": MANIFEST, "config": b"{}"},
    {"id": index(("gone", "linux"), ("f", "linux"), ("m", "linux")), "f": FOREIGN, "m": MANIFEST, "config": b"{}"},
    {"id": index(("a", "unknown"), ("m", "linux")), "a": MANIFEST, "m": MANIFEST, "config": b"{}"},
], ids=["a manifest", "an index", "other platforms", "attestations"])
def test_of_an_image_in_containerds_store_the_manifest_that_is_complete_is_chosen(documents):
    assert chosen(documents, "id") == MANIFEST


def test_an_archive_without_a_complete_manifest_is_refused():
    with pytest.raises(ValueError, match="no manifest whose parts are all there"):
        chosen({"id": index(("m", "linux"))}, "id")
