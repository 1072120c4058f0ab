"""From a line of build output to the Dockerfile's line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from devloop.context.model import Instruction

_CLASSIC = re.compile(r"Step (\d+)/\d+ : (\S+)")
_BUILDKIT = re.compile(r"\[(?:\S+/\S+ )?(?:(?P<stage>[^\]\s]+) )?(?P<number>\d+)/\d+\] (?P<text>(?P<keyword>[A-Z]+)\b.*)")
_PODMAN = re.compile(r"(?:\[(\d+)/\d+\] )?STEP (\d+)/\d+: (\S+)")
_LAYERS = ("FROM", "RUN", "COPY", "ADD", "WORKDIR")


def step_line(instructions: Sequence[Instruction], text: str) -> int | None:
    """The line for ``Step 3/7 : RUN …``, ``[build 2/5] COPY …`` or Podman's ``[1/2] STEP 3/7: RUN …``, wherever in `text` that stands;
    None where it is none of them."""
    if match := _CLASSIC.search(text):
        number = int(match[1])   # the classic builder counts every instruction, ARGs before the first FROM included
        found = instructions[number - 1] if 0 < number <= len(instructions) else None
        return found.line if found and found.keyword == match[2].upper() else None
    if match := _PODMAN.search(text):      # it counts the instructions of each stage
        inside = [i for i in instructions if i.stage == int(match[1] or 1) - 1]
        found = inside[int(match[2]) - 1] if 0 < int(match[2]) <= len(inside) else None
        return found.line if found and found.keyword == match[3].upper() else None
    if match := _BUILDKIT.search(text):
        return _buildkit(instructions, match)
    return None


def _buildkit(instructions: Sequence[Instruction], match: re.Match[str]) -> int | None:
    """BuildKit counts what makes layers, per stage; a FROM counts where it is an image (other than scratch) and no stage."""
    stage = _stage(instructions, match["stage"])
    inside = [i for i in instructions if i.stage == stage and i.keyword in _LAYERS]
    names = {i.stage_name for i in instructions if i.keyword == "FROM" and 0 <= i.stage < stage and i.stage_name}
    if inside and (inside[0].arguments.split() or [""])[0].lower() in names | {"scratch"}:
        inside = inside[1:]
    number = int(match["number"])
    if 0 < number <= len(inside) and inside[number - 1].keyword == match["keyword"]:
        return inside[number - 1].line
    same = [i.line for i in instructions if _plain(i.text) == _plain(match["text"])]
    return same[0] if len(same) == 1 else None


def _stage(instructions: Sequence[Instruction], name: str | None) -> int:
    """By name, ``stage-N`` for one without; a Dockerfile with one nameless stage has no word for it."""
    if name is None:
        return 0
    named = {i.stage_name: i.stage for i in instructions if i.stage_name}
    if name.lower() in named:
        return named[name.lower()]
    match = re.fullmatch(r"stage-(\d+)", name)
    return int(match[1]) if match else -1


def _plain(text: str) -> str:
    return " ".join(text.split())
