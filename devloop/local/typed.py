"""Whether an object has the fields and types of its kind: what an API server asks before anything else, and in its words."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from devloop.local.refusals import refused
from devloop.local.schema import Type, type_of
from devloop.model import Object

_QUANTITY = re.compile(r"([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)")


def check(obj: Object) -> None:
    """Raises `ApiError` (500, as Kubernetes has it) for a field that is not known or has another type, and for doubled items."""
    kind, meta = type_of(obj), obj["metadata"]
    who = "/".join(filter(None, (meta.get("namespace"), meta["name"])))
    version = obj["apiVersion"] if "/" in obj["apiVersion"] else f"/{obj['apiVersion']}"
    which = f"({who}; {version}, Kind={obj['kind']})"
    if wrong := list(_wrong(kind, obj, "")):
        raise refused(500, "", f"failed to create typed patch object {which}: "
                      + (wrong[0] if len(wrong) == 1 else "\n  ".join(("errors:", *wrong))))
    if text := next(_unconvertible(kind, obj), "") or _undecodable(obj):
        raise refused(500, "", f"failed to convert new object {which} to proper version: unable to convert unstructured object to "
                      f"{version}, Kind={obj['kind']}: {text}")


def without_nulls(value: Any) -> Any:
    """What says nothing: ``emptyDir:`` with nothing after it is as if it were not there."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _wrong(kind: Type, value: Any, path: str) -> Iterator[str]:
    """What is wrong with a value, each with its path."""
    match kind.what:
        case "struct" | "map" if not isinstance(value, dict):
            yield f"{path}: expected map, got {_got(value)}"
        case "struct":
            fields = kind.fields
            for key, inner in value.items():
                if key in fields:
                    yield from _wrong(fields[key], inner, f"{path}.{key}")
                else:
                    yield f"{path}.{key}: field not declared in schema"
        case "map":
            for key, inner in value.items():
                yield from _wrong(_items(kind), inner, f"{path}.{key}")
        case "list" if not isinstance(value, list):
            yield f"{path}: expected list, got {_got(value)}"
        case "list":
            yield from _wrong_items(kind, value, path)
        case "string" if not isinstance(value, str):
            yield f"{path}: expected string, got &value.valueUnstructured{{Value:{json.dumps(value)}}}"
        case "integer" | "number" if not isinstance(value, int | float) or isinstance(value, bool):
            yield f"{path}: expected numeric (int or float), got {_go_type(value)}"
        case "boolean" if not isinstance(value, bool):
            yield f"{path}: expected boolean, got &value.valueUnstructured{{Value:{_plain(value)}}}"
        case "quantity" | "port" if isinstance(value, dict | list):
            yield f"{path}: expected scalar, got {_got(value)}"


def _wrong_items(kind: Type, value: list[Any], path: str) -> Iterator[str]:
    seen = set()
    for index, item in enumerate(value):
        key = kind.key(item) if kind.keys else None
        if key is None:
            yield from _wrong(_items(kind), item, f"{path}[{index}]")
            continue
        told = ",".join(("" if name == "*" else f"{name}=") + json.dumps(part) for name, part in zip(kind.keys, key, strict=True))
        if key in seen:
            yield f"{path}: duplicate entries for key [{told}]"
        seen.add(key)
        yield from _wrong(_items(kind), item, f"{path}[{told}]")


def _unconvertible(kind: Type, value: Any) -> Iterator[str]:
    """What has the right type, but is no value of it."""
    if isinstance(value, dict):
        fields = kind.fields if kind.what == "struct" else {}
        for key, inner in value.items():
            yield from _unconvertible(fields.get(key) or kind.items or _ANY, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _unconvertible(kind.items or _ANY, item)
    elif kind.what == "integer" and isinstance(value, float):
        yield "cannot convert float64 to int32"
    elif kind.what == "quantity" and not _QUANTITY.fullmatch(str(value)):
        yield f"quantities must match the regular expression '^{_QUANTITY.pattern}$'"


_ANY = Type("any")


def _undecodable(obj: Object) -> str:
    """What is wrong with bytes, which are written in base64."""
    for value in ((obj.get("data") if obj["kind"] == "Secret" else obj.get("binaryData")) or {}).values():
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except ValueError:
            return "error decoding from json: illegal base64 data"
    return ""


def _items(kind: Type) -> Type:
    return kind.items or _ANY


def _got(value: Any) -> str:
    """As Go prints it."""
    if isinstance(value, dict):
        return f"&{{map[{' '.join(f'{k}:{_plain(v)}' for k, v in sorted(value.items()))}]}}"
    if isinstance(value, list):
        return f"&{{[{' '.join(map(_plain, value))}]}}"
    return f"&{{{_plain(value)}}}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", dict: "map[string]interface {}", list: "[]interface {}"}
    return names.get(type(value), type(value).__name__)
