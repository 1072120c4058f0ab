"""Which images a Dockerfile starts from: those the Engine may have to pull."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from devloop.context import Instruction
from devloop.context.words import expand, split
from devloop.model import ImageRef


def base_images(instructions: Sequence[Instruction], build_args: Mapping[str, str]) -> list[ImageRef]:
    """The images of FROM and ``COPY --from``; stages, ``scratch`` and what is no image reference left out."""
    arguments: dict[str, str] = {}
    stages = {"scratch"}
    names: list[str] = []
    for instruction in instructions:
        if instruction.keyword == "ARG" and instruction.stage < 0:
            for word in split(instruction.arguments, "\\"):
                name, _, default = word.partition("=")
                arguments[name] = build_args.get(name, expand(default, arguments, "\\"))
        elif instruction.keyword == "FROM":
            names.append(expand(split(instruction.arguments, "\\")[0], arguments, "\\"))
            stages.add(instruction.stage_name.lower())
        elif instruction.keyword == "COPY":
            names += [flag.removeprefix("--from=") for flag in instruction.flags if flag.startswith("--from=")]
    found = dict.fromkeys(name for name in names if name.lower() not in stages and not name.isdigit())
    return [ref for name in found if (ref := _parsed(name))]


def _parsed(name: str) -> ImageRef | None:
    try:
        return ImageRef.parse(name)
    except ValueError:   # the Engine says so better, with the step
        return None
