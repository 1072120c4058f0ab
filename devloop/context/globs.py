"""Go's ``filepath.Match`` as Python regular expressions: the wildcards of COPY, ADD and .dockerignore."""

from __future__ import annotations

import posixpath
import re

SPECIAL = frozenset("*?[\\")


def translate(pattern: str, *, deep: bool = False) -> str:
    """The regular expression of a pattern, for ``fullmatch``. `deep`: ``**`` crosses directories, as in .dockerignore.

    Raises ValueError where Go reports a bad pattern: an open ``[``, an empty class, a ``\\`` at the end.
    """
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*" and deep and pattern.startswith("*", at):
            at += 2 if pattern.startswith("/", at + 1) else 1
            out.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif char == "*":
            if out[-1:] != ["[^/]*"]:
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            text, at = _class(pattern, at)
            out.append(text)
        elif char == "\\":
            if at == len(pattern):
                raise ValueError("it ends in a backslash")
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern.startswith("^", at)
    at += negated
    items: list[str] = []
    empty = True
    while empty or not pattern.startswith("]", at):
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        if low <= high:
            items.append(f"{re.escape(low)}-{re.escape(high)}")
        empty = False
    if not items:   # only ranges that are upside down: Go matches none of them
        return (r"[\s\S]" if negated else r"[^\s\S]"), at + 1
    return f"[{'^' if negated else ''}{''.join(items)}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern.startswith("\\", at):
        at += 1
    elif pattern[at : at + 1] in ("-", "]"):
        raise ValueError("its [...] is malformed")
    if at >= len(pattern):
        raise ValueError("its [ is not closed")
    return pattern[at], at + 1


def clean(path: str) -> str:
    """Go's ``filepath.Clean``: no ``//``, no ``.`` or ``..`` that can be resolved, no trailing slash; ``.`` for nothing."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
