"""What is wrong in devloop.yaml, and where: one `ConfigError` for all that was found, each with its source line and a caret."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from devloop.errors import ConfigError

MAX_SHOWN = 20
MAX_LINE = 120
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML's own


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file; `line` and `column` count from 1, in characters. `width`: how many of them are meant."""

    line: int
    column: int
    file: str
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """`path` is the place in the config (``build.artifacts[0].image``; empty: the file as such).

    `unset`: only that an environment variable is not there, which is no concern of a profile that is not used.
    """

    at: Position
    path: str
    text: str
    unset: bool = False

    def __str__(self) -> str:
        return printable(f"{self.at}: {self.path}: {self.text}" if self.path else f"{self.at}: {self.text}")


@dataclass(frozen=True)
class Source:
    """A config file's text, and its name as the user would write it."""

    name: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        return _LINE_BREAK.split(self.text)

    def position(self, offset: int, width: int = 1) -> Position:
        """The place of the character number `offset` (from 0)."""
        before = _LINE_BREAK.split(self.text[:offset])
        return Position(len(before), len(before[-1]) + 1, self.name, width)

    def error(self, problems: Iterable[Problem]) -> ConfigError:
        """All problems as one error, in the file's order. Of several at one place the first stands for all."""
        at_place: dict[tuple[int, int], Problem] = {}
        for problem in problems:
            at_place.setdefault((problem.at.line, problem.at.column), problem)
        first, *others = (at_place[place] for place in sorted(at_place))
        details = self._excerpt(first.at)
        for problem in others[: MAX_SHOWN - 1]:
            details += ["", str(problem), *self._excerpt(problem.at)]
        if len(others) >= MAX_SHOWN:
            details += ["", f"... and {len(others) - MAX_SHOWN + 1} more errors in {self.name}"]
        return ConfigError(str(first), details=details)

    def _excerpt(self, at: Position) -> list[str]:
        """The source line and a caret below what is meant."""
        line = self.lines[at.line - 1] if at.line <= len(self.lines) else ""
        start = min(at.column - 1, len(line))
        cut = max(0, start + min(at.width, MAX_LINE) - MAX_LINE)
        shown = printable(line[cut : cut + MAX_LINE].expandtabs(1))
        carets = max(1, min(at.width, len(shown) - (start - cut)))
        number = str(at.line)
        before, meant = shown[: start - cut], shown[start - cut : start - cut + carets]
        return [f"{number:>4} | {shown}".rstrip(),
                f"{'':>{max(4, len(number))}} | {' ' * _cells(before)}{'^' * max(1, _cells(meant))}"]


def printable(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
