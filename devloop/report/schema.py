"""The JSON schema of the events, generated from the dataclasses in `devloop.events`; and, run as a program, that as a file."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from pathlib import Path
from typing import Any

from devloop import events
from devloop.events import Event

FILE = Path(__file__).parents[2] / "schemas" / "events.schema.json"
TIME = {"type": "string", "format": "date-time", "description": "When devloop wrote the line (RFC 3339, UTC)."}

_PLAIN: dict[Any, dict[str, Any]] = {str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"},
                                     bool: {"type": "boolean"}}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one line of ``--output json``."""
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event]
    definitions = {_name(kind): _definition(kind) for kind in kinds}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "devloop event",
        "description": "One line of 'devloop --output json'. New fields and new types of events may be added.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in definitions],
        "$defs": definitions,
    }


def text() -> str:
    """The schema as it is in schemas/events.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _definition(kind: type[Event]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    fields = {_camel(field.name): _type(hints[field.name]) for field in dataclasses.fields(kind)}
    properties = {"time": TIME, "type": {"const": _name(kind)}} | fields
    return {"type": "object", "description": " ".join((inspect.getdoc(kind) or "").split()), "properties": properties,
            "required": list(properties)}


def _type(hint: Any) -> dict[str, Any]:
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0])}
    return _PLAIN[hint]


def _name(kind: type[Event]) -> str:
    return kind.__name__[0].lower() + kind.__name__[1:]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def main(arguments: list[str]) -> int:
    """Write the file; with ``--check`` only say whether it is out of date (exit code 1)."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m devloop.report.schema [--check]\n")
        return 2
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text():
        return 0
    if arguments:
        sys.stderr.write("schemas/events.schema.json is out of date: run python -m devloop.report.schema\n")
        return 1
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
