"""Words of a Dockerfile: how a line is split into them, and how variables and quotes in them are replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#]")
QUOTES = "'\""


def split(line: str) -> list[str]:
    """At blanks that are not quoted; quotes and backslashes stay."""
    return [match.group() for match in re.finditer(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*"|['"\\])+""", line)]


def expand(word: str, environ: Mapping[str, str]) -> str:
    """The word with its variables' values, without its quotes."""
    result, _ = _expand(word, 0, environ, "")
    return result


def _expand(word: str, at: int, environ: Mapping[str, str], end: str) -> tuple[str, int]:
    out: list[str] = []
    quote = ""
    while at < len(word):
        char = word[at]
        if not quote and end and char == end:
            return "".join(out), at + 1
        if char == "'" and quote != '"':
            quote = "" if quote else "'"
        elif char == '"' and quote != "'":
            quote = "" if quote else '"'
        elif char == "\\" and quote != "'" and at + 1 < len(word):
            at += 1
            out.append(word[at] if not quote or word[at] in '"$\\' else "\\" + word[at])
        elif char == "$" and quote != "'":
            value, at = _variable(word, at + 1, environ)
            out.append(value)
            continue
        else:
            out.append(char)
        at += 1
    if end or quote:
        raise ValueError(f"unexpected end of statement while looking for matching {'double-quote' if quote else end}")
    return "".join(out), at


def _variable(word: str, at: int, environ: Mapping[str, str]) -> tuple[str, int]:
    braced = word[at:at + 1] == "{"
    match = NAME.match(word, at + braced)
    if not match:
        return "$", at
    name, at = match.group(), match.end()
    if not braced:
        return environ.get(name, ""), at
    if word[at:at + 1] == "}":
        return environ.get(name, ""), at + 1
    operator = re.compile(r":?[-+?]").match(word, at)
    if not operator:
        raise ValueError(f"unsupported modifier ({word[at:at + 2]}) in substitution")
    other, at = _expand(word, operator.end(), environ, "}")
    given = bool(environ.get(name)) if operator.group().startswith(":") else name in environ
    if operator.group()[-1] == "+":
        return other if given else "", at
    if operator.group()[-1] == "?" and not given:
        raise ValueError(f"{name}: {other or 'not set'}")
    return environ[name] if given else other, at
