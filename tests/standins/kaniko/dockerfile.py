"""A Dockerfile's stages and instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from . import words

FLAGS = {"ADD": ("chown", "chmod"), "COPY": ("from", "chown", "chmod"), "RUN": ("mount",), "FROM": ("platform",),
         "HEALTHCHECK": ("interval", "timeout", "start-period", "retries")}
KNOWN = ("ADD", "COPY", "FROM", "MAINTAINER", "RUN", "WORKDIR")
METADATA = ("ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME")
HEREDOC = re.compile(r"""(?<![<\w])<<(-?)(['"]?)([A-Za-z_][\w.]*)\2""")


class DockerfileError(Exception):
    pass


@dataclass
class Instruction:
    name: str
    text: str                   # as it stands in the file, continued lines joined
    rest: str
    line: int
    flags: list[tuple[str, str]] = field(default_factory=list)
    heredocs: list[tuple[str, str]] = field(default_factory=list)      # name and text

    @property
    def array(self) -> list[str] | None:
        """The words of the JSON form; None: it is the shell form."""
        try:
            parsed = json.loads(self.rest)
        except ValueError:
            return None
        return parsed if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed) else None

    @property
    def words(self) -> list[str]:
        return array if (array := self.array) is not None else words.split(self.rest)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Of ENV and LABEL: ``K=V K=V``, or ``K V``, and of ARG: ``K K=V``."""
        found = words.split(self.rest)
        if self.name != "ARG" and "=" not in found[0]:
            return [(found[0], self.rest[len(found[0]):].strip())]
        return [(key, value) for key, _, value in (word.partition("=") for word in found)]

    def flag(self, name: str) -> str:
        return next((value for key, value in self.flags if key == name), "")

    @property
    def metadata_only(self) -> bool:
        return self.name in METADATA or (self.name == "WORKDIR" and self.rest == "/")

    @property
    def keyed(self) -> bool:
        """The keys of all that follows depend on it."""
        return self.name not in METADATA


@dataclass
class Stage:
    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


def parse(text: str) -> tuple[list[Instruction], list[Stage]]:
    """The ARGs before the first FROM, and the stages."""
    found = list(instructions(text))
    if not found:
        raise DockerfileError("file with no instructions")
    for instruction in found:
        _check(instruction)
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for instruction in found:
        if instruction.name == "FROM":
            stages.append(_stage(instruction))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif instruction.name == "ARG":
            arguments.append(instruction)
        else:
            raise DockerfileError("no build stage in current context")
    return arguments, stages


def instructions(text: str) -> list[Instruction]:
    lines = text.splitlines()
    found: list[Instruction] = []
    at = 0
    while at < len(lines):
        line, start = lines[at], at + 1
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        joined = line.strip()
        while joined.endswith("\\") and at < len(lines):
            following = lines[at]
            at += 1
            if not following.lstrip().startswith("#"):
                joined = joined[:-1] + following.rstrip()
        name, _, rest = joined.partition(" ")
        instruction = Instruction(name.upper(), joined, rest.strip(), start)
        if instruction.name in ("RUN", "COPY", "ADD"):
            at = _heredocs(instruction, lines, at)
        _flags(instruction)
        found.append(instruction)
    return found


def _heredocs(instruction: Instruction, lines: list[str], at: int) -> int:
    for tabs, _, name in HEREDOC.findall(instruction.rest):
        body: list[str] = []
        while at < len(lines) and lines[at].lstrip("\t" if tabs else "") != name:
            body.append(lines[at].lstrip("\t") if tabs else lines[at])
            at += 1
        if at == len(lines):
            raise DockerfileError(f"dockerfile parse error on line {instruction.line}: unterminated heredoc")
        at += 1
        instruction.heredocs.append((name, "".join(f"{line}\n" for line in body)))
    return at


def _flags(instruction: Instruction) -> None:
    while match := re.match(r"--([a-z][a-z-]*)(?:=(\S*))?\s*", instruction.rest):
        if instruction.name not in FLAGS:
            return
        instruction.flags.append((match.group(1), match.group(2) or ""))
        instruction.rest = instruction.rest[match.end():]


def _check(instruction: Instruction) -> None:
    def refuse(why: str) -> None:
        raise DockerfileError(f"dockerfile parse error on line {instruction.line}: {why}")

    name = instruction.name
    if name not in KNOWN + METADATA:
        refuse(f"unknown instruction: {name}")
    for flag, _ in instruction.flags:
        if flag not in FLAGS[name]:
            refuse(f"unknown flag: --{flag}")
    if not instruction.rest and name not in ("CMD", "ENTRYPOINT", "RUN"):
        several = name in ("ARG", "ENV", "EXPOSE", "LABEL", "VOLUME")
        refuse(f"{name} requires {'at least' if several else 'exactly'} one argument")
    if name in ("COPY", "ADD") and len(instruction.words) < 2:
        refuse(f"{name} requires at least two arguments, but only one was provided. Destination could not be determined")
    if name in ("ENV", "LABEL") and not all(key for key, _ in instruction.pairs):
        refuse(f"{name} names can not be blank")


def _stage(instruction: Instruction) -> Stage:
    found = instruction.words
    if len(found) == 3 and found[1].upper() == "AS":
        return Stage(found[0], found[2].lower())
    if len(found) != 1:
        raise DockerfileError(f"dockerfile parse error on line {instruction.line}: FROM requires either one or three arguments")
    return Stage(found[0], "")
