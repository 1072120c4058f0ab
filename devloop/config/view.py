"""The effective config as YAML, with a comment behind each value that tells where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from devloop.config.load import Loaded
from devloop.config.models import Config
from devloop.config.shapes import Shape, fields, shape
from devloop.config.tree import Items, Map, Node, Scalar

MAX_COLUMN = 60


def view(loaded: Loaded) -> str:
    """A devloop.yaml that says in full what `loaded` does, each value followed by ``# file:line`` or ``# default``.

    Build arguments and labels with a ``${VAR}`` in them stay as they were written: what the environment has may be secret.
    """
    values = loaded.config.model_dump(mode="json", by_alias=True, include=set(Config.model_fields))
    lines = list(_map(values, loaded.tree, shape(Config)))
    column = min(MAX_COLUMN, max(len(text) for text, comment in lines if comment))
    return "".join(f"{text:<{column}}  # {comment}\n" if comment else f"{text}\n" for text, comment in lines)


Line = tuple[str, str]


def _lines(value: Any, node: Node | None, shape: Shape) -> Iterator[Line]:
    """The lines of a value: a single one without indentation where it fits behind its key."""
    if isinstance(value, dict) and value:
        yield from _map(value, node, shape)
    elif isinstance(value, list) and value:
        items = node.nodes if isinstance(node, Items) else (None,) * len(value)
        for each, item in zip(value, items, strict=True):
            (first, comment), *rest = _lines(each, item, shape.items or Shape())
            yield f"- {first}", comment
            yield from ((f"  {text}", comment) for text, comment in rest)
    else:
        masked = isinstance(node, Scalar) and shape.as_written and node.kind == "variable"
        escaped = re.sub(r"\$(?=[${])", "$$", value) if isinstance(value, str) else value
        yield _plain(node.written if masked and isinstance(node, Scalar) else escaped), _origin(node)


def _map(value: dict[str, Any], node: Node | None, shape: Shape) -> Iterator[Line]:
    known = fields(shape.model) if shape.model else {}
    for key in [*(key for key in known if key in value), *(key for key in value if key not in known)]:
        inner = known[key].shape if key in known else shape.values or Shape()
        # text that stands for a map (requires: [name]) is where its one key comes from
        short = isinstance(node, Scalar) and shape.model is not None and shape.model.short == key
        child = node.get(key) if isinstance(node, Map) else node if short else None
        nested = isinstance(value[key], dict | list) and value[key]
        lines = _lines(value[key], child, inner)
        if nested:
            yield f"{_plain(key)}:", ""
            yield from ((f"  {text}", comment) for text, comment in lines)
        else:
            yield from ((f"{_plain(key)}: {text}", comment) for text, comment in lines)


def _origin(node: Node | None) -> str:
    if node is None or (isinstance(node, Scalar) and node.kind == "nothing"):
        return "default"
    return f"{node.at.file}:{node.at.line}"


def _plain(value: Any) -> str:
    """A scalar, or an empty collection, as YAML on one line that reads back as the same."""
    style = '"' if isinstance(value, str) and (not value or not value.isprintable()) else None
    text: str = yaml.safe_dump(value, width=2**31, allow_unicode=True, default_style=style)
    return text.removesuffix("...\n").rstrip("\n")
