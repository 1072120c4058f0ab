"""What fields Kubernetes' kinds have: their types, and how lists of them are merged. ``kinds.json`` is made by `make`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from devloop.model import Object

What = Literal["struct", "map", "list", "string", "integer", "number", "boolean", "quantity", "port", "any"]

_PLAIN: dict[str, What] = {"s": "string", "i": "integer", "n": "number", "b": "boolean", "q": "quantity", "p": "port", "o": "any"}


@dataclass(frozen=True)
class Type:
    """`atomic`: replaced as a whole. `items`: of a list or a map. `keys`: what tells the items of a list apart, ``*`` themselves.
    `name`: of a struct, whose `fields` and `required` fields are asked for. `values`: those that a string may have."""

    what: What
    atomic: bool = False
    items: Type | None = None
    keys: tuple[str, ...] = ()
    name: str = ""
    values: tuple[str, ...] = ()

    @property
    def fields(self) -> Mapping[str, Type]:
        return _fields(self.name)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(_made()["types"][self.name].get("required") or ())

    def key(self, item: Any) -> tuple[Any, ...] | None:
        """What an item of the list is known by; None where it is none."""
        if self.keys == ("*",):
            return (item,) if not isinstance(item, dict | list) else None
        found = tuple(item.get(key, _DEFAULT_KEYS.get(key, "")) for key in self.keys) if isinstance(item, dict) else None
        return None if found is None or any(isinstance(part, dict | list) for part in found) else found


_DEFAULT_KEYS = {"protocol": "TCP"}


def type_of(obj: Object) -> Type:
    """Raises KeyError for a kind that is not known."""
    return Type("struct", name=_made()["kinds"][f"{obj.get('apiVersion')} {obj.get('kind')}"])


@cache
def _made() -> dict[str, Any]:
    made: dict[str, Any] = json.loads((Path(__file__).parent / "kinds.json").read_bytes())
    return made


@cache
def _fields(name: str) -> Mapping[str, Type]:
    return {key: _parse(text) for key, text in _made()["types"][name]["fields"].items()}


@cache
def _parse(text: str) -> Type:
    atomic, text = text.startswith("!"), text.removeprefix("!")
    if text.startswith("@"):
        return Type("struct", atomic, name=text[1:])
    if text.startswith("{}"):
        return Type("map", atomic, _parse(text[2:]))
    if found := re.fullmatch(r"\[(.*?)\](.*)", text):
        keys = tuple(found[1].split(",")) if found[1] else ()
        return Type("list", not keys, _parse(found[2]), keys)
    plain, _, values = text.partition(":")
    return Type(_PLAIN[plain], True, values=tuple(values.split("|")) if values else ())
