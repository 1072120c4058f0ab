"""The conformance set's data: each file is a statement of what can be seen, and below it, after ``---``, the manifests that show it.

Words of a statement:

    states     in a sentence, what is true of both targets
    needs      the case, or one line, is about something that a target may lack; `targets.LACKS` says which do, and why
    logs       POD/CONTAINER (* matches) → all the lines that it writes, in this order; ``any order:`` before them: in any
    order      lines of several containers, in the order of time
    answers    what a forward, or a port of this machine, answers: ``is`` or ``matches``
    files      what the pods left in the directory ``@DIRECTORY@`` of this machine
    steady     a forward that is asked all the time, over new connections; none may fail
    then       the files are edited (or the manifests removed) in the running session: what can be seen afterwards
    exit, says, details, config    of `endings/`: how `devloop run` ends, what it says, whose lines it shows; keys of its devloop.yaml
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ALL_FIELDS = {"states", "needs", "logs", "order", "answers", "files", "steady", "then", "exit", "says", "details", "config"}
LATER_FIELDS = {"edit", "remove", "logs", "answers"}


@dataclass(frozen=True)
class Case:
    """`statement` and `manifests` with the target's values in them."""

    name: str
    statement: Mapping[str, Any]
    manifests: str

    @property
    def then(self) -> Mapping[str, Any]:
        return self.statement.get("then") or {}

    @property
    def forwards(self) -> list[tuple[str, Any]]:
        """Every forward that is asked, once: resource and port."""
        asked = [*self.statement.get("answers", ()), *self.then.get("answers", ()), self.statement.get("steady") or {}]
        return list(dict.fromkeys((a["forward"], a["port"]) for a in asked if "forward" in a))

    def edited(self) -> str:
        text = self.manifests
        for old, new in self.then.get("edit", {}).items():
            assert text.count(old) == 1, f"{self.name}: {old!r} is there {text.count(old)} times"
            text = text.replace(old, new)
        return text


def statements(group: str) -> dict[str, Mapping[str, Any]]:
    """The statements of ``together`` or ``endings``, by case, with ``@NAME@`` in them."""
    return {file.stem: yaml.safe_load(file.read_text().partition("\n---\n")[0]) for file in sorted((HERE / group).glob("*.yaml"))}


def read(file: Path, values: Mapping[str, Any]) -> Case:
    """`values`: what ``@NAME@`` stands for."""
    text = re.sub(r"@([A-Z_]+\d?)@", lambda match: str(values[match[1]]), file.read_text())
    head, _, manifests = text.partition("\n---\n")
    statement = yaml.safe_load(head)
    unknown = (statement.keys() - ALL_FIELDS) | ((statement.get("then") or {}).keys() - LATER_FIELDS)
    assert not unknown, f"{file.name}: {unknown}"
    return Case(file.stem, statement, manifests)


@dataclass(frozen=True)
class Lines:
    """What one container is expected to write."""

    expected: Sequence[Any]
    ordered: bool

    @classmethod
    def of(cls, stated: Any, lacks: Container[str]) -> Lines:
        """Without the lines that need what the target lacks."""
        ordered = not isinstance(stated, dict)
        lines = stated if ordered else stated["any order"]
        return cls([line for line in lines if not isinstance(line, dict) or line.get("needs") not in lacks], ordered)

    def shown(self) -> list[str]:
        return [str(line.get("line", line.get("matches"))) if isinstance(line, dict) else str(line) for line in self.expected]

    def match(self, lines: Sequence[str]) -> bool:
        """Whether these are exactly the lines that are expected."""
        if len(lines) != len(self.expected):
            return False
        if self.ordered:
            return all(is_it(expected, line) for expected, line in zip(self.expected, lines, strict=True))
        return all(any(is_it(expected, line) for line in lines) for expected in self.expected)


def is_it(expected: Any, text: str) -> bool:
    """``text``, ``{line: text}`` or ``{matches: regular expression}``."""
    if isinstance(expected, dict) and "matches" in expected:
        return re.fullmatch(expected["matches"], text) is not None
    return text == str(expected.get("line", expected.get("is")) if isinstance(expected, dict) else expected)
