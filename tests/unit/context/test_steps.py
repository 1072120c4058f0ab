"""Which line of the Dockerfile a step of the build output is."""

from __future__ import annotations

import pytest

from devloop.context.dockerfile import parse
from devloop.context.steps import step_line

TEXT = """ARG V=1
FROM golang AS build
WORKDIR /src
ENV A=1
COPY go.mod \\
     go.sum ./
RUN go build
FROM scratch
COPY --from=build /app /app
FROM build
RUN test
"""


@pytest.mark.parametrize(("output", "line"), [
    ("Step 1/10 : ARG V=1", 1), ("Step 5/10 : COPY go.mod      go.sum ./", 5), ("Step 6/10 : RUN go build", 7),
    ("Step 10/10 : RUN test", 11),
    ("Step 11/11 : LABEL a=b", None), ("Step 5/10 : RUN something else", None),
    ("#9 [build 1/4] FROM docker.io/library/golang", 2), ("#9 [build 2/4] WORKDIR /src", 3), ("#9 [build 3/4] COPY go.mod go.sum ./", 5),
    ("[build 4/4] RUN go build", 7), ("[linux/amd64 build 4/4] RUN go build", 7), ("[stage-1 1/1] COPY --from=build /app /app", 9),
    ("[stage-2 1/1] RUN test", 11), ("[build 9/9] RUN test", 11), ("[internal] load build definition", None), ("something", None),
])
def test_a_step_has_a_line(output: str, line: int | None) -> None:
    assert step_line(parse(TEXT.encode(), "x").instructions, output) == line


def test_a_single_nameless_stage() -> None:
    assert step_line(parse(b"FROM a\nRUN b\nRUN c", "x").instructions, "#7 [3/3] RUN c") == 3
