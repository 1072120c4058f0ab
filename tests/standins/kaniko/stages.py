"""Which stages are built, in which order, and what they take from each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from . import log, words
from .dockerfile import Instruction, Stage


class TargetError(Exception):
    pass


@dataclass
class Planned:
    index: int
    base: str
    name: str
    instructions: list[Instruction]
    base_index: int = -1                # the stage it begins with; -1: an image
    needed: list[str] = field(default_factory=list)     # paths that later stages copy
    saved: bool = False                 # a later stage begins with it


def plan(stages: list[Stage], targets: list[str], arguments: dict[str, str], based: Callable[[Planned], None]) -> list[Planned]:
    """Only what the target needs; the last one is the target. `based` is told of each that begins with an image."""
    names = {stage.name: index for index, stage in enumerate(stages) if stage.name}
    last = len(stages) - 1
    for target in targets[:1]:
        if target.lower() not in names:
            raise TargetError(f'error finding target stage: "{target}" is not a valid target build stage')
        last = names[target.lower()]
    planned = [Planned(i, words.expand(s.base, arguments), s.name, list(s.instructions)) for i, s in enumerate(stages[:last + 1])]
    used, bases, copied = {last}, dict.fromkeys(range(last + 1), 0), set()
    for stage in reversed(planned):
        if stage.index not in used:
            continue
        if stage.name:
            log.info(f"Resolved base name of {stage.name} to {stage.base}")
        found = names.get(stage.base.lower(), last + 1)
        if found < stage.index:
            stage.base_index = found
            bases[found] += 1
            used.add(found)
        elif stage.base != "scratch":
            based(stage)
        for instruction in stage.instructions:
            if instruction.name != "COPY" or not instruction.flag("from"):
                continue
            origin = instruction.flag("from")
            index = names.get(origin.lower(), int(origin) if origin.isdigit() else -1)
            if index < 0:
                continue
            if index >= stage.index:
                raise TargetError(f"stage {stage.index}: COPY --from={origin} refers to a stage that does not exist")
            instruction.flags = [(k, str(index) if k == "from" else v) for k, v in instruction.flags]
            planned[index].needed += [words.expand(word, arguments) for word in instruction.words[:-1]]
            used.add(index)
            copied.add(index)
    return _squash([stage for stage in planned if stage.index in used], bases, copied)


def _squash(planned: list[Planned], bases: dict[int, int], copied: set[int]) -> list[Planned]:
    """A stage that only one other needs, to begin with, becomes a part of it."""
    by_index = {stage.index: stage for stage in planned}
    gone = set()
    for stage in planned:
        base = by_index.get(stage.base_index)
        if base and bases[base.index] == 1 and base.index not in copied:
            log.info(f"Squashing stages: {stage.name} into {base.name}")
            stage.instructions = base.instructions + stage.instructions
            stage.base, stage.base_index = base.base, base.base_index
            gone.add(base.index)
    kept = [stage for stage in planned if stage.index not in gone]
    for stage in kept:
        stage.saved = any(other.base_index == stage.index for other in kept)
    return kept
