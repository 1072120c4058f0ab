"""devloop.yaml as a tree whose every key and value knows its line and column.

Read from the parser's events, not with PyYAML's `compose`: that one recurses in C and dies of a deeply nested file, and knows
neither where an alias stands nor duplicate keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import yaml
from yaml.resolver import Resolver

from devloop.config import syntax
from devloop.config.problems import Position, Problem, Source
from devloop.config.variables import VARIABLE, Fault, substitute

MAX_VALUES = 10_000
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one needs libyaml, and is ten times as fast
_TAG = "tag:yaml.org,2002:"
_RESOLVER = Resolver()

Kind = Literal["text", "number", "boolean", "date", "nothing", "variable"]
_KINDS: dict[str, Kind] = {"str": "text", "value": "text", "merge": "text", "int": "number", "float": "number", "bool": "boolean",
                           "timestamp": "date", "null": "nothing"}


@dataclass(frozen=True)
class Scalar:
    """`text` with its variables replaced, `written` as in the file. `kind`: what YAML takes it for; "variable": it holds ``${...}``."""

    at: Position
    text: str
    kind: Kind = "text"
    written: str = ""
    problem: Problem | None = None
    path: str = ""


@dataclass(frozen=True)
class Items:
    """A YAML sequence."""

    at: Position
    nodes: tuple[Node, ...]
    path: str = ""


@dataclass(frozen=True)
class Entry:
    """A key's position, and its value."""

    key: Position
    value: Node


@dataclass(frozen=True)
class Map:
    """A YAML mapping."""

    at: Position
    entries: dict[str, Entry] = field(default_factory=dict)
    path: str = ""

    def get(self, key: str) -> Node | None:
        return self.entries[key].value if key in self.entries else None


Node: TypeAlias = Scalar | Items | Map


class Unreadable(Exception):
    """Nothing can be made of the rest of the file."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def parse(source: Source, environ: Mapping[str, str], loader: type[yaml.SafeLoader] = LOADER) -> tuple[Node | None, list[Problem]]:
    """The document's tree (None: the file is empty) and what is wrong on the level of YAML. Raises `Unreadable`."""
    reader = _Reader(source, environ, loader)
    try:
        root = reader.document()
    except yaml.YAMLError as exc:
        raise Unreadable(syntax.explain(source, exc)) from exc
    return root and _Placing(source).place(root, "", 0), reader.problems


def join(path: str, key: str | int) -> str:
    """``build`` and ``artifacts`` make ``build.artifacts``; a number, or a key with dots, stands in brackets."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if not key.replace("-", "_").isidentifier():
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


class _Placing:
    """Gives every value its path. Here aliases become copies, so here is what keeps a few lines from becoming billions of values."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._values = 0

    def place(self, node: Node, path: str, depth: int) -> Node:
        self._values += 1
        if self._values > MAX_VALUES:
            raise Unreadable(Problem(node.at, "", f"more than {MAX_VALUES} values, counting what aliases (*name) repeat"))
        if depth > syntax.MAX_DEPTH:
            raise _too_deep(node.at)
        match node:
            case Map(at, entries):
                return Map(at, {key: Entry(entry.key, self.place(entry.value, join(path, key), depth + 1))
                                for key, entry in entries.items()}, path)
            case Items(at, nodes):
                return Items(at, tuple(self.place(each, join(path, i), depth + 1) for i, each in enumerate(nodes)), path)
            case Scalar(problem=problem):
                return replace(node, path=path, problem=problem and replace(problem, path=path))


class _Reader:
    def __init__(self, source: Source, environ: Mapping[str, str], loader: type[yaml.SafeLoader]) -> None:
        self._source = source
        self._environ = environ
        self._events: Iterator[yaml.Event] = yaml.parse(source.text, loader)
        self._anchors: dict[str, Node | None] = {}  # None: not finished yet
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root:
                    raise Unreadable(Problem(self._at(event), "", "a second document begins here; devloop.yaml is one document: "
                                             "remove the '---', and use profiles for variants"))
                root = self._node(next(self._events), 0)
        if isinstance(root, Scalar) and root.kind == "nothing" and not root.written:
            return None
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if depth > syntax.MAX_DEPTH:
            raise _too_deep(self._at(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor: str | None = event.anchor  # type: ignore[attr-defined]
        if anchor:
            self._anchors[anchor] = None
        if isinstance(event, yaml.SequenceStartEvent):
            node: Node = Items(self._at(event), tuple(self._items(event, depth)))
        elif isinstance(event, yaml.MappingStartEvent):
            node = Map(self._at(event), self._entries(event, depth))
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = self._scalar(event)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        name = event.anchor
        if name not in self._anchors:
            raise Unreadable(Problem(self._at(event), "", f"'*{name}' is an alias, but there is no anchor &{name} before it; "
                                     f"quote a value that begins with '*'"))
        node = self._anchors[name]
        if node is None:
            raise Unreadable(Problem(self._at(event), "", f"the alias '*{name}' stands inside of its own anchor &{name}"))
        return node

    def _items(self, event: yaml.SequenceStartEvent, depth: int) -> Iterator[Node]:
        self._check_tag(event, "seq")
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            yield self._node(item, depth + 1)

    def _entries(self, event: yaml.MappingStartEvent, depth: int) -> dict[str, Entry]:
        self._check_tag(event, "map")
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            key = self._node(key_event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            at = self._at(key_event)
            if not isinstance(key, Scalar):
                braces = self._source.text[self._extent(key_event)[0] - 1 :].startswith("{{")
                self.problems.append(Problem(at, "", "YAML reads {{...}} as a map: quote the value" if braces else "a key must be text"))
            elif isinstance(key_event, yaml.ScalarEvent) and key.written == "<<" and key_event.implicit[0]:
                merged += value.nodes if isinstance(value, Items) else [value]
            elif key.written in entries:
                self.problems.append(Problem(at, "", f"the key '{key.written}' is here twice, first on line "
                                             f"{entries[key.written].key.line}"))
            else:
                entries[key.written] = Entry(at, value)
        return entries | {key: entry for key, entry in self._merged(merged).items() if key not in entries}

    def _merged(self, nodes: list[Node]) -> dict[str, Entry]:
        """What ``<<`` brings in; of several the first to have a key wins."""
        entries: dict[str, Entry] = {}
        for node in nodes:
            if isinstance(node, Map):
                entries = node.entries | entries
            else:
                self.problems.append(Problem(node.at, "", "expected a map, or aliases (*name) of maps, to merge with '<<'"))
        return entries

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        tag = event.tag
        if tag is None or tag == "!":
            tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        kind = _KINDS.get(tag.removeprefix(_TAG))
        if kind is None:
            self._refuse_tag(event, tag)
        text, faults = substitute(event.value, self._environ)
        at = self._at(event)
        if not faults and text == event.value:
            return Scalar(at, text, kind or "text", event.value)
        problem = self._fault(event, faults[0]) if faults else None
        return Scalar(at, text, "variable" if "${" in event.value else kind or "text", event.value, problem)

    def _fault(self, event: yaml.ScalarEvent, fault: Fault) -> Problem:
        """At the variable's own place, if it stands in the file as it does in the value (in quotes it could hold escapes)."""
        in_file = list(VARIABLE.finditer(self._source.text, *self._extent(event)))
        where = in_file[fault.number] if fault.number < len(in_file) else None
        at = self._source.position(where.start(), len(where[0])) if where else self._at(event)
        return Problem(at, "", fault.text, fault.unset)

    def _check_tag(self, event: yaml.CollectionStartEvent, expected: str) -> None:
        if event.tag not in (None, "!", _TAG + expected):
            self._refuse_tag(event, event.tag)

    def _refuse_tag(self, event: yaml.NodeEvent, tag: str) -> None:
        name = tag.replace(_TAG, "!!")
        self.problems.append(Problem(self._at(event), "", f"the YAML tag {name} means nothing here; quote the value if it begins with '!'"))

    def _extent(self, event: yaml.Event) -> tuple[int, int]:
        assert event.start_mark
        assert event.end_mark
        return event.start_mark.index, event.end_mark.index

    def _at(self, event: yaml.Event) -> Position:
        start, end = event.start_mark, event.end_mark
        assert start
        assert end
        width = end.column - start.column if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent) and end.line == start.line else 1
        return Position(start.line + 1, start.column + 1, self._source.name, max(1, width))


def _too_deep(at: Position) -> Unreadable:
    return Unreadable(Problem(at, "", syntax.TOO_DEEP))
