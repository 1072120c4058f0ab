"""Dockerfiles, read as the builders read them."""

from __future__ import annotations

import pytest

from devloop.context.dockerfile import parse
from devloop.context.words import UNKNOWN, expand, split
from devloop.errors import BuildError


def lines(text: str) -> list[tuple[str, str, int, int]]:
    return [(i.keyword, i.arguments, i.line, i.end_line) for i in parse(text.encode(), "Dockerfile").instructions]


@pytest.mark.parametrize(("text", "expected"), [
    ("FROM a\nRUN b", [("FROM", "a", 1, 1), ("RUN", "b", 2, 2)]),
    ("\ufefffrom a\r\n\r\nrun\tb\r\n", [("FROM", "a", 1, 1), ("RUN", "b", 3, 3)]),
    ("# hello\nFROM a\n  # indented\n  RUN b # no comment", [("FROM", "a", 2, 2), ("RUN", "b # no comment", 4, 4)]),
    ("FROM a\nRUN b \\\n  && c \\ \n && d", [("FROM", "a", 1, 1), ("RUN", "b   && c  && d", 2, 4)]),
    ("FROM a\nRUN b \\\n# comment\n\n  c", [("FROM", "a", 1, 1), ("RUN", "b   c", 2, 5)]),
    ("# escape=`\nFROM a\nRUN b `\n c\nCOPY d\\ e\\", [("FROM", "a", 2, 2), ("RUN", "b  c", 3, 4), ("COPY", "d\\ e\\", 5, 5)]),
    ("# no directive\n# escape=`\nFROM a\nRUN b `\nRUN c", [("FROM", "a", 3, 3), ("RUN", "b `", 4, 4), ("RUN", "c", 5, 5)]),
    ("FROM a\nRUN b \\", [("FROM", "a", 1, 1), ("RUN", "b", 2, 2)]),
    ("FROM a\nRUN <<EOF cat\nFROM x\n# y\nEOF\nRUN c", [("FROM", "a", 1, 1), ("RUN", "<<EOF cat", 2, 5), ("RUN", "c", 6, 6)]),
    ("FROM a\nCOPY <<-\"A\" <<B /x/\n1\n\tA\n2\nB\nRUN c", [("FROM", "a", 1, 1), ("COPY", "<<-\"A\" <<B /x/", 2, 6), ("RUN", "c", 7, 7)]),
    ("FROM a\nRUN echo $((1<<2))\nCMD [\"<<EOF\"]\nENV A=<<B", [
        ("FROM", "a", 1, 1), ("RUN", "echo $((1<<2))", 2, 2), ("CMD", "[\"<<EOF\"]", 3, 3), ("ENV", "A=<<B", 4, 4)]),
])
def test_instructions_have_their_lines(text: str, expected: list[tuple[str, str, int, int]]) -> None:
    assert lines(text) == expected


def test_flags_stages_and_text() -> None:
    found = parse(b"ARG V=1\nFROM --platform=linux/amd64 a AS Build\nRUN --mount=type=cache,target=/x --network=none \\\n make\n"
                  b"FROM b\nCOPY --from=build -- --odd /x\n", "Dockerfile").instructions
    assert [(i.keyword, i.stage, i.stage_name) for i in found] == [("ARG", -1, ""), ("FROM", 0, "build"), ("RUN", 0, "build"),
                                                                   ("FROM", 1, ""), ("COPY", 1, "")]
    assert found[2].flags == ("--mount=type=cache,target=/x", "--network=none")
    assert found[2].text == "RUN --mount=type=cache,target=/x --network=none  make"
    assert (found[4].flags, found[4].arguments) == (("--from=build",), "--odd /x")


@pytest.mark.parametrize(("text", "said"), [
    ("# escape=x\nFROM a", r"web/Dockerfile:1: the escape directive is 'x'"), ("", "has no FROM"), ("ARG A=1\n", "has no FROM"),
    ("FROM a\nRUN <<EOF\necho", r"web/Dockerfile:2: the here-document <<EOF does not end"),
])
def test_what_no_builder_understands_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BuildError, match=said) as caught:
        parse(text.encode(), "web/Dockerfile")
    assert caught.value.hint


def test_a_syntax_directive_has_a_line() -> None:
    assert parse(b"# escape=`\n# Syntax = docker/dockerfile:1\nFROM a", "x").syntax_line == 2
    assert parse(b"\n# syntax=docker/dockerfile:1\nFROM a", "x").syntax_line == 0


@pytest.mark.parametrize(("word", "expected"), [
    ("plain", "plain"), ("$A/x", "1/x"), ("${A}x", "1x"), ("$AB", UNKNOWN), ("a$", "a$"), (r"\$A", "$A"), ("'$A'", "$A"), ('"$A b"', "1 b"),
    (r'"\$A\x\""', r'$A\x"'), (r"a\ b", "a b"), ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""), ("${NONE:-d$A}", "d1"), ("${NONE-d}", "d"),
    ("${A:+y}", "y"), ("${EMPTY:+y}", ""), ("${EMPTY+y}", "y"), ("${NONE:+y}", ""), ("${NONE+y}x", "x"), ("${A:?no}", "1"),
    ("${NONE:?no}", UNKNOWN), ("${NONE:-${A:+${NONE:-deep}}}", "deep"), ("${A#x}", UNKNOWN), ("${NONE:-a'}'b}", "a}b"),
    ("x${A}y$B", "x1y2"),
])
def test_variables_become_their_values(word: str, expected: str) -> None:
    assert expand(word, {"A": "1", "B": "2", "EMPTY": ""}, "\\") == expected


@pytest.mark.parametrize("word", ["${A", "'a", '"a', "${}", "${A:-", "${A:-x${A}"])
def test_a_malformed_word_is_left_to_the_builder(word: str) -> None:
    assert UNKNOWN in expand(word, {"A": "1"}, "\\")


@pytest.mark.parametrize(("text", "expected"), [
    ("a b\tc", ["a", "b", "c"]), ("a='b c' d", ["a='b c'", "d"]), (r"a\ b c", [r"a\ b", "c"]), ('"a \'b" c', ['"a \'b"', "c"]), ("", []),
    (r"'a\' b", [r"'a\'", "b"]),
])
def test_words_end_at_unquoted_blanks(text: str, expected: list[str]) -> None:
    assert split(text, "\\") == expected
