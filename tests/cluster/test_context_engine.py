"""The context tar in the hands of the real classic builder: what it makes of it is what the Dockerfile's author meant."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from devloop.config.models import Artifact
from devloop.context import BuildContext, DigestCache, analyse

pytestmark = pytest.mark.cluster
Image = dict[str, tuple[tarfile.TarInfo, bytes]]
Build = Callable[..., Image]


class Readable(io.RawIOBase):
    """Chunks as the file that docker-py wants."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")


@pytest.fixture
def build(docker_api: docker.APIClient) -> Iterator[Build]:
    """Builds a context (from its tar, or a given one) and gives what the image has below ``/app``, by name."""
    tag = f"devloop-test-context:{secrets.token_hex(4)}"

    def run(context: BuildContext, sent: Iterator[bytes] | None = None) -> Image:
        said = list(docker_api.build(fileobj=Readable(sent or context.tar()), custom_context=True, tag=tag,
                                     dockerfile="Dockerfile" if sent else context.dockerfile_name, rm=True, forcerm=True,
                                     nocache=sent is not None, decode=True))
        assert not [message for message in said if "error" in message]
        container = docker_api.create_container(tag, "none")["Id"]
        try:
            chunks, _ = docker_api.get_archive(container, "/app")
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks)), encoding="utf-8", errors="surrogateescape") as tar:
                return {m.name.removeprefix("app/"): (m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar if m.name != "app"}
        finally:
            docker_api.remove_container(container, force=True)

    yield run
    if docker_api.images(tag):
        docker_api.remove_image(tag, force=True)


def analysed(root: Path, text: str, **docker_options: str) -> BuildContext:
    if not docker_options:
        (root / "Dockerfile").write_text(text)
    artifact = Artifact.model_validate({"image": "x", "docker": docker_options})
    return analyse(artifact, root, DigestCache())


def test_the_image_has_modes_links_and_names_as_they_are_on_disk(tmp_path: Path, build: Build) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o750)
    os.link(tmp_path / "run.sh", tmp_path / "hard")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "outside").symlink_to("/etc/passwd")
    (tmp_path / "\udcff\udcfe").write_text("not UTF-8")
    (tmp_path / "empty").mkdir(mode=0o700)
    long = tmp_path / ("d" * 120) / ("e" * 120) / ("f" * 200)
    long.parent.mkdir(parents=True)
    long.write_text("deep")
    (tmp_path / "node_modules/left").mkdir(parents=True)
    (tmp_path / ".dockerignore").write_text("node_modules\n")
    context = analysed(tmp_path, "FROM scratch\nCOPY . /app\n")
    image = build(context)

    assert sorted(name.rstrip("/") for name in image) == [file.path for file in context.files]
    for file in context.files:
        info, _ = image[file.path]
        assert (info.mode & 0o7777, info.linkname, info.uid) == (file.mode, file.target, 0) or file.kind == "link", file.path
        assert info.mtime == file.mtime or file.kind == "dir"
    assert image["dangling"][0].linkname == "nowhere"
    assert image["outside"][0].linkname == "/etc/passwd"
    assert image["\udcff\udcfe"][1] == b"not UTF-8"
    assert image[os.fspath(long.relative_to(tmp_path))][1] == b"deep"


@pytest.mark.parametrize(("ignore", "expected"), [
    ("Dockerfile\n.dockerignore\n*.md\n", ["a"]), ("Dockerfile\n*.md\n", [".dockerignore", "a"]), ("*\n!a\n", ["a"]),
    ("*.md\n", [".dockerignore", "Dockerfile", "a"]),
])
def test_a_hidden_dockerfile_stays_out_of_the_image(tmp_path: Path, build: Build, ignore: str, expected: list[str]) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b.md").touch()
    (tmp_path / ".dockerignore").write_text(ignore)
    assert sorted(build(analysed(tmp_path, "FROM scratch\nCOPY . /app\n"))) == expected


def test_a_dockerfile_outside_of_the_context_and_its_ignore_file_work_with_the_classic_builder(tmp_path: Path, build: Build) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "a").touch()
    (web / "b.md").touch()
    (tmp_path / "web.Dockerfile").write_text("FROM scratch\nCOPY . /app\n")
    (tmp_path / "web.Dockerfile.dockerignore").write_text("*.md\n")
    assert sorted(build(analysed(web, "", dockerfile="../web.Dockerfile"))) == ["a"]


def everything(root: Path) -> Iterator[bytes]:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(root, "")
    yield data.getvalue()


def test_only_what_is_reached_gives_the_image_that_everything_gives(tmp_path: Path, build: Build) -> None:
    (tmp_path / "versions/v2").mkdir(parents=True)
    (tmp_path / "versions/v2/app.json").write_text("2")
    (tmp_path / "current").symlink_to("versions/v2")
    (tmp_path / "main.txt").symlink_to("real.txt")
    (tmp_path / "real.txt").write_text("real")
    (tmp_path / "unused").write_text("x")
    (tmp_path / "a[b").mkdir()
    (tmp_path / "a[b/c").write_text("c")
    text = """FROM scratch
ENV DIR=versions V="v2"
COPY current/*.json main.t?t missing* /app/
COPY current /app/dir/
COPY $DIR/${V} /app/vars
COPY ["a[[]b", "/app/json/"]
COPY --chown=1:1 ver*/*/app.json /app/wild/
ADD ${NOTHING:-real.txt} /app/added
"""
    context = analysed(tmp_path, text)
    assert "unused" not in {file.path for file in context.files}
    image, whole = build(context), build(context, everything(tmp_path))
    assert {name: content for name, (_, content) in image.items()} == {name: content for name, (_, content) in whole.items()}
    assert {name for name, (info, _) in image.items() if info.isfile()} == {
        "main.txt", "dir/app.json", "vars/app.json", "json/c", "wild/app.json", "added"}


def test_steps_are_counted_as_the_engine_counts_them(tmp_path: Path, docker_api: docker.APIClient) -> None:
    context = analysed(tmp_path, "ARG BASE=scratch\n\nFROM ${BASE} AS one\nENV A=1 \\\n    B=2\n# comment\nFROM one\nLABEL a=b\n")
    said = docker_api.build(fileobj=Readable(context.tar()), custom_context=True, dockerfile=context.dockerfile_name, rm=True, decode=True)
    steps = [message["stream"] for message in said if message.get("stream", "").startswith("Step ")]
    assert [context.step_line(step) for step in steps] == [1, 3, 4, 7, 8]
