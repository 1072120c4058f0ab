"""Builds with the real Docker Engine, by both of its builders."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
from harness import PATIENCE

from devloop.build.builder import BuildJob
from devloop.build.docker import DockerBuilder
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.config.models import Artifact, DockerBuild
from devloop.context import ContextChanged, DigestCache, analyse
from devloop.errors import BuildError, Cancelled
from devloop.events import Event, StepOutput, StepProgress
from devloop.model import ImageRef

pytestmark = pytest.mark.cluster

RUN = r"RUN printf '10%%\r99%%\n\033[31mred\033[0m\n'; printf unended"
BOTH = pytest.mark.parametrize("choice", ["classic", "buildkit"])


class Bench:
    """A directory to build from, an Engine to build with, and what was said."""

    def __init__(self, root: Path, engine: DockerEngine) -> None:
        self.root = root
        self.engine = engine
        self.image = f"devloop-test-{secrets.token_hex(4)}"
        self.events: list[Event] = []
        self.heard = threading.Condition()

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def job(self, tag: str = "1", build_args: dict[str, str] | None = None, *, buildkit: bool = False, **options: Any) -> BuildJob:
        artifact = Artifact(image=self.image, docker=DockerBuild(**options))
        context = analyse(artifact, self.root, DigestCache(), buildkit=buildkit)
        return BuildJob(artifact, context, ImageRef(self.image, tag), build_args or {})

    def builder(self, choice: str) -> DockerBuilder:
        if choice == "buildkit" and self.engine.config.plugin("docker-buildx", self.engine.environ) is None:
            pytest.skip("missing: docker buildx")
        return DockerBuilder(self.engine, choice)   # type: ignore[arg-type]

    def emit(self, event: Event) -> None:
        with self.heard:
            self.events.append(event)
            self.heard.notify_all()

    def build(self, choice: str, tag: str = "1", build_args: dict[str, str] | None = None, *, cancel: Cancel | None = None,
              **options: Any) -> str:
        job = self.job(tag, build_args, buildkit=choice == "buildkit", **options)
        return self.builder(choice).build(job, self.emit, cancel or Cancel()).image_id

    def failing(self, dockerfile: str, choice: str = "classic", **options: Any) -> BuildError:
        self.write("Dockerfile", dockerfile)
        with pytest.raises(BuildError) as caught:
            self.build(choice, **options)
        return caught.value

    @property
    def lines(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, StepOutput)]


@pytest.fixture
def engine(docker_api: docker.APIClient) -> Iterator[DockerEngine]:
    engine = DockerEngine(os.environ)
    yield engine
    engine.close()


@pytest.fixture
def bench(tmp_path: Path, engine: DockerEngine, docker_api: docker.APIClient) -> Iterator[Bench]:
    bench = Bench(tmp_path, engine)
    yield bench
    for image in docker_api.images(name=bench.image):
        for tag in image["RepoTags"]:
            docker_api.remove_image(tag, force=True)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)


# --- success


def test_what_is_built_of_nothing_does_not_depend_on_any_other_image(bench: Bench) -> None:
    """The Engine would look for its layers in every image that it has, and fail where one of them is just being removed."""
    bench.write("page", secrets.token_hex(8))
    used = []
    for base in ("busybox:1.36", "scratch"):
        bench.write("Dockerfile", f"FROM {base}\nCOPY page /page\nLABEL a=b\n")
        built = [bench.build("classic", tag) for tag in ("1", "2")]
        used.append(built[0] == built[1])
    assert used == [True, False]


@BOTH
def test_an_image_is_built_and_found_by_its_reference(bench: Bench, choice: str, docker_api: docker.APIClient) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nCOPY page /page\nRUN echo built here\n")
    bench.write("page", secrets.token_hex(8))
    builder = bench.builder(choice)
    assert builder.find(ImageRef(bench.image, "1"), "*") is None
    built = builder.build(bench.job(buildkit=choice == "buildkit"), bench.emit, Cancel())
    assert (built.artifact, str(built.ref), built.cached) == (bench.image, f"{bench.image}:1", False)
    assert built.image_id == docker_api.inspect_image(f"{bench.image}:1")["Id"]
    assert builder.find(built.ref, "nothing") == (built.ref, built.image_id)
    assert builder.find(ImageRef(bench.image, "of-another-time"), "?") == (built.ref, built.image_id)
    assert builder.find(ImageRef(bench.image, "of-another-time"), "2*") is None
    assert "built here" in bench.lines


def test_the_classic_builder_is_heard_without_its_chatter(bench: Bench) -> None:
    bench.write("Dockerfile", f"FROM busybox:1.36\nCOPY nonce /\n{RUN}\nRUN true\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.build("classic")
    assert bench.lines == [
        "Step 1/4 : FROM busybox:1.36",
        "Step 2/4 : COPY nonce /",
        f"Step 3/4 : {RUN}",
        "99%", "red", "unended",
        "Step 4/4 : RUN true",
    ]
    steps = [event for event in bench.events if isinstance(event, StepProgress)]
    assert [(event.detail, event.current, event.total, event.unit) for event in steps][1] == ("COPY nonce /", 2, 4, "steps")


def test_buildkit_is_heard_without_its_chatter(bench: Bench) -> None:
    bench.write("Dockerfile", f"FROM busybox:1.36\nCOPY nonce /\n{RUN}\nRUN true\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.build("buildkit")
    without_from = [line for line in bench.lines if "FROM" not in line and line != "CACHED"]
    assert without_from == [
        "[2/4] COPY nonce /",
        f"[3/4] {RUN}",
        "99%", "red", "unended",
        "[4/4] RUN true",
    ]


@BOTH
def test_target_build_args_and_labels_are_obeyed(bench: Bench, choice: str, docker_api: docker.APIClient) -> None:
    bench.write("build/Containerfile.dev", "FROM busybox:1.36 AS wanted\nARG WHO=nobody\nARG EMPTY=full\nENV WHO=$WHO EMPTY=$EMPTY\n"
                "FROM busybox:1.36\nENV WHO=wrong\n")
    bench.build(choice, build_args={"WHO": "a b=c", "EMPTY": ""}, dockerfile="build/Containerfile.dev", target="wanted",
                labels={"org.example/label": "x y"})
    config = docker_api.inspect_image(f"{bench.image}:1")["Config"]
    assert "WHO=a b=c" in config["Env"]
    assert "EMPTY=" in config["Env"]
    assert config["Labels"] == {"org.example/label": "x y"}


@BOTH
def test_the_network_of_run_steps_is_obeyed(bench: Bench, choice: str) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nCOPY nonce /\nRUN echo interfaces: $(ls /sys/class/net)\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.build(choice, network="none")
    assert any(line == "interfaces: lo" or (line.startswith("interfaces: ") and "eth0" not in line) for line in bench.lines)
    bench.events.clear()
    bench.write("nonce", secrets.token_hex(8))
    bench.build(choice, network="host")
    assert any(line.startswith("interfaces: ") and "docker0" in line for line in bench.lines)


@BOTH
def test_the_platform_is_obeyed(bench: Bench, choice: str) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nRUN true\n")
    error = bench.failing("FROM busybox:1.36\nRUN true\n", choice, platform="linux/nonsense1/x/y")
    assert "platform" in error.message or "nonsense1" in error.message
    bench.build(choice, platform=bench.engine.info().platform)


def test_cache_from_names_the_only_images_whose_layers_are_reused(bench: Bench) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nARG NONCE\nRUN echo $NONCE\n")
    first = bench.build("classic", "1", {"NONCE": bench.image})
    assert bench.build("classic", "2", {"NONCE": bench.image}, cache_from=[f"{bench.image}:1"]) == first
    assert bench.lines[-1] == " ---> Using cache"
    assert bench.build("classic", "3", {"NONCE": bench.image}, cache_from=["devloop-test-nothing:1"]) != first


def test_proxies_of_the_docker_configuration_reach_run_steps(bench: Bench, tmp_path: Path) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nCOPY nonce /\nRUN echo $HTTP_PROXY $no_proxy\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.write("docker/config.json", '{"proxies": {"default": {"httpProxy": "http://proxy.example:3128", "noProxy": ".local"}}}')
    bench.write(".dockerignore", "docker\n")
    bench.engine = DockerEngine(dict(os.environ) | {"DOCKER_CONFIG": str(tmp_path / "docker")})
    bench.build("classic")
    bench.engine.close()
    assert "http://proxy.example:3128 .local" in bench.lines


def test_three_builds_at_once_do_not_disturb_each_other(bench: Bench) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nARG WHO\nRUN echo I am $WHO > /who && cat /who\n")
    builder = bench.builder("classic")
    jobs = [bench.job(str(number), {"WHO": f"{bench.image}-{number}"}) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(lambda job: builder.build(job, bench.emit, Cancel()), jobs))
    assert len({image.image_id for image in built}) == 3
    assert sorted(line for line in bench.lines if line.startswith("I am")) == [f"I am {bench.image}-{number}" for number in range(3)]


def test_a_large_context_is_streamed_with_its_progress_and_without_memory_for_it(bench: Bench, tmp_path: Path) -> None:
    bench.write("Dockerfile", "FROM scratch\nCOPY big /\n")
    with (tmp_path / "big").open("wb") as big:
        big.truncate(300 << 20)
    script = f"""
import os
from pathlib import Path
from devloop.build.builder import BuildJob
from devloop.build.docker import DockerBuilder
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
from devloop.model import ImageRef
engine = DockerEngine(os.environ)
artifact = Artifact(image={bench.image!r})
job = BuildJob(artifact, analyse(artifact, Path({str(tmp_path)!r}), DigestCache()), ImageRef({bench.image!r}, "1"), {{}})
DockerBuilder(engine).build(job, print, Cancel())
engine.close()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))   # rusage counts the parent's, from before exec
print("peak", int(peak.split()[1]) >> 10, "MiB")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.rpartition("peak ")[2].split()[0])
    assert peak < 150, f"{peak} MiB for a context of 300 MiB"


# --- failure


@BOTH
def test_a_failing_step_is_told_with_its_line_exit_code_and_last_output(bench: Bench, choice: str) -> None:
    error = bench.failing("FROM busybox:1.36\n\n# why\nRUN for i in $(seq 30); do echo line $i; done; \\\n    exit 3\nRUN true\n", choice)
    where = bench.root / "Dockerfile"
    assert error.message == (f"{bench.image}: {where}:4: RUN for i in $(seq 30); do echo line $i; done;     exit 3 ended with exit code 3")
    assert error.details == tuple(f"line {number}" for number in range(11, 31))
    assert error.hint == ""
    assert [line for line in bench.lines if line.startswith("line ")] == [f"line {number}" for number in range(1, 31)]


@BOTH
def test_only_the_failing_steps_output_is_shown_with_the_error(bench: Bench, choice: str) -> None:
    error = bench.failing("FROM busybox:1.36\nRUN echo earlier\nRUN exec 2>&1; echo later; nosuchcommand\n", choice)
    assert error.details == ("later", "/bin/sh: nosuchcommand: not found")
    assert ":3: RUN exec 2>&1; echo later; nosuchcommand ended with exit code 127" in error.message
    assert "missing in the image" in error.hint


CAUSES = [
    ("FROM busybox:1.36\nRUN [\"nosuch\"]", ":2: RUN [\"nosuch\"] ", "missing in the image"),
    ("FROM busybox:1.36\nRUN dd if=/dev/zero of=/dev/shm/x bs=1M count=80", "ended with exit code 1", "docker system df"),
    ("FROM busybox:1.36\nRUN printf '\\177ELF12345678901234567890' > /x; chmod +x /x\nRUN [\"/x\"]", ":3: RUN [\"/x\"] ",
     "another platform"),
    ("FROM busybox:1.36\nRUN wget http://nosuch.invalid/", "ended with exit code 1", "network did not answer"),
    ("FROM 127.0.0.1:1/base:1\nRUN true", ":1", "network did not answer"),
    ("FROM busybox:1.36\nRUN sh -c 'kill -9 $$' || exit $?", "ended with exit code 137", "out of memory"),
    ("FROM busybox:1.36\nRUN touch /x && /x", "ended with exit code 126", "chmod +x"),
]


@BOTH
@pytest.mark.parametrize(("dockerfile", "message", "hint"), CAUSES, ids=[hint.replace(" ", "-") for _, _, hint in CAUSES])
def test_the_hint_tells_what_to_do_about_the_cause(bench: Bench, choice: str, dockerfile: str, message: str, hint: str) -> None:
    error = bench.failing(dockerfile + "\n", choice)
    assert message in error.message
    assert hint in error.hint


def test_an_unknown_instruction_is_told_with_its_line(bench: Bench) -> None:
    error = bench.failing("FROM busybox:1.36\nRUNN true\n")
    assert error.message == f"{bench.image}: {bench.root}/Dockerfile:2 failed: unknown instruction: RUNN"


def test_a_private_base_image_is_told_with_its_registry(bench: Bench, registry: str) -> None:
    error = bench.failing(f"FROM {registry}/private/base:1\nRUN true\n")
    assert f"{bench.root}/Dockerfile:1: FROM {registry}/private/base:1 failed: " in error.message
    assert error.hint == "Is there an image with this name and tag?"


def test_a_file_that_vanishes_while_it_is_sent_is_named(bench: Bench) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nCOPY data /data\n")
    for name in ("a", "b"):
        bench.write(f"data/{name}", name)
    job = bench.job()
    (bench.root / "data" / "b").unlink()
    with pytest.raises(ContextChanged, match="data/b"):
        bench.builder("classic").build(job, bench.emit, Cancel())
    assert bench.engine.image_id(job.ref) is None


def test_a_dockerfile_that_needs_buildkit_gets_it(bench: Bench) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nRUN --mount=type=tmpfs,target=/scratch touch /scratch/x && echo mounted\nCOPY nonce /\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.builder("buildkit")   # or skips
    bench.build("auto")
    assert any(line.startswith("[2/3] RUN --mount") for line in bench.lines)


# --- cancelling


@BOTH
def test_cancelling_stops_the_running_step(bench: Bench, choice: str, docker_api: docker.APIClient) -> None:
    mark = f"987654{secrets.randbelow(10**6):06}"
    bench.write("Dockerfile", f"FROM busybox:1.36\nRUN echo started; exec sleep {mark}\n")
    cancel = Cancel()
    with ThreadPoolExecutor(1) as pool:
        build = pool.submit(bench.build, choice, cancel=cancel)
        with bench.heard:
            assert bench.heard.wait_for(lambda: "started" in bench.lines, PATIENCE), bench.lines
        eventually(lambda: bool(sleeping(mark)), "the step runs")
        cancel.cancel("a newer save")
        with pytest.raises(Cancelled, match="a newer save"):
            build.result(10)
    eventually(lambda: not sleeping(mark), "the step's process is gone")
    eventually(lambda: not [c for c in docker_api.containers(all=True) if mark in c["Command"]], "its container is gone")
    assert bench.engine.image_id(f"{bench.image}:1") is None


def sleeping(mark: str) -> list[Path]:
    """The processes of this machine (a local Engine's containers included) that have `mark` as argument."""
    def has(path: Path) -> bool:
        try:
            return mark.encode() in path.read_bytes().split(b"\0")
        except OSError:
            return False

    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if has(path)]


def test_a_build_that_was_cancelled_before_it_began_does_not_begin(bench: Bench) -> None:
    bench.write("Dockerfile", "FROM busybox:1.36\nRUN echo never\n")
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(Cancelled):
        bench.build("classic", cancel=cancel)
    assert bench.lines == []


# --- what it leaves behind


def test_superseded_images_are_removed_with_their_stages_and_only_they(bench: Bench, docker_api: docker.APIClient) -> None:
    def tags() -> set[str]:
        return {tag.rpartition(":")[2] for image in docker_api.images(name=bench.image) for tag in image["RepoTags"]}

    def dangling() -> set[str]:
        return {image["Id"] for image in docker_api.images(filters={"dangling": True, "label": f"of={bench.image}"})}

    bench.write("Dockerfile", f"FROM busybox:1.36 AS made\nCOPY nonce /made\nLABEL of={bench.image}\n"
                "FROM busybox:1.36\nCOPY --from=made /made /\n")
    bench.write("nonce", secrets.token_hex(8))
    bench.build("classic", "foreign")   # by another builder: another process, as it were
    foreign = dangling()
    builder = bench.builder("classic")
    for number in range(4):
        builder.build(bench.job(str(number)), bench.emit, Cancel())   # the first time all of it is in the cache
        bench.write("nonce", secrets.token_hex(8))
    stages = dangling() - foreign
    assert (len(foreign), len(stages)) == (1, 3)
    assert builder.find(ImageRef(bench.image, "1"), "1")   # in use again
    used = docker_api.create_container(f"{bench.image}:2")["Id"]
    try:
        builder.prune(bench.image, keep=2)
        assert tags() == {"foreign", "1", "2", "3"}
    finally:
        docker_api.remove_container(used)
    builder.prune(bench.image, keep=2)
    assert tags() == {"foreign", "1", "3"}
    assert len(dangling() & stages) == 2, "the stages of those that stay are their cache"
    assert dangling() >= foreign
