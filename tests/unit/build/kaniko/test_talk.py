"""From what the executor prints to what a person sees, and to the instruction that failed."""

from __future__ import annotations

from devloop.events import StepOutput, StepProgress
from tests.unit.build.conftest import MakeJob

from .conftest import Hear

DOCKERFILE = """\
FROM busybox:1.36 AS one
# a comment
RUN echo built > /made && \\
    echo twice
FROM ghcr.io/acme/base:2
ENV A 1
COPY data /data
COPY --from=one /made /made
"""

BEFORE = """
I Retrieving image manifest busybox:1.36
I Retrieving image busybox:1.36 from registry index.docker.io
I Returning cached image manifest
I Built cross stage deps: map[0:[/made]]
"""
FIRST = BEFORE + """
I Building stage 'busybox:1.36' [idx: '0', base-idx: '-1']
I Unpacking rootfs as cmd RUN echo built > /made &&     echo twice requires it.
I RUN echo built > /made &&     echo twice
I Taking snapshot of full filesystem...
I Cmd: /bin/sh
I Args: [-c echo built > /made &&     echo twice]
I Running: [/bin/sh -c echo built > /made &&     echo twice]
twice
"""
SECOND = FIRST + """
I Building stage 'ghcr.io/acme/base:2' [idx: '1', base-idx: '-1']
I ENV A=1
"""


def test_instructions_are_numbered_as_in_a_local_build(job: MakeJob, hear: Hear) -> None:
    _, events = hear(job(DOCKERFILE), SECOND + "I COPY data /data\nI COPY --from=one /made /made\nI Pushed r/web@sha256:0")

    steps = [event for event in events if isinstance(event, StepProgress)]
    assert [(step.current, step.total) for step in steps] == [(n, 6) for n in range(1, 7)]
    lines = [event.line for event in events if isinstance(event, StepOutput)]
    assert lines[:1] == ["Retrieving image busybox:1.36 from registry index.docker.io"]
    assert "Step 2/6 : RUN echo built > /made &&     echo twice" in lines
    assert "twice" in lines
    assert lines[-1] == "Pushed r/web@sha256:0"
    assert not [line for line in lines if line.startswith(("Cmd:", "Args:", "Running:", "Returning"))]


def test_the_failed_instruction_is_the_last_one_with_its_output(job: MakeJob, hear: Hear) -> None:
    talk, _ = hear(job(DOCKERFILE), FIRST + "error: no\nerror building image: waiting for process to exit: exit status 7")

    assert talk.step == "Step 2/6 : RUN echo built > /made &&     echo twice"
    assert talk.tail == ("twice", "error: no")
    assert talk.last == "error building image: waiting for process to exit: exit status 7"


def test_one_that_fails_before_it_is_announced_is_the_next_to_copy(job: MakeJob, hear: Hear) -> None:
    talk, _ = hear(job(DOCKERFILE), SECOND + "error building image: error building stage: failed to get files used from context: lstat /x")

    assert talk.step == "Step 5/6 : COPY data /data"


def test_a_base_image_is_that_of_its_from(job: MakeJob, hear: Hear) -> None:
    talk, _ = hear(job(DOCKERFILE), BEFORE + "I Retrieving image manifest ghcr.io/acme/base:2\nerror building image: x")

    assert talk.step == "Step 3/6 : FROM ghcr.io/acme/base:2"


def test_all_that_the_executor_could_do_is_no_part_of_what_is_wrong(job: MakeJob, hear: Hear) -> None:
    talk, events = hear(job(DOCKERFILE), "Error: unknown flag: --nope\nUsage:\n  executor [flags]\n\nFlags:\n  --build-arg strings")

    assert (talk.last, talk.tail) == ("Error: unknown flag: --nope", ())
    assert events == [StepOutput("build", "hello-web", "Error: unknown flag: --nope")]


def test_warnings_are_told_as_such(job: MakeJob, hear: Hear) -> None:
    _, events = hear(job(DOCKERFILE), '{"level":"warning","msg":"old","time":"x"}')

    assert events == [StepOutput("build", "hello-web", "warning: old")]
