"""What devloop makes of buildx's words: a stand-in for the plugin says what versions of all ages said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devloop.build.docker import DockerBuilder
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_config import DockerConfig
from devloop.errors import BuildError
from devloop.events import Event, StepOutput, StepProgress

from .conftest import MakeJob

NEEDS = "FROM busybox:1.36\nRUN --mount=type=cache,target=/c true\n"
Buildx = Callable[..., DockerEngine]


@pytest.fixture
def buildx(tmp_path: Path) -> Buildx:
    """An Engine with a buildx that prints `said` and ends with `code`; it keeps its arguments and its input."""
    def make(said: str, code: int = 0) -> DockerEngine:
        plugins = tmp_path / "docker" / "cli-plugins"
        plugins.mkdir(parents=True)
        (tmp_path / "said").write_text(said)
        plugin = plugins / "docker-buildx"
        plugin.write_text(f"#!/bin/sh\nfor word; do echo \"$word\"; done >{tmp_path}/arguments\ncat >{tmp_path}/input\n"
                          f"echo $BUILDX_NO_DEFAULT_ATTESTATIONS >{tmp_path}/attestations\ncat {tmp_path}/said >&2\nexit {code}\n")
        plugin.chmod(0o755)
        return DockerEngine({"DOCKER_CONFIG": str(plugins.parent), "DOCKER_HOST": f"unix://{tmp_path}/none", "PATH": os.environ["PATH"]})

    return make


def failing(engine: DockerEngine, job: MakeJob, dockerfile: str = NEEDS) -> tuple[BuildError, list[Event]]:
    events: list[Event] = []
    with pytest.raises(BuildError) as caught:
        DockerBuilder(engine).build(job(dockerfile), events.append, Cancel())
    return caught.value, events


def lines(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, StepOutput)]


NEW = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 97B done
#1 WARN: JSONArgsRecommended: JSON arguments recommended for CMD (line 3)
#1 DONE 0.0s

#4 [a 1/2] FROM docker.io/library/busybox:1.36@sha256:abc
#4 resolve docker.io/library/busybox:1.36@sha256:abc done
#4 sha256:3f4d90098f5b5a6f6a76e9d217da85aa39b2081e30fa1f7d287138d6e7bf0ad7 0B / 1.92MB 0.1s
#4 sha256:3f4d90098f5b5a6f6a76e9d217da85aa39b2081e30fa1f7d287138d6e7bf0ad7 1.92MB / 1.92MB 0.3s done
#4 extracting sha256:3f4d90098f5b5a6f6a76e9d217da85aa39b2081e30fa1f7d287138d6e7bf0ad7 0.1s done
#4 DONE 0.5s

#5 [a 2/2] RUN one
#5 0.155 first
#5 ...

#6 [b 2/2] RUN two
#6 0.200 second
#6 ERROR: process "/bin/sh -c two" did not complete successfully: exit code: 127

#5 [a 2/2] RUN one
#5 0.300 third
#5 CANCELED
------
 > [b 2/2] RUN two:
0.200 second
------

 1 warning found (use docker --debug to expand):
 - JSONArgsRecommended: JSON arguments recommended for CMD (line 3)
Dockerfile:4
--------------------
   2 |     RUN one
   4 | >>> RUN two
--------------------
ERROR: failed to solve: process "/bin/sh -c two" did not complete successfully: exit code: 127
"""


def test_steps_side_by_side_are_told_apart_and_the_summary_is_not_said_twice(buildx: Buildx, job: MakeJob) -> None:
    dockerfile = "FROM busybox:1.36 AS a\nRUN one\nFROM busybox:1.36 AS b\nRUN two\nRUN --mount=type=cache,target=/c true\n"
    error, events = failing(buildx(NEW, 1), job, dockerfile)
    assert lines(events) == [
        "[a 1/2] FROM docker.io/library/busybox:1.36@sha256:abc",
        "[a 2/2] RUN one", "first",
        "[b 2/2] RUN two", "second",
        "[a 2/2] RUN one", "third",
    ]
    assert error.message == "hello-web: web/Dockerfile:4: RUN two ended with exit code 127"
    assert error.details == ("second",)
    assert "A command is missing" in error.hint
    steps = [(event.detail, event.current, event.total) for event in events if isinstance(event, StepProgress)]
    assert steps[-1] == ("[b 2/2] RUN two", 2, 2)


def test_a_plugin_that_only_complains_is_quoted(buildx: Buildx, job: MakeJob) -> None:
    error, _ = failing(buildx("unknown flag: --load\nSee 'docker buildx build --help'.\n", 125), job)
    assert error.message == "hello-web: web/Dockerfile failed: See 'docker buildx build --help'."


def test_a_plugin_that_says_nothing_is_told_by_its_exit_code(buildx: Buildx, job: MakeJob) -> None:
    error, _ = failing(buildx("", 2), job)
    assert error.message == "hello-web: web/Dockerfile failed: docker buildx ended with exit code 2"


def test_every_option_is_handed_over_and_the_context_is_its_input(buildx: Buildx, job: MakeJob, tmp_path: Path) -> None:
    wanted = job("FROM busybox:1.36 AS x\nCOPY data /\n", target="x", platform="linux/arm64", network="none", cache_from=["c:1", "c:2"],
                 labels={"l": "a b"}, build_args={"A": "1 2"})
    with pytest.raises(BuildError, match="enough"):
        DockerBuilder(buildx("ERROR: enough\n", 1), "buildkit").build(wanted, print, Cancel())
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "build", "--load", "--progress", "plain", f"--file={wanted.context.dockerfile_name}", "--tag=hello-web:1", "--target=x",
        "--platform=linux/arm64", "--network=none", "--cache-from=c:1", "--cache-from=c:2", "--label=l=a b", "--build-arg=A=1 2", "-"]
    assert b"ustar" in (tmp_path / "input").read_bytes()
    assert (tmp_path / "attestations").read_text() == "1\n"


def test_where_buildx_is_missing_that_is_told_before_anything_starts(job: MakeJob, tmp_path: Path) -> None:
    engine = DockerEngine({"DOCKER_HOST": f"unix://{tmp_path}/none", "PATH": str(tmp_path)})
    engine.config = DockerConfig(tmp_path, plugins=())
    with pytest.raises(BuildError) as caught:
        DockerBuilder(engine).check(job(NEEDS))
    assert caught.value.message == "hello-web: the Dockerfile needs BuildKit (RUN --mount on line 2), and docker buildx is not installed"
    assert "docker-buildx-plugin" in caught.value.hint
    with pytest.raises(BuildError, match=r"build\.engine is 'buildkit', and docker buildx is not installed"):
        DockerBuilder(engine, "buildkit").check(job("FROM busybox:1.36\n"))


def test_what_needs_buildkit_is_refused_where_the_configuration_says_classic(buildx: Buildx, job: MakeJob) -> None:
    with pytest.raises(BuildError, match=r"needs BuildKit \(RUN --mount on line 2\), but build\.engine is 'classic'"):
        DockerBuilder(buildx(""), "classic").check(job(NEEDS))


def test_a_plugin_that_cannot_be_run_is_named(buildx: Buildx, job: MakeJob, tmp_path: Path) -> None:
    engine = buildx("")
    (tmp_path / "docker" / "cli-plugins" / "docker-buildx").write_bytes(b"\x7fELF")
    error, _ = failing(engine, job)
    assert "docker-buildx cannot be run" in error.message
