"""What a Dockerfile takes from its context, and whether it needs BuildKit for that or for anything else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from devloop.config.suggest import did_you_mean
from devloop.context.dockerfile import Dockerfile, heredoc, instruction_of
from devloop.context.globs import SPECIAL, clean
from devloop.context.model import Instruction
from devloop.context.words import UNKNOWN, expand, split
from devloop.errors import BuildError, ConfigError

_REMOTE = re.compile(r"(?:https?|ftp|git|ssh)://|git@")
_BLANK = re.compile(r"[\t\v\f\r ]+")
PLATFORM_ARGS = frozenset(f"{side}{part}" for side in ("TARGET", "BUILD") for part in ("PLATFORM", "OS", "ARCH", "VARIANT"))
"""Set by BuildKit alone."""


@dataclass(frozen=True)
class Source:
    """One source of one instruction: `pattern` relative to the context (``.``: all of it), `text` as written.

    `optional`: it may match nothing, because it is more than what is really taken (a variable that only the build knows).
    """

    pattern: str
    text: str
    keyword: str
    line: int
    wildcard: bool = False
    optional: bool = False


@dataclass
class _Stage:
    index: int
    name: str
    base: str
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    needs: set[int] = field(default_factory=set)

    @property
    def values(self) -> dict[str, str]:
        return self.args | self.env   # ENV wins over ARG of the same name


def sources(dockerfile: Dockerfile, build_args: Mapping[str, str], target: str, *, buildkit: bool) -> list[Source]:
    """What the stages that are built take. BuildKit builds those the target needs, the classic builder all up to the target.

    Raises `ConfigError` for a target that is not there, `BuildError` for a source above the context.
    """
    stages = _Reading(dockerfile, build_args).stages()
    wanted = _target(dockerfile, stages, target)
    built = _needed(stages, wanted) if buildkit else range(wanted + 1)
    found = [source for index in sorted(built) for source in stages[index].sources]
    for source in found:
        if source.pattern == ".." or source.pattern.startswith("../"):
            raise BuildError(f"{dockerfile.name}:{source.line}: {source.keyword} takes '{source.text}', which lies above the context.",
                             hint="Only what is inside can be copied: make the context a directory further up in devloop.yaml.")
    return found


def needs_buildkit(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> str:
    """Why the classic builder cannot build this Dockerfile (``RUN --mount on line 7``), or empty."""
    if dockerfile.syntax_line:
        return f"# syntax= on line {dockerfile.syntax_line}"
    known = dict(build_args)
    for instruction in dockerfile.instructions:
        inner = instruction
        if instruction.keyword == "ONBUILD":
            inner = instruction_of(instruction.arguments, dockerfile.escape, instruction.line)
        for what in _buildkit_only(inner, known, dockerfile.escape):
            return f"{what} on line {instruction.line}"
    return ""


def _buildkit_only(instruction: Instruction, known: dict[str, str], escape: str) -> Iterator[str]:
    keyword = instruction.keyword
    classic = {"RUN": (), "ADD": ("--chown",), "COPY": ("--chown", "--from")}.get(keyword)
    for flag in instruction.flags:
        name = flag.partition("=")[0]
        if classic is not None and name not in classic:
            yield f"{keyword} {name}"
        if keyword == "FROM" and UNKNOWN in expand(flag, known, escape):
            yield f"FROM {flag}"
    if instruction.heredocs:
        yield f"the here-document <<{instruction.heredocs[0]}"
    if keyword == "ADD":
        yield from (f"ADD {word}" for word in _paths(instruction)[:-1] if re.match(r"git@|git://|ssh://|https?://[^#]*\.git(?:#|$)", word))
    if keyword == "ARG":
        for name, value in _assignments(instruction, escape):
            if value is not None and instruction.stage < 0:
                known.setdefault(name, expand(value, known, escape))
            elif value is None and name in PLATFORM_ARGS and name not in known and instruction.stage >= 0:
                yield f"ARG {name}"


class _Reading:
    """Goes through the instructions in order, with the variables as they are at each."""

    def __init__(self, dockerfile: Dockerfile, build_args: Mapping[str, str]) -> None:
        self._dockerfile = dockerfile
        self._build_args = build_args
        self._global: dict[str, str] = {}
        self._stages: list[_Stage] = []

    def stages(self) -> list[_Stage]:
        for instruction in self._dockerfile.instructions:
            if instruction.keyword == "FROM":
                self._from(instruction)
            elif not self._stages:
                self._arg(instruction, self._global, {})
            else:
                self._in_stage(instruction, self._stages[-1])
        return self._stages

    def _expand(self, word: str, values: Mapping[str, str]) -> str:
        return expand(word, values, self._dockerfile.escape)

    def _index(self, name: str) -> int | None:
        """Which of the stages so far is meant by a name or a number; None: an image."""
        by_name = {stage.name: stage.index for stage in self._stages if stage.name}
        if name.lower() in by_name:
            return by_name[name.lower()]
        return int(name) if name.isdecimal() and int(name) < len(self._stages) else None

    def _from(self, instruction: Instruction) -> None:
        base = self._expand((instruction.arguments.split() or [""])[0], self._global)
        before = self._index(base) if not base.isdecimal() else None
        stage = _Stage(len(self._stages), instruction.stage_name, base)
        if before is not None:
            stage.env, stage.args = dict(self._stages[before].env), dict(self._stages[before].args)
            stage.needs.add(before)
        elif "onbuild" in base:   # such an image takes files by triggers that only the Engine knows
            stage.sources.append(Source(".", ".", "FROM", instruction.line, optional=True))
        self._stages.append(stage)

    def _arg(self, instruction: Instruction, values: dict[str, str], env: dict[str, str]) -> None:
        if instruction.keyword != "ARG":
            return
        for name, default in _assignments(instruction, self._dockerfile.escape):
            if name in self._build_args:
                values[name] = self._build_args[name]
            elif default is not None:
                values[name] = self._expand(default, values | env)
            elif name in self._global:
                values[name] = self._global[name]

    def _in_stage(self, instruction: Instruction, stage: _Stage) -> None:
        if instruction.keyword == "ARG":
            self._arg(instruction, stage.args, stage.env)
        elif instruction.keyword == "ENV":
            now = stage.values   # one ENV does not see what it sets itself
            stage.env |= {name: self._expand(value or "", now) for name, value in _assignments(instruction, self._dockerfile.escape)}
        elif instruction.keyword == "ONBUILD":
            trigger = instruction_of(instruction.arguments, self._dockerfile.escape, instruction.line)
            before = len(stage.sources)
            self._takes(trigger, stage)
            stage.sources[before:] = [replace(source, optional=True) for source in stage.sources[before:]]
        else:
            self._takes(instruction, stage)

    def _takes(self, instruction: Instruction, stage: _Stage) -> None:
        flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in instruction.flags)
        if instruction.keyword in ("COPY", "ADD"):
            if "from" in flags:
                stage.needs |= {index} if (index := self._index(flags["from"])) is not None else set()
                return
            for text in _paths(instruction)[:-1]:
                if not heredoc(text)[0] and not (instruction.keyword == "ADD" and _REMOTE.match(text)):
                    stage.sources.append(_source(text, self._expand(text, stage.values), instruction))
        elif instruction.keyword == "RUN":
            for flag in instruction.flags:
                if flag.startswith("--mount="):
                    self._mount(flag.removeprefix("--mount="), instruction, stage)

    def _mount(self, text: str, instruction: Instruction, stage: _Stage) -> None:
        options = {key.strip().lower(): value for key, _, value in (part.partition("=") for part in text.split(","))}
        origin = self._expand(options.get("from", ""), stage.values)
        if origin:
            stage.needs |= {index} if (index := self._index(origin)) is not None else set()
        elif options.get("type", "bind") == "bind":
            path = options.get("source", options.get("src", "."))
            stage.sources.append(_source(path, self._expand(path, stage.values), instruction, wildcards=False))


def _source(text: str, expanded: str, instruction: Instruction, *, wildcards: bool = True) -> Source:
    """Where a component is known to the build alone, or is a ``**``, everything below what stands before it."""
    kept: list[str] = []
    cut = False
    for part in expanded.split("/"):
        if cut := UNKNOWN in part or (wildcards and part == "**"):
            break
        kept.append(part)
    path = "/".join(kept)
    pattern = clean("/" + path)[1:] or "." if expanded.startswith("/") or not path else clean(path)
    wildcard = wildcards and bool(SPECIAL & set(pattern))
    if not wildcards:
        pattern = re.sub(r"([*?\[\\])", r"\\\1", pattern)
    return Source(pattern, text, instruction.keyword, instruction.line, wildcard, optional=cut)


def _paths(instruction: Instruction) -> list[str]:
    """Sources and destination, in either form. COPY splits at white space and knows no quotes."""
    if instruction.arguments.startswith("["):
        try:
            found = json.loads(instruction.arguments)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(path, str) for path in found):
            return found
    return _BLANK.split(instruction.arguments)


def _assignments(instruction: Instruction, escape: str) -> list[tuple[str, str | None]]:
    """``NAME=value`` of ENV and ARG, values unexpanded, None where there is none; and ENV's old form ``NAME value``."""
    words = split(instruction.arguments, escape)
    if instruction.keyword == "ENV" and words and "=" not in words[0]:
        name, _, value = instruction.arguments.partition(" ")
        return [(name, value.strip())]
    pairs = (word.partition("=") for word in words)
    return [(expand(name, {}, escape), value if equals else None) for name, equals, value in pairs]


def _target(dockerfile: Dockerfile, stages: list[_Stage], target: str) -> int:
    if not target:
        return len(stages) - 1
    for stage in stages:
        if stage.name and stage.name == target.lower():
            return stage.index
    if target.isdecimal() and int(target) < len(stages):
        return int(target)
    names = [stage.name for stage in stages if stage.name]
    raise ConfigError(f"{dockerfile.name} has no stage '{target}'{did_you_mean(target, names)}",
                      hint=f"Its stages are {', '.join(names)}: correct docker.target in devloop.yaml." if names
                      else "None of its stages has a name: write 'FROM ... AS NAME', or remove docker.target from devloop.yaml.")


def _needed(stages: list[_Stage], target: int) -> set[int]:
    needed: set[int] = set()
    pending = [target]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending += stages[index].needs
    return needed
