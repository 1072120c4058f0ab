"""Words and variables as a Dockerfile writes them: quotes, escapes, ``$NAME``, ``${NAME:-default}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

UNKNOWN = "\0"
"""Stands in an expanded word for a value that only the build knows, such as a variable of the base image."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODIFIER = re.compile(r":?[-+?]|:?[^}]?")


def split(text: str, escape: str) -> list[str]:
    """The words of `text`, quotes and escapes kept: white space inside of them does not split."""
    words: list[str] = []
    word = ""
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == escape and quote != "'" and at < len(text):
            word += char + text[at]
            at += 1
        elif char.isspace() and not quote:
            words += [word] if word else []
            word = ""
        else:
            if char in "'\"" and quote in ("", char):
                quote = "" if quote else char
            word += char
    return words + ([word] if word else [])


def expand(word: str, env: Mapping[str, str], escape: str) -> str:
    """The word without quotes and escapes, variables replaced; `UNKNOWN` for those that are not in `env`, or cannot be understood."""
    expansion = _Expansion(word, env, escape)
    return expansion.until("") + (UNKNOWN if expansion.broken else "")


class _Expansion:
    def __init__(self, text: str, env: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._env = env
        self._escape = escape
        self._at = 0
        self.broken = False   # a quote or a brace is not closed

    def _next(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        return char

    def until(self, end: str) -> str:
        """Up to the unquoted `end`, which is consumed; up to the end of the text where `end` is empty."""
        out = ""
        quoted = False
        while (char := self._next()) != "" and (char != end or quoted):
            if char == "'" and not quoted:
                literal, closed, _ = self._text[self._at :].partition("'")
                out += literal
                self._at += len(literal) + 1
                self.broken |= not closed
            elif char == '"':
                quoted = not quoted
            elif char == self._escape:
                following = self._next()
                out += following if not quoted or following in ('"', "$", self._escape) else char + following
            elif char == "$":
                out += self._variable()
            else:
                out += char
        self.broken |= quoted or char != end
        return out

    def _variable(self) -> str:
        braces = self._text.startswith("{", self._at)
        self._at += braces
        match = _NAME.match(self._text, self._at)
        if match is None:
            return UNKNOWN if braces else "$"
        self._at = match.end()
        value = self._env.get(match[0])
        return self._modified(value) if braces else UNKNOWN if value is None else value

    def _modified(self, value: str | None) -> str:
        match = _MODIFIER.match(self._text, self._at)
        modifier = match[0] if match else ""
        self._at += len(modifier)
        argument = self.until("}")
        there = value is not None and (value != "" or not modifier.startswith(":"))
        if modifier.endswith("-"):
            return value if there and value is not None else argument
        if modifier.endswith("+"):
            return argument if there else ""
        if value is None or not there or (modifier and not modifier.endswith("?")):
            return UNKNOWN   # unset, or one of BuildKit's newer modifiers
        return value
