"""From an artifact to its files: what is selected, what changes the digest, what a change touches, and what is told when it fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devloop.cancel import Cancel
from devloop.config.models import Artifact
from devloop.context import BuildContext, DigestCache, analyse, differs, watch_roots
from devloop.errors import BuildError, Cancelled, ConfigError
from tests.unit.context.conftest import Tree

Web = Callable[..., BuildContext]
ALL = "FROM busybox\nCOPY . /app\n"


def paths(context: BuildContext) -> list[str]:
    return [file.path + {"dir": "/", "link": "@", "file": ""}[file.kind] for file in context.files]


# --- which files

@pytest.mark.parametrize(("tree", "expected"), [
    ({"Dockerfile": ALL, "a": "1", "b/c": "2", "b/d/": None}, ["Dockerfile", "a", "b/", "b/c", "b/d/"]),
    ({"Dockerfile": "FROM x\nCOPY a b/c /\n", "a": "1", "b/c": "2", "b/z": "3", "y": ""}, ["a", "b/", "b/c"]),
    ({"Dockerfile": "FROM x\nCOPY *.txt b*/c? /\n", "a.txt": "", "b.md": "", "b1/c1": "", "b2/c": "", "c/x.txt": ""}, ["a.txt", "b1/",
    "b1/c1"]),
    ({"Dockerfile": "FROM x\nCOPY package.json yarn.lock* /\n", "package.json": ""}, ["package.json"]),
    ({"Dockerfile": "FROM x\nCOPY [\"a b\", \"/\"]\n", "a b": ""}, ["a b"]),
    ({"Dockerfile": "FROM x\n", "a": ""}, []),
    # ignore files
    ({"Dockerfile": ALL, ".dockerignore": "*.md\n.dockerignore\nDockerfile\n", "a.md": "", "b": ""}, ["b"]),
    ({"Dockerfile": ALL, ".dockerignore": "*\n!src/**/*.go\n", "a": "", "src/a.c": "", "src/x/a.go": ""}, ["src/", "src/x/", "src/x/a.go"]),
    ({"Dockerfile": ALL, ".dockerignore": "a", "Dockerfile.dockerignore": "b\nDocker*\n.d*", "a": "", "b": ""}, ["a"]),
    ({"Dockerfile": "FROM x\nCOPY src /\n", ".dockerignore": "src\n!src/keep\n", "src/keep": "", "src/drop": ""}, ["src/", "src/keep"]),
    ({"Dockerfile": ALL, ".dockerignore": "**\n"}, []),
    # links: sent as links, followed where a source leads through them
    ({"Dockerfile": "FROM x\nCOPY l /\n", "l@": "d/f", "d/f": "", "d/g": ""}, ["d/", "d/f", "l@"]),
    ({"Dockerfile": "FROM x\nCOPY conf/*.json /\n", "conf@": "etc/conf", "etc/conf/a.json": "", "etc/conf/b": ""},
     ["conf@", "etc/", "etc/conf/", "etc/conf/a.json"]),
    ({"Dockerfile": "FROM x\nCOPY a/l /\n", "a/l@": "../b", "b@": "/c", "c/d": ""}, ["a/", "a/l@", "b@", "c/", "c/d"]),
    ({"Dockerfile": "FROM x\nCOPY d /\n", "d/dangling@": "nowhere", "d/outside@": "/etc/passwd", "d/up@": "../../..", "d/self@": "self"},
     ["d/", "d/dangling@", "d/outside@", "d/self@", "d/up@"]),
    # names
    ({"Containerfile": "FROM x\nCOPY . /\n", "\udcff\n": ""}, ["Containerfile", "\udcff\n"]),
])
def test_what_the_dockerfile_can_see(web: Web, tree: Tree, expected: list[str]) -> None:
    assert paths(web(tree)) == expected


def test_a_dockerfile_is_preferred_to_a_containerfile(web: Web) -> None:
    assert web({"Dockerfile": ALL, "Containerfile": ALL}).dockerfile.name == "Dockerfile"


def test_only_the_stages_that_are_built_count(web: Web) -> None:
    tree = {"Dockerfile": "FROM x AS a\nCOPY 1 /\nFROM x AS b\nCOPY 2 /\n", "1": "", "2": ""}
    assert paths(web(tree)) == ["1", "2"]
    assert paths(web(tree, target="a")) == ["1"]
    assert paths(web(tree, buildkit=True)) == ["2"]


def test_a_tree_deeper_than_pythons_stack_is_walked(tmp_path: Path, web: Web) -> None:
    deep = ["/".join("d" * depth) for depth in range(1, 1101)]
    try:
        (tmp_path / "web").mkdir()
        for path in deep:
            (tmp_path / "web" / path).mkdir()
        assert len(web({"Dockerfile": ALL}).files) == 1101
    finally:
        for path in reversed(deep):   # pytest's own clean-up is not up to it
            (tmp_path / "web" / path).rmdir()


def test_what_cannot_be_sent_is_skipped_and_named(tmp_path: Path, web: Web) -> None:
    (tmp_path / "web").mkdir()
    os.mkfifo(tmp_path / "web/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "web/run.sock"))
    context = web({"Dockerfile": ALL})
    assert sorted(context.skipped) == ["pipe (a named pipe)", "run.sock (a socket)"]
    assert paths(context) == ["Dockerfile"]
    with pytest.raises(BuildError, match=r"web/Dockerfile:2: COPY takes '.*', but run\.sock \(a socket\) cannot be part of an image"):
        web({"Dockerfile": "FROM x\nCOPY run.sock /\n"})


# --- the digest

def test_the_digest_is_of_content_and_not_of_times(tmp_path: Path, web: Web) -> None:
    tree: Tree = {"Dockerfile": ALL, "a": "1", "d/b": "2", "l@": "a"}
    first = web(tree)
    os.utime(tmp_path / "web/a", (1, 1))
    again = analyse(Artifact(image="x", context="."), tmp_path / "web", DigestCache())
    assert again.digest == first.digest
    assert (again.size, len(again.digest)) == (len(ALL) + 2, 64)


@pytest.mark.parametrize("change", [
    lambda web: (web / "a").write_text("2"), lambda web: (web / "a").chmod(0o755), lambda web: (web / "a").chmod(0o600),
    lambda web: (web / "a").rename(web / "c"), lambda web: (web / "d/b").rename(web / "b"), lambda web: (web / "d").chmod(0o700),
    lambda web: ((web / "l").unlink(), (web / "l").symlink_to("d")), lambda web: ((web / "l").unlink(), (web / "l").write_text("1")),
    lambda web: (web / "new").mkdir(), lambda web: (web / "Dockerfile").write_text(ALL + "# more"), lambda web: (web / "d/b").unlink(),
    lambda web: (web / ".dockerignore").write_text("d"),
])
def test_every_change_that_an_image_could_show_changes_the_digest(tmp_path: Path, web: Web, change: Callable[[Path], object]) -> None:
    first = web({"Dockerfile": ALL, "a": "1", "d/b": "2", "l@": "a"})
    change(tmp_path / "web")
    assert web({}).digest != first.digest


def test_what_the_dockerfile_cannot_see_does_not_count(tmp_path: Path, web: Web) -> None:
    first = web({"Dockerfile": "FROM x\nCOPY src /\n", ".dockerignore": "src/*.log\n", "src/a": "1"})
    (tmp_path / "web/README").write_text("x")
    (tmp_path / "web/src/x.log").write_text("x")
    (tmp_path / "web/.dockerignore").write_text("# a comment\nsrc/*.log\n")
    assert web({}).digest == first.digest


# --- what a change touches

@pytest.mark.parametrize(("path", "expected"), [
    ("web/src/main.go", True), ("web/src/new/deep.go", True), ("web/src/x.log", False), ("web/src", True), ("web", True),
    ("web/README", False),
    ("web/Dockerfile", True), ("web/Dockerfile.dockerignore", True), ("web/.dockerignore", True), ("web/Containerfile", True),
    ("web/a1.txt", True), ("web/a1.md", False), ("web/lib/x", True), ("web/libs/current/x", True), ("web/libs/old/x", False),
    ("web/libs", True),
    ("web/tmp/x", False), ("web/tmp/keep/x", True), ("web/tmp", True), ("website/src", False), (".", False), ("other", False),
])
def test_a_change_counts_where_it_could_change_the_build(tmp_path: Path, web: Web, path: str, expected: bool) -> None:
    context = web({"Dockerfile": "FROM x\nCOPY src *.txt lib tmp /\n", ".dockerignore": "**/*.log\ntmp\n!tmp/keep\n", "src/a": "",
    "a.txt": "",
                   "lib@": "libs/current", "libs/current/f": "", "tmp/keep/f": "", "README": ""})
    assert context.depends_on(tmp_path / path) is expected


def test_a_context_behind_a_link_knows_its_files_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/Dockerfile").write_text(ALL)
    (tmp_path / "web").symlink_to("real")
    context = analyse(Artifact(image="x", context="web"), tmp_path, DigestCache())
    assert context.depends_on(tmp_path / "web/a")
    assert context.depends_on(tmp_path / "real/a")


def test_a_context_that_is_a_link_holds_what_it_leads_to(tmp_path: Path, web: Web) -> None:
    real = web({"Dockerfile": ALL, "a": "1", "b/c": "2"})
    (tmp_path / "linked").symlink_to("web")
    linked = analyse(Artifact(image="x", context="linked"), tmp_path, DigestCache())
    assert paths(linked) == ["Dockerfile", "a", "b/", "b/c"]
    assert linked.digest == real.digest


def test_a_context_that_was_replaced_or_has_gone_differs(tmp_path: Path, web: Web) -> None:
    context = web({"Dockerfile": ALL, "a": "1"})
    assert not differs(context, tmp_path / "web/a")
    assert differs(context, tmp_path / "web")
    (tmp_path / "web").rename(tmp_path / "old")
    assert differs(context, tmp_path / "web")


# --- where the Dockerfile is

def test_a_dockerfile_outside_of_the_context_brings_its_ignore_file(tmp_path: Path, web: Web) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/web.Dockerfile").write_text(ALL)
    (tmp_path / "docker/web.Dockerfile.dockerignore").write_text("*.md\n")
    context = web({"a.md": "", "b": "", ".dockerignore": "b\n"}, dockerfile="../docker/web.Dockerfile")
    assert paths(context) == [".dockerignore", "b"]
    assert context.roots == (tmp_path / "web", tmp_path / "docker")
    assert context.depends_on(tmp_path / "docker/web.Dockerfile")
    assert context.depends_on(tmp_path / "docker/web.Dockerfile.dockerignore")
    assert not context.depends_on(tmp_path / "docker/other")
    assert watch_roots(Artifact(image="x", context="web"), tmp_path) == (tmp_path / "web",)


def test_what_of_the_dockerfile_and_the_ignore_files_is_behind_a_link_is_watched_and_counts(tmp_path: Path, web: Web) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/Dockerfile").write_text(ALL)
    (tmp_path / "shared/ignored").write_text("b\n")
    context = web({"docker@": "../shared", "a": "", "b": "", ".dockerignore@": "../shared/ignored"}, dockerfile="docker/Dockerfile")
    assert set(context.roots) == {tmp_path / "web", tmp_path / "web/docker", tmp_path / "web/.dockerignore"}
    assert context.depends_on(tmp_path / "web/docker/Dockerfile")
    assert context.depends_on(tmp_path / "web/.dockerignore")
    default = Artifact(image="x", context="web")        # what is not there is none; what leads nowhere may be mended
    assert set(watch_roots(default, tmp_path)) == {tmp_path / "web", tmp_path / "web/.dockerignore"}
    (tmp_path / "web/Containerfile").symlink_to("nowhere")
    assert tmp_path / "web/Containerfile" in watch_roots(default, tmp_path)


# --- what is told

@pytest.mark.parametrize(("tree", "message"), [
    ({"Dockerfile": "FROM x\n\nCOPY asets /\n", "assets/": None},
     r"web/Dockerfile:3: COPY takes 'asets', but the context web has no such file, did you mean 'assets'"),
    ({"Dockerfile": "FROM x\nCOPY dist/app /\n", "dist/app": "", ".dockerignore": "x\n/dist/\n"},
     r"web/Dockerfile:2: COPY takes 'dist/app', but web/\.dockerignore:2 \('/dist/'\) leaves dist/app out"),
    ({"Dockerfile": "FROM x\nCOPY *.jar /\n", "a.jar": "", ".dockerignore": "*.jar\n"},
     r"web/Dockerfile:2: COPY takes '\*\.jar', but web/\.dockerignore:1 \('\*\.jar'\) leaves a\.jar out"),
    ({"Dockerfile": "FROM x\nCOPY *.jar *.war /\n"}, r"web/Dockerfile:2: COPY takes '\*\.jar', but nothing in the context web matches"),
    ({"Dockerfile": "FROM x\nADD l /\n",
    "l@": "/etc/passwd"}, r"ADD takes 'l', a symbolic link to /etc/passwd, which is not there inside of"),
    ({"Dockerfile": "FROM x\nADD l /\n", "l@": "f", "f": "", ".dockerignore": "l\n"}, r"\('l'\) leaves l out"),
    ({"Dockerfile": "FROM x\nCOPY l /\n", "l@": "l"}, r"COPY takes 'l', a symbolic link to l"),
    ({"Dockerfile": "FROM x\nCOPY a/b /\n", "a": ""}, r"COPY takes 'a/b', but the context web has no such file"),
    ({"Dockerfile": "FROM x\nRUN --mount=source=s,target=/t x\n"},
     r"web/Dockerfile:2: RUN takes 's', but the context web has no such file"),
])
def test_a_source_that_is_not_there_is_told_with_its_line_and_reason(web: Web, tree: Tree, message: str) -> None:
    with pytest.raises(BuildError, match=message) as caught:
        web(tree)
    assert caught.value.hint


def test_buildkit_lets_a_wildcard_match_nothing(web: Web) -> None:
    assert web({"Dockerfile": "FROM x\nCOPY *.jar /\n"}, buildkit=True).files == ()


@pytest.mark.parametrize(("docker", "message"), [
    ({}, "the context of hello-web, web, has neither a Dockerfile nor a Containerfile"),
    ({"dockerfile": "nope"}, "the Dockerfile of hello-web, web/nope, does not exist"), ({"dockerfile": "d"}, "web/d, is a directory"),
])
def test_a_missing_dockerfile_is_a_config_error(web: Web, docker: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        web({"d/": None}, **docker)


def test_a_dockerfile_named_from_the_wrong_place_is_pointed_out(tmp_path: Path, web: Web) -> None:
    (tmp_path / "web.Dockerfile").write_text(ALL)
    with pytest.raises(ConfigError) as caught:
        web({}, dockerfile="web.Dockerfile")
    assert caught.value.hint == "It is relative to the context: write ../web.Dockerfile."


@pytest.mark.parametrize(("context", "message"), [("nope", "nope, does not exist"), ("file", "file, is not a directory")])
def test_a_missing_context_is_a_config_error(tmp_path: Path, context: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"the build context of x, {message}"):
        analyse(Artifact(image="x", context=context), tmp_path, DigestCache())


def test_an_ignore_file_that_is_a_directory_is_a_config_error(web: Web) -> None:
    with pytest.raises(ConfigError, match=r"web/\.dockerignore cannot be read: is a directory"):
        web({"Dockerfile": ALL, ".dockerignore/": None})


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
from devloop.errors import BuildError
root = Path(sys.argv[1])
if os.geteuid() == 0:
    here = os.open(root, os.O_RDONLY)
    os.fchdir(here)   # a user without rights may not pass the directories above
    os.setuid(65534)
try:
    analyse(Artifact(image="x", context=root.name), root.parent, DigestCache())
except BuildError as error:
    print(error.message, error.hint)
"""


@pytest.mark.parametrize("what", ["secret.key", "secrets"])
def test_what_cannot_be_read_is_named_with_the_remedy(what: str) -> None:
    import tempfile
    with tempfile.TemporaryDirectory(prefix="devloop-test-") as directory:   # pytest's own is closed to other users
        root = Path(directory)
        root.chmod(0o755)
        (root / "Dockerfile").write_text(ALL)
        (root / "secrets").mkdir(mode=0o755)
        (root / "secret.key").touch()
        (root / what).chmod(0)
        done = subprocess.run([sys.executable, "-c", UNPRIVILEGED, directory], capture_output=True, text=True, check=True)
        (root / what).chmod(0o755)
    assert done.stdout.startswith(f"{root.name}/{what} cannot be read: permission denied."), done.stderr
    assert ".dockerignore" in done.stdout


def test_an_analysis_can_be_called_off(web: Web, tmp_path: Path) -> None:
    web({"Dockerfile": ALL})
    cancel = Cancel()
    cancel.cancel("a newer save")
    with pytest.raises(Cancelled, match="a newer save"):
        analyse(Artifact(image="x", context="web"), tmp_path, DigestCache(), cancel=cancel)


class Saboteur(Cancel):
    """Does something once the walk is over and the first file is being read."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act
        self._checks = 0

    def check(self) -> None:
        self._checks += 1
        if self._checks == 2:
            self._act()


@pytest.mark.parametrize("replace", [
    lambda path: path.unlink(), lambda path: (path.unlink(), path.symlink_to("a")), lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.unlink(), os.mkfifo(path)),
])
def test_a_file_that_goes_while_the_context_is_read_is_no_part_of_it(tmp_path: Path, web: Web, replace: Callable[[Path], object]) -> None:
    web({"Dockerfile": ALL, "a": "1", "b": "2"})
    saboteur = Saboteur(lambda: replace(tmp_path / "web/b"))
    found = analyse(Artifact(image="x", context="web"), tmp_path, DigestCache(), cancel=saboteur)
    assert paths(found) == ["Dockerfile", "a"]
