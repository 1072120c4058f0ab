"""What may stand where in devloop.yaml, read off the models: the one place that looks into Python's type annotations."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from devloop.config.models import AsWritten, Expected, Model
from devloop.config.suggest import words


@dataclass(frozen=True)
class Shape:
    """The forms that a value may have; of each kind one at most.

    `scalars`: str, int, bool. `literals`: the only texts allowed. `model`, `values`: a map with known keys, or with any.
    `as_written`: any scalar is taken as text. `marked`: the words for it, where the type has its own.
    """

    scalars: frozenset[type] = frozenset()
    literals: tuple[str, ...] = ()
    model: type[Model] | None = None
    items: Shape | None = None
    values: Shape | None = None
    pattern: str = ""
    minimum: int | None = None
    maximum: int | None = None
    as_written: bool = False
    marked: str = ""

    @property
    def expected(self) -> str:
        """``a whole number from 0 to 65535``, ``a list``: to be put behind "expected"."""
        if self.marked:
            return self.marked
        forms = [f"'{literal}'" for literal in self.literals]
        if int in self.scalars:
            limits = f" from {self.minimum} to {self.maximum}" if self.maximum is not None else f", {self.minimum} or more"
            forms.append("a whole number" + (limits if self.minimum is not None else ""))
        if str in self.scalars:
            forms.append("text")
        if bool in self.scalars:
            forms.append("true or false")
        if self.items:
            forms.append("a list")
        if self.model:
            forms.append(f"a map with {words(fields(self.model), 'and')}")
        if self.values:
            forms.append("a map")
        return words(forms)

    def allows(self, text: str) -> bool:
        """Whether the text may stand here, as far as its characters go."""
        return str in self.scalars and re.search(self.pattern, text) is not None


@dataclass(frozen=True)
class Key:
    """A key of a model, by the name it has in devloop.yaml."""

    shape: Shape
    required: bool
    description: str


@cache
def fields(model: type[Model]) -> dict[str, Key]:
    """The model's keys, the required ones first."""
    keys = {info.alias or name: Key(_field_shape(info), info.is_required(), info.description or "")
            for name, info in model.model_fields.items()}
    return dict(sorted(keys.items(), key=lambda item: not item[1].required))


@cache
def shape(model: type[Model]) -> Shape:
    """The shape of a value that is this model's map."""
    return Shape(model=model)


def places(root: type[Model]) -> Iterator[tuple[str, type[Model]]]:
    """Each model below `root`, itself included, with its path relative to it (``artifacts[].docker``): the nearest first."""
    level = [("", root)]
    while level:
        yield from level
        level = [(f"{place}.{key}".lstrip(".") + ("[]" if entry.shape.items else ""), inner)
                 for place, model in level for key, entry in fields(model).items()
                 if (inner := entry.shape.model or (entry.shape.items.model if entry.shape.items else None))]


def _field_shape(info: FieldInfo) -> Shape:
    return _shape(info.annotation, info.metadata)


def _shape(annotation: Any, marks: Iterable[Any] = ()) -> Shape:
    marks = [each for mark in marks for each in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
    for mark in marks:
        if isinstance(mark, BeforeValidator) and mark.json_schema_input_type is not PydanticUndefined:
            return _shape(mark.json_schema_input_type)
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _shape(arguments[0], [*arguments[1:], *marks])
    return reduce(_marked, marks, _unmarked(annotation, origin, arguments))


def _unmarked(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Shape:
    if origin in (Union, types.UnionType):
        return reduce(_either, map(_shape, arguments))
    if origin is Literal:
        return Shape(literals=arguments)
    if origin is list:
        return Shape(items=_shape(arguments[0]))
    if origin is dict:
        return Shape(values=_shape(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return Shape(model=annotation)
    if annotation in (str, int, bool):
        return Shape(scalars=frozenset([annotation]))
    raise TypeError(f"devloop.yaml has no form for {annotation}")


def _marked(shape: Shape, mark: Any) -> Shape:
    found: dict[str, Any] = {}
    if isinstance(mark, Expected):
        found["marked"] = mark.words
    elif isinstance(mark, AsWritten):
        found["as_written"] = True
    for ours, theirs in (("pattern", "pattern"), ("minimum", "ge"), ("maximum", "le")):
        if (value := getattr(mark, theirs, None)) is not None:
            found[ours] = value
    return Shape(**(vars(shape) | found))


def _either(one: Shape, other: Shape) -> Shape:
    empty = vars(Shape())
    return Shape(**{name: value if value != empty[name] else getattr(other, name) for name, value in vars(one).items()
                    if name != "scalars"}, scalars=one.scalars | other.scalars)
