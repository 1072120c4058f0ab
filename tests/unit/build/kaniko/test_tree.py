"""Only what changed travels, and what is there can be proven."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from devloop.build.kaniko.tree import Tree, archive, delta, dockerfile, names, proof
from devloop.config.models import Artifact
from devloop.context import BuildContext, ContextChanged, DigestCache, analyse

Make = Callable[[Mapping[str, str]], BuildContext]


@pytest.fixture
def context(tmp_path: Path) -> Make:
    def make(files: Mapping[str, str]) -> BuildContext:
        for name, content in {"Dockerfile": "FROM scratch\nCOPY . /\n", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return analyse(Artifact(image="web"), tmp_path, DigestCache())

    return make


def passing(chunks: Iterable[bytes], _: int) -> Iterator[bytes]:
    return iter(chunks)


def unpacked(context: BuildContext, there: Tree) -> dict[str, bytes]:
    data = gzip.decompress(b"".join(archive(context, delta(there, context), passing)))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member))}


def test_at_first_everything_travels(context: Make) -> None:
    made = context({"a/b": "1", "c": "2"})
    assert unpacked(made, {}) == {"Dockerfile": b"FROM scratch\nCOPY . /\n", "a/b": b"1", "c": b"2"}


def test_then_only_what_changed(context: Make, tmp_path: Path) -> None:
    tree = delta({}, context({"a/b": "1", "c": "2", "d": "3"})).tree
    (tmp_path / "c").write_text("changed")
    (tmp_path / "d").unlink()
    os.utime(tmp_path / "a" / "b", (1, 1))
    made = context({})
    found = delta(tree, made)

    assert unpacked(made, tree) == {"c": b"changed"}
    assert found.gone == ("d",)
    assert found.tree["a/b"].mtime == tree["a/b"].mtime        # as it is there
    assert not delta(found.tree, made).files


def test_a_mode_counts(context: Make, tmp_path: Path) -> None:
    tree = delta({}, context({"run": "x"})).tree
    (tmp_path / "run").chmod(0o755)
    assert [file.path for file in delta(tree, context({})).files] == ["run"]


def test_what_becomes_another_kind_goes_first(context: Make, tmp_path: Path) -> None:
    tree = delta({}, context({"x/y": "1"})).tree
    (tmp_path / "x" / "y").unlink()
    (tmp_path / "x").rmdir()
    (tmp_path / "x").symlink_to("Dockerfile")
    assert delta(tree, context({})).gone == ("x", "x/y")


@pytest.mark.parametrize("ignored", [False, True])
def test_the_dockerfile_is_as_it_was_analysed(context: Make, tmp_path: Path, ignored: bool) -> None:
    made = context({"a": "1"} | ({".dockerignore": "Dockerfile\n"} if ignored else {}))
    assert dockerfile(made) == b"FROM scratch\nCOPY . /\n"
    assert set(unpacked(made, {})) == {"a"} | ({".dockerignore"} if ignored else {"Dockerfile"})
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    if ignored:
        assert dockerfile(made) == b"FROM scratch\nCOPY . /\n"
    else:
        with pytest.raises(ContextChanged):
            dockerfile(made)


@pytest.mark.parametrize("text", ["FROM scratch\nCOPY . /\n", "FROM scratch\nCOPY <<EOF /b\nx\nEOF\nCOPY . /\n"],
                         ids=["classic", "BuildKit"])
def test_a_dockerfile_from_elsewhere_does_not_go_into_the_context(tmp_path: Path, text: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a").write_text("a")
    (tmp_path / "Other").write_text(text)
    artifact = Artifact.model_validate({"image": "web", "context": "web", "docker": {"dockerfile": "../Other"}})
    made = analyse(artifact, tmp_path, DigestCache())

    assert unpacked(made, {}) == {"a": b"a"}
    assert dockerfile(made) == text.encode()
    assert not unpacked(made, delta({}, made).tree)


def test_a_file_that_changes_meanwhile_is_not_sent(context: Make, tmp_path: Path) -> None:
    made = context({"c": "2"})
    (tmp_path / "c").write_text("other")
    with pytest.raises(ContextChanged):
        unpacked(made, {})


def test_the_proof_covers_names_sizes_modes_and_times(context: Make, tmp_path: Path) -> None:
    trees = [delta({}, context({"c": "2"})).tree]
    for path, mode, time in (("c", 0o600, 5), ("c", 0o644, 5), ("c", 0o644, 6)):
        (tmp_path / path).chmod(mode)
        os.utime(tmp_path / path, (time, time))
        trees.append(delta({}, context({})).tree)
    trees.append(delta({}, context({"cc": "2"})).tree)
    trees.append(delta({}, context({"c": "22"})).tree)
    assert len({proof(tree) for tree in trees}) == len(trees)
    assert proof({}) == hashlib.sha256().hexdigest()


def test_odd_names_are_kept_apart() -> None:
    assert names(["a b", "c\nd", "-rf"]) == b"./a b\0./c\nd\0./-rf\0"
