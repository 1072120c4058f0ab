"""What the user is told about failed builds: messages as engines and registries of all ages write them."""

from __future__ import annotations

import pytest

from devloop.build.builder import BuildJob
from devloop.build.failure import failure

from .conftest import MakeJob

DOCKERFILE = """\
ARG BASE=busybox
FROM ${BASE}:1.36 AS build
# a comment
RUN make \\
    all
FROM ghcr.io/acme/base:2
COPY --from=build /out /out
COPY data /x
"""


LLB = "failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
NOT_FOUND = "file not found in build context or excluded by .dockerignore: stat data: file does not exist"


@pytest.fixture
def built(job: MakeJob) -> BuildJob:
    return job(DOCKERFILE)


@pytest.mark.parametrize(("step", "said", "message"), [
    ("Step 3/6 : RUN make     all", "The command '/bin/sh -c make     all' returned a non-zero code: 2",
     ":4: RUN make     all ended with exit code 2"),
    ("[build 2/2] RUN make     all", 'failed to solve: process "/bin/sh -c make all" did not complete successfully: exit code: 2',
     ":4: RUN make     all ended with exit code 2"),
    ("[build 2/2] RUN make     all", "failed to solve: executor failed running [/bin/sh -c make all]: exit code: 137",
     ":4: RUN make     all ended with exit code 137"),
    ("Step 6/6 : COPY data /x", f"COPY failed: {NOT_FOUND}", f":8: COPY data /x failed: {NOT_FOUND}"),
    ("[stage-1 3/3] COPY data /x", 'failed to solve: failed to compute cache key: "/data" not found: not found',
     ':8: COPY data /x failed: "/data" not found: not found'),
    ("", "dockerfile parse error line 7: unknown instruction: COPPY", ":7 failed: unknown instruction: COPPY"),
    ("", LLB + "dockerfile parse error on line 7: unknown instruction: COPPY", ":7 failed: unknown instruction: COPPY"),
    ("", LLB + "no such thing", " failed: no such thing"),
])
def test_the_message_names_artifact_line_instruction_and_cause(built: BuildJob, step: str, said: str, message: str) -> None:
    assert failure(built, said, step=step).message == "hello-web: web/Dockerfile" + message


@pytest.mark.parametrize(("step", "said", "hint"), [
    ("Step 2/6 : FROM ${BASE}:1.36 AS build", "pull access denied for foo, repository does not exist or may require 'docker login': denied",
     "Is the image's name right? If the image is private: docker login."),
    ("Step 4/6 : FROM ghcr.io/acme/base:2", 'Head "https://ghcr.io/v2/acme/base/manifests/2": unauthorized',
     "Is the image's name right? If the image is private: docker login ghcr.io."),
    ("Step 4/6 : FROM ghcr.io/acme/base:2", "manifest for ghcr.io/acme/base:2 not found: manifest unknown: manifest unknown",
     "Is there an image with this name and tag?"),
    ("[stage-1 1/3] FROM ghcr.io/acme/base:2", "failed to solve: ghcr.io/acme/base:2: not found",
     "Is there an image with this name and tag?"),
    ("Step 4/6 : FROM ghcr.io/acme/base:2", "toomanyrequests: You have reached your pull rate limit.",
     "Docker Hub limits anonymous pulls: docker login."),
])
def test_bases_that_cannot_be_had(built: BuildJob, step: str, said: str, hint: str) -> None:
    assert failure(built, said, step=step).hint == hint


@pytest.mark.parametrize(("said", "output", "words"), [
    ("returned a non-zero code: 1", "ld: No space left on device", "docker system prune"),
    ("returned a non-zero code: 1", "exec /app: exec format error", "another platform"),
    ("image was found but does not match the specified platform: wanted linux/arm64", "", "does not exist for this platform"),
    ("the --mount option requires BuildKit", "", "Install docker buildx"),
    ("returned a non-zero code: 6", "curl: (6) Could not resolve host: example.com", "Behind a proxy"),
    ("returned a non-zero code: 127", "/bin/sh: make: not found", "A command is missing"),
    ("exec: \"make\": executable file not found in $PATH: unknown", "", "A command is missing"),
    ("returned a non-zero code: 126", "", "chmod +x"),
    ("returned a non-zero code: 137", "", "out of memory"),
    ("returned a non-zero code: 1", "error: tests failed", ""),
])
def test_the_hint_goes_by_what_the_step_said(built: BuildJob, said: str, output: str, words: str) -> None:
    error = failure(built, said, step="Step 3/6 : RUN make     all", output=[output] if output else [])
    assert words in error.hint
    assert bool(words) == bool(error.hint)


def test_a_missing_source_is_looked_for_below_the_context(built: BuildJob) -> None:
    assert "below web." in failure(built, "stat data: file does not exist", step="Step 6/6 : COPY data /x").hint


def test_long_instructions_are_cut(built: BuildJob) -> None:
    error = failure(built, "exit code: 1", step="Step 3/6 : RUN " + "x" * 500)
    assert len(error.message) < 200
    assert "…" in error.message
