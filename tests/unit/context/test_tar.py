"""The context as a tar: everything as it is on disk, never anything else than was analysed, and never in memory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from devloop.context import BuildContext, ContextChanged

Web = Callable[..., BuildContext]
ALL = "FROM busybox\nCOPY . /app\n"


def unpacked(context: BuildContext) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    data = io.BytesIO(b"".join(context.tar()))
    with tarfile.open(fileobj=data, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        return {m.name: (m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar}  # type: ignore[union-attr]


def test_everything_arrives_as_it_is(tmp_path: Path, web: Web) -> None:
    long = "/".join(["directory" * 10] * 5) + "/" + "n" * 200
    big = os.urandom(3_000_000)
    context = web({"Dockerfile": ALL, "run.sh": "#!/bin/sh\n", "big": big, "empty": "",
    "d/": None, "l@": "t" * 300, "\udcff": "x", long: "y"})
    (tmp_path / "web/run.sh").chmod(0o4755)
    os.utime(tmp_path / "web/run.sh", (0, 1_600_000_000.9))
    os.link(tmp_path / "web/run.sh", tmp_path / "web/hard")
    context = web({})
    found = unpacked(context)
    assert sorted(found) == [file.path for file in context.files]
    script, content = found["run.sh"]
    assert (script.mode, script.mtime, script.uid, script.gid, content) == (0o4755, 1_600_000_000, 0, 0, b"#!/bin/sh\n")
    assert found["hard"][1] == content
    assert found["big"][1] == big
    assert (found["l"][0].linkname, found["\udcff"][1], found[long][1], found["d"][0].isdir()) == ("t" * 300, b"x", b"y", True)
    assert context.dockerfile_name == "Dockerfile"
    assert b"".join(context.tar()) == b"".join(context.tar())


def test_a_file_of_more_than_eight_gibibytes_has_a_header(tmp_path: Path, web: Web) -> None:
    web({"Dockerfile": ALL})
    context = web({})
    huge = context.files[0]._replace(size=9 << 30)
    from devloop.context.tar import _header
    assert tarfile.TarInfo.frombuf(_header(huge), "utf-8", "strict").size == 9 << 30


@pytest.mark.parametrize("change", [
    lambda path: path.unlink(), lambda path: path.write_bytes(b"other"), lambda path: path.write_bytes(b"longer than before"),
    lambda path: path.write_bytes(b"less"), lambda path: (path.unlink(), path.symlink_to("Dockerfile")),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.unlink(), os.mkfifo(path)),
])
def test_a_file_that_is_no_longer_what_was_analysed_is_never_sent(tmp_path: Path, web: Web, change: Callable[[Path], object]) -> None:
    context = web({"Dockerfile": ALL, "file": "state"})
    path = tmp_path / "web/file"
    times = path.stat()
    change(path)
    if path.is_file() and not path.is_symlink():
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ContextChanged, match="web/file changed while the build context was being read"):
        list(context.tar())


@pytest.mark.parametrize("cut", [True, False])
def test_a_file_that_shrinks_or_changes_halfway_ends_the_tar(tmp_path: Path, web: Web, cut: bool) -> None:
    context = web({"Dockerfile": ALL, "log": b"x" * 5_000_000})
    tar = context.tar()
    next(tar)
    with (tmp_path / "web/log").open("r+b") as file:
        file.seek(4_900_000)
        file.write(b"y")
        if cut:
            file.truncate(4_000_000)
    with pytest.raises(ContextChanged, match="web/log changed"):
        list(tar)


def test_a_file_that_grows_behind_what_is_sent_changes_nothing(tmp_path: Path, web: Web) -> None:
    context = web({"Dockerfile": ALL, "log": b"x" * 5_000_000})
    tar = context.tar()
    first = next(tar)
    with (tmp_path / "web/log").open("ab") as file:
        file.write(b"more")
    with tarfile.open(fileobj=io.BytesIO(first + b"".join(tar))) as found:
        assert found.getmember("log").size == 5_000_000


# --- a Dockerfile that the build may not see

@pytest.mark.parametrize(("tree", "docker", "hidden", "ignore"), [
    ({"Dockerfile": ALL, "a": "", ".dockerignore": "Dockerfile\n.dockerignore"}, {}, True, ".dockerignore\n{}\n"),
    ({"Dockerfile": ALL, "a": "", ".dockerignore": "Dockerfile"}, {}, True, "Dockerfile\n{}\n"),
    ({"Dockerfile": "FROM x\nCOPY a /\n", "a": ""}, {}, True, ".dockerignore\n{}\n"),
    ({"Dockerfile@": "real", "real": ALL}, {}, True, ".dockerignore\n{}\n"),
    ({"Dockerfile": ALL, ".dockerignore": "Dockerfile"}, {"buildkit": True}, True, "Dockerfile"),
    ({"d/Dockerfile": ALL}, {"dockerfile": "d/Dockerfile"}, False, ""),
])
def test_a_dockerfile_that_is_ignored_or_elsewhere_is_hidden_from_the_build(
        web: Web, tree: dict[str, str], docker: dict[str, object], hidden: bool, ignore: str) -> None:
    context = web(tree, **docker)
    found = unpacked(context)
    assert found[context.dockerfile_name][1].decode() in (tree.get("Dockerfile"), ALL)
    assert (context.dockerfile_name not in [file.path for file in context.files]) is hidden
    assert found.get(".dockerignore", (None, b""))[1].decode() == ignore.format(context.dockerfile_name)


def test_the_name_of_a_hidden_dockerfile_does_not_collide(web: Web) -> None:
    tree = {"Dockerfile": ALL, ".dockerignore": "Dockerfile"}
    name = web(tree).dockerfile_name
    assert web({name: "mine"}).dockerfile_name == ".devloop" + name


# --- memory

MEASURE = """
import sys
from pathlib import Path
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
root = Path(sys.argv[1])
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()      # rusage counts the parent's, from before exec
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
(root / "big").unlink()
assert sum(map(len, analyse(Artifact(image="x"), root, DigestCache()).tar()))
before = peak()
with open(root / "big", "wb") as file:
    file.truncate(1 << 28)
context = analyse(Artifact(image="x"), root, DigestCache())
sent = sum(map(len, context.tar()))
print(peak() - before, sent >> 20)
"""


def test_a_big_context_costs_no_memory(tmp_path: Path, web: Web) -> None:
    web({"Dockerfile": ALL, "big": ""})
    done = subprocess.run([sys.executable, "-c", MEASURE, os.fspath(tmp_path / "web")], capture_output=True, text=True, check=True)
    grown, sent = map(int, done.stdout.split())
    assert sent == 256
    assert grown < 32, "MiB"
