""".dockerignore with Docker's own rules (moby/patternmatcher), fast enough to ask for every file of a big tree.

Order counts, the last rule that matches a path or one of its parents decides, ``!`` takes back. Neighbouring rules of one kind
are answered together, by look-ups and two regular expressions: a run of a hundred rules costs about as much as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from devloop.context.globs import SPECIAL, clean, translate
from devloop.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """One line. `pattern` is cleaned, without ``!``; `text` as written."""

    pattern: str
    negated: bool
    line: int
    text: str


class _Run:
    """Neighbouring rules that are all negated or all not: whether any of them matches a path."""

    def __init__(self, negated: bool, rules: Iterable[Rule]) -> None:
        self.negated = negated
        self._paths: set[str] = set()
        self._names: set[str] = set()
        names: list[str] = []
        paths: list[str] = []
        for rule in rules:
            pattern = rule.pattern
            rest = pattern[3:] if pattern.startswith("**/") else ""
            if not SPECIAL & set(pattern):
                self._paths.add(pattern)
            elif rest and "/" not in rest and not SPECIAL & set(rest):
                self._names.add(rest)
            elif rest and "/" not in rest and "**" not in rest and "[" not in rest:
                names.append(translate(rest))
            else:
                paths.append(_regex(pattern))
        self._name_regex = re.compile("|".join(names)) if names else None
        self._path_regex = re.compile("|".join(paths), re.DOTALL) if paths else None

    def matches(self, path: str, name: str) -> bool:
        return (name in self._names or path in self._paths
                or (self._name_regex is not None and self._name_regex.fullmatch(name) is not None)
                or (self._path_regex is not None and self._path_regex.fullmatch(path) is not None))


def _regex(pattern: str) -> str:
    """A whole pattern. ``**tail`` is a plain suffix for Docker (``**.log`` matches ``a/b.log``), unlike ``**`` elsewhere."""
    tail = pattern[2:]
    if pattern.startswith("**") and tail and tail[0] != "/" and not SPECIAL & set(tail):
        return ".*" + re.escape(tail)
    return translate(pattern, deep=True)


class IgnoreRules:
    """The rules of one ignore file (`source`: its name for messages), or none.

    What a walk knows of a directory is an int: the runs that matched it or a directory above. Docker hands the same down;
    asking for each path from scratch would differ where a rule takes back the parent of what an earlier one ignores.
    """

    def __init__(self, rules: Iterable[Rule] = (), source: str = "") -> None:
        self.rules = tuple(rules)
        self.source = source
        self._runs = [_Run(negated, group) for negated, group in groupby(self.rules, key=lambda rule: rule.negated)]
        self._back = [_components(rule.pattern) for rule in self.rules if rule.negated]

    @classmethod
    def parse(cls, data: bytes, source: str) -> IgnoreRules:
        """Raises `ConfigError` with file and line for a pattern that is malformed."""
        rules = []
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n"), 1):
            if line.startswith("#") or not line.strip():
                continue
            text = line.strip()
            negated = text.startswith("!")
            pattern = text.removeprefix("!").strip()
            if not pattern:
                raise ConfigError(f"{source}:{number}: '!' takes back nothing.", hint="Write the pattern after it, or remove the line.")
            pattern = clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
            try:
                translate(pattern)
            except ValueError as error:
                raise ConfigError(f"{source}:{number}: '{text}' is not a valid pattern: {error}.",
                                  hint="Escape the character with a backslash to mean it literally.") from None
            rules.append(Rule(pattern, negated, number, text))
        return cls(rules, source)

    def step(self, path: str, name: str, above: int) -> tuple[bool, int]:
        """Whether `path` (whose last component is `name`) is ignored, and what to hand down; `above` is the parent's (root: 0)."""
        ignored = False
        known = above
        for bit, run in enumerate(self._runs):
            if above >> bit & 1:
                ignored = not run.negated
            elif run.negated == ignored and run.matches(path, name):
                ignored = not run.negated
                known |= 1 << bit
        return ignored, known

    def state(self, path: str) -> tuple[bool, int]:
        """The same for one path (``.``: the context itself), from scratch."""
        ignored, known = False, 0
        for prefix in _prefixes(path):
            ignored, known = self.step(prefix, prefix.rpartition("/")[2], known)
        return ignored, known

    def may_take_back_below(self, directory: str) -> bool:
        """Whether a ``!`` rule could match something inside an ignored directory; where none can, the walk stops there."""
        parts = directory.split("/")
        return any(_reaches_below(pattern, parts) for pattern in self._back)

    def reason(self, path: str) -> Rule | None:
        """The rule to blame for `path` being ignored."""
        blamed = None
        for rule in self.rules:
            run = _Run(rule.negated, [rule])
            if not rule.negated and any(run.matches(prefix, prefix.rpartition("/")[2]) for prefix in _prefixes(path)):
                blamed = rule
        return blamed


def _prefixes(path: str) -> Iterator[str]:
    """``a``, ``a/b``, ``a/b/c``."""
    if path == ".":
        return
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path


def _components(pattern: str) -> list[re.Pattern[str] | None]:
    """One expression per path component; None where ``**`` makes everything possible from there on."""
    return [None if "**" in part else re.compile(translate(part), re.DOTALL) for part in _split(pattern)]


def _split(pattern: str) -> list[str]:
    """At the slashes that are not inside of ``[...]``."""
    return re.findall(r"(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+", pattern)


def _reaches_below(pattern: list[re.Pattern[str] | None], parts: list[str]) -> bool:
    for expression, part in zip(pattern, parts, strict=False):
        if expression is None:
            return True
        if not expression.fullmatch(part):
            return False
    return len(pattern) > len(parts)
