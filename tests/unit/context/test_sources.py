"""What a Dockerfile takes from its context, and what it needs BuildKit for."""

from __future__ import annotations

import pytest

from devloop.context.dockerfile import parse
from devloop.context.sources import needs_buildkit, sources
from devloop.errors import BuildError, ConfigError


def taken(text: str, *, target: str = "", buildkit: bool = True, **args: str) -> list[str]:
    found = sources(parse(text.encode(), "Dockerfile"), args, target, buildkit=buildkit)
    return [("?" if source.optional else "") + source.pattern for source in found]


@pytest.mark.parametrize(("line", "expected"), [
    ("COPY . .", ["."]), ("COPY a b/ /c/./d /dest/", ["a", "b", "c/d"]), ("COPY ./a/../b /", ["b"]), ("COPY /../b /", ["b"]),
    ('COPY ["a b", "c", "/d/"]', ["a b", "c"]), ("COPY [a] /", ["[a]"]), ("COPY a*.txt /", ["a*.txt"]), ("COPY a\\ b /", ["a", "b"]),
    ("COPY --chown=1:1 a /", ["a"]), ("COPY --link --chmod=755 --exclude=*.md --parents a/./b /", ["a/b"]), ("COPY a/**/b /", ["?a"]),
    ("COPY <<EOF b /\nx\nEOF", ["b"]), ("ADD https://e.org/x a /", ["a"]), ("ADD git@e.org:x/y.git /", []),
    ("ADD a.tar.gz /", ["a.tar.gz"]),
    ("COPY --from=other a /", []), ("COPY --from=0 a /", []), ("RUN --mount=type=bind,source=s,target=/t make", ["s"]),
    ("RUN --mount=target=/t --mount=type=cache,target=/c --mount=type=secret,id=x make", ["."]), ("RUN --mount=from=x,source=s make", []),
    ("RUN --mount=source=a*b,target=/t make", ["a\\*b"]), ("RUN make", []), ("ONBUILD COPY a /", ["?a"]), ("ONBUILD RUN x", []),
    # variables
    ("ARG D=dist\nCOPY $D/x ${D}y /", ["dist/x", "disty"]), ("ARG D\nCOPY a/$D/x /", ["?a"]), ("COPY $HOME/x /", ["?."]),
    ("COPY a$B /", ["?."]),
    ("ARG D\nCOPY ${D:-src} /", ["src"]), ("ENV D=dist E='a b'\nCOPY $D/${E} /", ["dist/a b"]), ("ENV D dist old\nCOPY $D /", ["dist old"]),
    ("ENV D=1\nENV D=2 E=$D\nCOPY $D$E /", ["21"]), ("ENV D=env\nARG D=arg\nCOPY $D /", ["env"]),
    ("ARG TARGETARCH\nCOPY bin/app-$TARGETARCH /", ["?bin"]),
    ("ARG D=a E=$D/b\nCOPY $E /", ["a/b"]), ("ARG D=\nCOPY $D/x /", ["x"]),
])
def test_sources_of_one_instruction(line: str, expected: list[str]) -> None:
    assert taken(f"FROM busybox\n{line}\n") == expected


def test_build_arguments_win_and_globals_must_be_asked_for() -> None:
    text = "ARG A=1\nARG B=${A}b\nFROM x AS one\nARG A\nARG C=3\nCOPY $A $B $C /\nFROM one\nCOPY $A /\n"
    assert taken(text) == ["1", "?.", "3", "1"]
    assert taken(text, A="9", C="8") == ["9", "?.", "8", "9"]
    assert taken("ARG A=1\nFROM x\nARG A=2\nCOPY $A /") == ["2"]


STAGES = ("ARG BASE=one\nFROM x AS one\nCOPY 1 /\nFROM y AS two\nCOPY 2 /\nFROM ${BASE}\nCOPY 3 /\n"
          "COPY --from=TWO a /\nFROM z as last\nCOPY 4 /\nRUN --mount=from=1 x")


@pytest.mark.parametrize(("target", "classic", "buildkit"), [
    ("", ["1", "2", "3", "4"], ["2", "4"]), ("one", ["1"], ["1"]), ("TWO", ["1", "2"], ["2"]), ("2", ["1", "2", "3"], ["1", "2", "3"]),
])
def test_the_classic_builder_runs_every_stage_up_to_the_target_and_buildkit_those_it_needs(
        target: str, classic: list[str], buildkit: list[str]) -> None:
    assert taken(STAGES, target=target, buildkit=False) == classic
    assert taken(STAGES, target=target, buildkit=True) == buildkit


def test_an_onbuild_image_may_take_everything() -> None:
    assert taken("FROM node:6-onbuild") == ["?."]


def test_an_unknown_target_lists_the_stages() -> None:
    with pytest.raises(ConfigError, match="has no stage 'tow', did you mean 'two'") as caught:
        taken(STAGES, target="tow")
    assert "one, two, last" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        taken("FROM x", target="1")
    assert "None of its stages has a name" in caught.value.hint


@pytest.mark.parametrize("source", ["../x", "a/../../x", "..", "./.."])
def test_a_source_above_the_context_is_an_error_with_its_line(source: str) -> None:
    with pytest.raises(BuildError, match=r"Dockerfile:3: COPY takes '.*', which lies above the context"):
        taken(f"FROM x\n\nCOPY {source} /")


@pytest.mark.parametrize(("text", "why"), [
    ("FROM x\nRUN a\nCOPY --chown=1 --from=y a /\nADD --chown=1 a /\nHEALTHCHECK --interval=5s CMD x\nRUN a <b", ""),
    ("# syntax=docker/dockerfile:1\nFROM x", "# syntax= on line 1"),
    ("FROM x\n\nRUN --mount=type=cache,target=/a x", "RUN --mount on line 3"),
    ("FROM x\nRUN --network=none x", "RUN --network on line 2"), ("FROM x\nRUN --security=insecure x", "RUN --security on line 2"),
    ("FROM x\nCOPY --chown=1 --chmod=755 a /", "COPY --chmod on line 2"), ("FROM x\nCOPY --link a /", "COPY --link on line 2"),
    ("FROM x\nCOPY --parents a /", "COPY --parents on line 2"), ("FROM x\nCOPY --exclude=b a /", "COPY --exclude on line 2"),
    ("FROM x\nADD --checksum=sha256:0 https://e.org/x /", "ADD --checksum on line 2"),
    ("FROM x\nADD --keep-git-dir a /", "ADD --keep-git-dir on line 2"),
    ("FROM x\nRUN <<EOF\na\nEOF", "the here-document <<EOF on line 2"),
    ("FROM x\nONBUILD RUN --mount=target=/a x", "RUN --mount on line 2"),
    ("FROM x\nADD git@github.com:a/b.git /", "ADD git@github.com:a/b.git on line 2"),
    ("FROM x\nADD https://e.org/a.git#v1 /", "ADD https://e.org/a.git#v1 on line 2"),
    ("FROM x\nADD https://e.org/a.tar.gz /", ""), ("FROM --platform=$BUILDPLATFORM x", "FROM --platform=$BUILDPLATFORM on line 1"),
    ("FROM --platform=linux/amd64 x", ""), ("ARG P=linux/amd64\nFROM --platform=$P x", ""),
    ("FROM x\nARG TARGETARCH\nRUN $TARGETARCH", "ARG TARGETARCH on line 2"),
    ("FROM x\nARG TARGETARCH=amd64", ""), ("ARG TARGETARCH=amd64\nFROM x\nARG TARGETARCH", ""), ("FROM x\nARG VERSION", ""),
])
def test_the_first_thing_that_needs_buildkit_is_named(text: str, why: str) -> None:
    assert needs_buildkit(parse(text.encode(), "x"), {}) == why


def test_a_platform_given_as_build_argument_needs_no_buildkit() -> None:
    assert needs_buildkit(parse(b"FROM --platform=$BUILDPLATFORM x\nARG TARGETOS", "x"), {"BUILDPLATFORM": "linux/amd64",
    "TARGETOS": "linux"}) == ""
