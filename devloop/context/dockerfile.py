"""A Dockerfile as a list of instructions: directives, comments, continuations and here-documents as BuildKit's parser has them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from devloop.context.model import Instruction
from devloop.context.words import expand, split
from devloop.errors import BuildError

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_FROM = re.compile(r"(\S+)(?:\s+as\s+(\S+))?", re.IGNORECASE)
_TAKES_HEREDOCS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True)
class Dockerfile:
    """`name` is the file as the user knows it, for messages; `syntax_line` where ``# syntax=`` stands, 0 without one."""

    name: str
    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    syntax_line: int = 0


def parse(data: bytes, name: str) -> Dockerfile:
    """Raises `BuildError` with the line for what no builder would understand. Unknown instructions are left to the builder."""
    lines = [line.rstrip("\r") for line in data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n")]
    directives = _directives(lines)
    escape = directives.get("escape", ("\\", 0))[0]
    if escape not in ("\\", "`"):
        raise BuildError(f"{name}:{directives['escape'][1]}: the escape directive is '{escape}', but it can only be \\ or `.",
                         hint="Correct the first lines of the Dockerfile.")
    reader = _Reader(lines, name, escape)
    instructions: list[Instruction] = []
    stage, stage_name = -1, ""
    while (instruction := reader.next()) is not None:
        if instruction.keyword == "FROM":
            stage += 1
            match = _FROM.fullmatch(instruction.arguments)
            stage_name = (match[2] or "").lower() if match else ""
        instructions.append(replace(instruction, stage=stage, stage_name=stage_name))
    if stage < 0:
        raise BuildError(f"{name} has no FROM: there is nothing to build.", hint="A Dockerfile begins with FROM and a base image.")
    return Dockerfile(name, tuple(instructions), escape, directives.get("syntax", ("", 0))[1])


def instruction_of(text: str, escape: str, line: int, end_line: int = 0) -> Instruction:
    """One instruction from its joined line; here-documents are named, not read."""
    keyword, arguments = (*text.split(None, 1), "")[:2]
    arguments = arguments.strip()
    flags: list[str] = []
    while arguments.startswith("--"):
        word = split(arguments, escape)[0]
        arguments = arguments[len(word) :].lstrip()
        if word == "--":
            break
        flags.append(word)
    keyword = keyword.upper()
    words = split(arguments, escape) if _may_have_heredocs(keyword, arguments) else []
    heredocs = tuple(name for word in words if (name := heredoc(word)[0]))
    return Instruction(keyword, tuple(flags), arguments, heredocs, line, end_line or line, text.strip())


def heredoc(word: str) -> tuple[str, bool]:
    """The name that ends the here-document which `word` begins (``<<-EOF``), or empty; and whether leading tabs are dropped."""
    match = _HEREDOC.fullmatch(word)
    return (expand(match[2], {}, "\\"), bool(match[1])) if match else ("", False)


def _may_have_heredocs(keyword: str, arguments: str) -> bool:
    return keyword in _TAKES_HEREDOCS and "<<" in arguments and not arguments.startswith("[")


def _directives(lines: list[str]) -> dict[str, tuple[str, int]]:
    """Values and lines of the directives; they stand before everything else, comments and empty lines included."""
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.strip())
        if match is None or match[1].lower() not in ("syntax", "escape", "check"):
            break
        found.setdefault(match[1].lower(), (match[2], number))
    return found


class _Reader:
    def __init__(self, lines: list[str], name: str, escape: str) -> None:
        self._lines = lines
        self._name = name
        self._escape = escape
        self._at = 0
        mark = re.escape(escape)
        self._continued = re.compile(rf"(?<!{mark}){mark}[ \t]*$")

    def next(self) -> Instruction | None:
        text, line = "", 0
        while self._at < len(self._lines):
            raw = self._lines[self._at]
            self._at += 1
            blank = not raw.strip() or raw.lstrip().startswith("#")
            if blank:   # also in the middle of an instruction, where Docker drops both
                continue
            line = line or self._at
            match = self._continued.search(raw)
            text += raw[: match.start()] if match else raw
            if match is None:
                break
        return self._with_heredocs(instruction_of(text, self._escape, line, self._at)) if text.strip() else None

    def _with_heredocs(self, instruction: Instruction) -> Instruction:
        if not instruction.heredocs:
            return instruction
        for word in split(instruction.arguments, self._escape):
            name, chomp = heredoc(word)
            if not name:
                continue
            while self._at < len(self._lines):
                raw = self._lines[self._at]
                self._at += 1
                if (raw.lstrip("\t") if chomp else raw) == name:
                    break
            else:
                raise BuildError(f"{self._name}:{instruction.line}: the here-document <<{name} does not end.",
                                 hint=f"Put {name} on a line of its own after its last line.")
        return replace(instruction, end_line=self._at)
