"""Profiles: variants of the config, merged into the tree before it is checked, so that every value still knows where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from devloop.config.bind import Binder
from devloop.config.checks import duplicates, maps
from devloop.config.models import File
from devloop.config.problems import Problem
from devloop.config.shapes import Shape, fields, shape
from devloop.config.suggest import did_you_mean
from devloop.config.tree import Entry, Items, Map, Node, Scalar, join


class UnknownProfile(Exception):
    """`hint` lists the profiles there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no profile '{name}'{did_you_mean(name, known)}")
        self.hint = f"The profiles are: {', '.join(known)}." if known else "It has no profiles at all."


def check_profiles(root: Map) -> Iterator[Problem]:
    """What is wrong in all profiles, also those that are not used; only variables need not be set for these."""
    if listed := root.get("profiles"):
        binder = Binder()
        binder.bind(listed, fields(File)["profiles"].shape)
        yield from (problem for problem in binder.problems if not problem.unset)
        yield from duplicates(maps(listed), "name", "profile")


def effective(root: Map, chosen: Sequence[str]) -> Map:
    """The tree without its profiles, those `chosen` merged into it in their order. Raises `UnknownProfile`."""
    profiles = {name: profile for profile in maps(root.get("profiles")) if (name := _text(profile.get("name")))}
    tree: Node = _without(root, "profiles")
    for name in chosen:
        if name not in profiles:
            raise UnknownProfile(name, list(profiles))
        tree = _merge(tree, _without(profiles[name], "name"), shape(File))
    assert isinstance(tree, Map)
    return tree


def _merge(base: Node, over: Node, shape: Shape | None) -> Node:
    """Maps merge deeply, lists of maps that have an identity item by item; anything else is replaced."""
    if shape and shape.model and shape.model.short:
        base, over = _in_full(base, shape.model.short), _in_full(over, shape.model.short)
    if shape and isinstance(base, Map) and isinstance(over, Map):
        known = fields(shape.model) if shape.model else {}
        entries = dict(base.entries)
        for key, entry in over.entries.items():
            inner = known[key].shape if key in known else shape.values
            entries[key] = Entry(entry.key, _merge(entries[key].value, entry.value, inner)) if key in entries else entry
        return Map(base.at, entries, base.path)
    if shape and isinstance(base, Items) and isinstance(over, Items) and shape.items and shape.items.model:
        return Items(over.at, _merge_items(base.nodes, over.nodes, shape.items, shape.items.model.identity), over.path)
    return over


def _merge_items(base: tuple[Node, ...], over: tuple[Node, ...], shape: Shape, identity: tuple[str, ...]) -> tuple[Node, ...]:
    items = list(base)
    at = {who: index for index, node in enumerate(items) if (who := _identity(node, identity))}
    for node in over:
        if (index := at.get(_identity(node, identity))) is None:
            items.append(node)
        elif not isinstance(node, Scalar):  # a mere name changes nothing
            items[index] = _merge(items[index], node, shape)
    return tuple(items)


def _in_full(node: Node, key: str) -> Node:
    """Text as the map that it is short for."""
    if not isinstance(node, Scalar) or node.kind not in ("text", "variable"):
        return node
    return Map(node.at, {key: Entry(node.at, replace(node, path=join(node.path, key)))}, node.path)


def _identity(node: Node, keys: tuple[str, ...]) -> tuple[str, ...]:
    """What the item is called; empty where it does not say. Text stands for an item with nothing but its name."""
    values = [_text(node.get(key)) for key in keys] if isinstance(node, Map) else [_text(node)]
    return tuple(values) if all(values) else ()


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Scalar) and node.kind != "nothing" else ""


def _without(node: Map, key: str) -> Map:
    return Map(node.at, {name: entry for name, entry in node.entries.items() if name != key}, node.path)
