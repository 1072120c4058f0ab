"""From the tree to the models: every value gets the type its place asks for, and every mistake is kept with its position."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from devloop.config.models import Model
from devloop.config.problems import Problem
from devloop.config.shapes import Key, Shape, fields
from devloop.config.suggest import did_you_mean, words
from devloop.config.tree import Items, Map, Node, Scalar, join
from devloop.config.unknown import TOP, nearest_key

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_BOOLEAN = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_INVALID: Final = object()
"""Stands for a value that a problem was reported for."""


@dataclass
class Binder:
    """Binds one tree; `problems` grow."""

    problems: list[Problem] = field(default_factory=list)

    def bind(self, node: Node, shape: Shape) -> Any:
        """The node's value: a model's instance, list, dict or plain value."""
        if isinstance(node, Scalar):
            return self._scalar(node, shape)
        if isinstance(node, Items) and shape.items:
            items = [self.bind(each, shape.items) for each in node.nodes]
            return items if _INVALID not in items else _INVALID  # not without the invalid ones: pydantic tells places by index
        if isinstance(node, Map) and shape.model:
            return self._model(node, shape.model)
        if isinstance(node, Map) and shape.values:
            values = {key: self.bind(entry.value, shape.values) for key, entry in node.entries.items()}
            return {key: value for key, value in values.items() if value is not _INVALID}
        return self._problem(node, wrong(node, shape))

    def _problem(self, node: Node, text: str) -> Any:
        self.problems.append(Problem(node.at, node.path, text))
        return _INVALID

    def _scalar(self, node: Scalar, shape: Shape) -> Any:
        if node.problem:
            self.problems.append(node.problem)
            return _INVALID
        if shape.as_written and node.kind != "nothing":
            return node.text
        if int in shape.scalars and node.kind in ("number", "variable") and _INTEGER.fullmatch(node.text):
            return int(node.text)
        if bool in shape.scalars and node.kind in ("boolean", "variable") and node.text.lower() in _BOOLEAN:
            return _BOOLEAN[node.text.lower()]
        if node.kind in ("text", "variable") and (str in shape.scalars or node.text in shape.literals):
            return node.text
        return self._problem(node, wrong(node, shape))

    def _model(self, node: Map, model: type[Model]) -> Any:
        known = fields(model)
        values: dict[str, Any] = {}
        meant: set[str] = set()  # the keys that unknown ones stand for: they are not also reported as missing
        for key, entry in node.entries.items():
            if key not in known:
                place, name = nearest_key(key, model)
                self.problems.append(Problem(entry.key, entry.value.path, "unknown key" + _suggestion(place, name, known)))
                meant |= set() if place else {name}
            elif not (_is_nothing(entry.value, known[key].shape) and not known[key].required):
                value = self.bind(entry.value, known[key].shape)
                if value is not _INVALID:
                    values[key] = value
        try:
            return model.model_validate(values)
        except ValidationError as exc:
            found = [problem for error in exc.errors(include_url=False) for problem in _constraint(error, node, model, meant)]
            if not found and not self.problems:  # cannot be, and must not pass
                found = [Problem(node.at, node.path, exc.errors()[0]["msg"])]
            self.problems += found
            return _INVALID


def wrong(node: Node, shape: Shape) -> str:
    """``expected ..., found ...``, and what to write instead."""
    return f"expected {shape.expected}, found {_found(node)}{_advice(node, shape)}"


def _is_nothing(node: Node, shape: Shape) -> bool:
    """Whether this stands for the default: an empty value, and an empty variable where text has no place."""
    if not isinstance(node, Scalar) or node.problem:
        return False
    return node.kind == "nothing" or (node.kind == "variable" and not node.text and str not in shape.scalars)


def _suggestion(place: str, name: str, known: Iterable[str]) -> str:
    if not name:
        return f"; expected {words(known)}"
    where = f" at {place}" if place == TOP else f" in '{place}'" if place else ""
    return f", did you mean '{name}'{where}?"


def _found(node: Node) -> str:
    if not isinstance(node, Scalar):
        kind = "list" if isinstance(node, Items) else "map"
        return f"a {kind}" if (node.nodes if isinstance(node, Items) else node.entries) else f"an empty {kind}"
    text = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    match node.kind:
        case "nothing":
            return "nothing"
        case "variable":
            return f"'{text}' (from {node.written})"
        case "boolean":
            return text if text in ("true", "false") else f"{text}, which YAML takes for {str(_BOOLEAN[text.lower()]).lower()}"
        case "text":
            return f"'{text}'"
    return f"the {node.kind} {text}"


def _advice(node: Node, shape: Shape) -> str:
    if isinstance(node, Items):
        return ": remove the '-'" if shape.model and len(node.nodes) == 1 and isinstance(node.nodes[0], Map) else ""
    if isinstance(node, Map):
        return ": begin each item with '- '" if shape.items and shape.items.model else ""
    text = node.text
    match node.kind:
        case "nothing":
            return ': for an empty text write ""' if shape.allows("") else ""
        case "text" if shape.items and str in shape.items.scalars:
            return f": write [{text}]"
        case "text" if int in shape.scalars and _INTEGER.fullmatch(text):
            return ": remove the quotes"
        case "number" if int in shape.scalars and re.fullmatch("0[0-7]+", text):
            return f", which YAML reads as octal: write {text.lstrip('0') or '0'}"
        case "number" | "boolean" | "date" if shape.allows(text):
            return f': quote it, "{text}"'
        case "number" if int not in shape.scalars and shape.allows(f"{text}s"):  # a duration in seconds, most likely
            return f": write {text}s"
    return did_you_mean(text, shape.literals)


def _constraint(error: ErrorDetails, node: Map, model: type[Model], meant: set[str]) -> Iterator[Problem]:
    """What pydantic has against values whose types are right already: patterns, limits, and keys that are not there."""
    key = str(error["loc"][0])
    known = fields(model)[key]
    if error["type"] == "missing":
        if key not in node.entries and key not in meant:
            yield Problem(node.at, join(node.path, key), f"missing: {_missing(key, known)}")
        return
    value, shape = _descend(node.entries[key].value, known.shape, error["loc"][1:])
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        yield Problem(value.at, value.path, text if text.startswith("expected") else f"expected {shape.expected}: {text}")
    elif not error["type"].endswith("_type") and error["type"] != "literal_error":  # of a union's other forms
        yield Problem(value.at, value.path, wrong(value, shape))


def _missing(name: str, key: Key) -> str:
    if len(key.shape.literals) == 1:
        return f"write '{name}: {key.shape.literals[0]}'"
    return key.description[:1].lower() + key.description[1:].rstrip(".")


def _descend(node: Node, shape: Shape, loc: tuple[int | str, ...]) -> tuple[Node, Shape]:
    """The node that pydantic's `loc` means; what `loc` has between keys and indexes (names of a union's forms) is passed over."""
    for step in loc:
        if isinstance(node, Items) and isinstance(step, int) and shape.items:
            node, shape = node.nodes[step], shape.items
        elif isinstance(node, Map) and step in node.entries and shape.values:
            node, shape = node.entries[str(step)].value, shape.values
    return node, shape
