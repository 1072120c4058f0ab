"""Manifest files as objects, each with the place where it begins, and objects as YAML text.

YAML is read as kubectl's parser reads it, where PyYAML would not: ``22:22`` and ``2024-01-01`` are text, ``0o644`` is a number,
``=`` is text. Aliases become copies: adding a label in one place must not add it in another (a selector, say).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import yaml

from devloop.errors import ConfigError
from devloop.model import Manifest, Object, ObjectRef

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")
_SCALARS = {"str", "int", "float", "bool", "null"}
MAX_DEPTH = 100     # levels; definitions (CRDs) have some 40

_Where = tuple[int, int]
"""Line and column, from 1."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader (libyaml's, where it is built in) with the scalars of kubectl's parser."""


class _Dumper(yaml.SafeDumper):
    """Block style, long texts as ``|``, and quotes around whatever another YAML parser could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in ("int", "float", "timestamp", "value")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
    _class.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+.0123456789"))
_Dumper.add_implicit_resolver(_TAG + "bool", re.compile("^[yYnN]$"), list("yYnN"))
_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    _TAG + "str", text, style="|" if "\n" in text and not re.search(r"[ \t]\n|^\s", text) else None))


def parse(text: str, source: str) -> list[Manifest]:
    """The objects of one file: every document, every item of every list, empty documents left out.

    Raises `ConfigError` that names `source`, line and column.
    """
    try:
        found = list(_json(text, source) if source.endswith(".json") else _yaml(text, source))
    except RecursionError:
        _fail(source, (1, 1), _TOO_DEEP)
    return [Manifest(_checked(value, source, where), source, where[0]) for value, where in found]


def to_yaml(manifests: Sequence[Manifest]) -> str:
    """The objects as one multi-document YAML text, in their order, each headed by its file."""
    return "".join(f"---\n# {m.source}\n" + yaml.dump(m.object, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 16)
                   for m in manifests)


def _fail(source: str, where: _Where, message: str, hint: str = "") -> NoReturn:
    raise ConfigError(f"{source}:{where[0]}:{where[1]}: {message}", hint=hint)


# --- from text to values

def _yaml(text: str, source: str) -> Iterator[tuple[Any, _Where]]:
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                yield from _flattened(_Tree(loader, source), loader.get_node())
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        where = before.count("\n") + 1, len(before) - before.rfind("\n")
        _fail(source, where, f"this is no text that YAML allows: {error.reason}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        _fail(source, (mark.line + 1, mark.column + 1) if mark else (1, 1), f"this is not valid YAML: {said}", _yaml_hint(line, said))


def _yaml_hint(line: str, said: str) -> str:
    if "{{" in line:
        return "This looks like a template. devloop reads plain manifests: render it first, and name the result in deploy.manifests."
    if "\t" in line or "\\t" in said:
        return "There is a tab in this line. YAML is indented with spaces."
    return ""


def _flattened(tree: _Tree, node: yaml.Node) -> Iterator[tuple[Any, _Where]]:
    """A document, or the items of a ``kind: List`` (PodList …), lists in lists included."""
    if isinstance(node, yaml.MappingNode):
        keys = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        kind, items = keys.get("kind"), keys.get("items")
        if isinstance(kind, yaml.ScalarNode) and kind.value.endswith("List") and isinstance(items, yaml.SequenceNode):
            for item in items.value:
                yield from _flattened(tree, item)
            return
    value = tree.value(node)
    if value is not None:
        yield value, _where(node)


def _where(node: yaml.Node) -> _Where:
    return node.start_mark.line + 1, node.start_mark.column + 1


class _Tree:
    """Makes plain values of YAML nodes."""

    def __init__(self, loader: Any, source: str) -> None:
        self._loader = loader
        self._source = source
        self._merged: set[int] = set()
        self._inside: list[yaml.Node] = []

    def value(self, node: yaml.Node) -> Any:
        if any(node is outer for outer in self._inside):
            _fail(self._source, _where(node), "this alias contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._inside.append(node)
        try:
            return self._mapping(node) if isinstance(node, yaml.MappingNode) else [self.value(item) for item in node.value]
        finally:
            self._inside.pop()

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag.removeprefix(_TAG) not in _SCALARS:
            _fail(self._source, _where(node), f"the tag {node.tag.replace(_TAG, '!!')} means nothing in a manifest")
        try:
            return self._loader.construct_object(node)
        except ValueError:     # an explicit !!int in front of something else
            _fail(self._source, _where(node), f"'{node.value}' is no {node.tag.removeprefix(_TAG)}")

    def _mapping(self, node: yaml.MappingNode) -> Object:
        if id(node) not in self._merged:       # merging (<<) changes the node, and an alias brings it here again
            self._merged.add(id(node))
            self._refuse_duplicates(node)
            self._loader.flatten_mapping(node)
        return {self._key(key): self.value(value) for key, value in node.value}

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, _Where] = {}
        for key, _ in node.value:
            if key.tag == _TAG + "merge":
                continue
            name = self._key(key)
            if name in seen:
                _fail(self._source, _where(key), f"the key '{name}' is there twice (first in line {seen[name][0]})", "Remove one of them.")
            seen[name] = _where(key)

    def _key(self, node: yaml.Node) -> str:
        """Keys are text in JSON: ``80:`` is ``"80"``, ``yes:`` is ``"true"``, as with kubectl."""
        if not isinstance(node, yaml.ScalarNode):
            _fail(self._source, _where(node), "a key must be text",
                  "A value that begins with '{' needs quotes. If this is a template, render it first.")
        value = self._scalar(node)
        return value if isinstance(value, str) else json.dumps(value)


def _json(text: str, source: str) -> Iterator[tuple[Any, _Where]]:
    """JSON values, one after the other, as kubectl takes them."""
    position, decoder = 0, json.JSONDecoder()
    while match := re.compile(r"\S").search(text, position):
        start = match.start()
        where = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            _fail(source, (error.lineno, error.colno), f"this is not valid JSON: {error.msg}")
        yield from ((item, where) for item in _items(value))


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        for item in value["items"]:
            yield from _items(item)
    elif value is not None:
        yield value


# --- what every object must have

_TOO_DEEP = f"this is nested more than {MAX_DEPTH} levels deep"


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level if isinstance(each, dict | list) for inner in (each.values() if isinstance(each, dict) else each)]
    return bool(level)


def _checked(value: Any, source: str, where: _Where) -> Object:
    if not isinstance(value, dict):
        _fail(source, where, f"expected a Kubernetes object, found {_shown(value)}")
    if _is_too_deep(value):
        _fail(source, where, _TOO_DEEP)
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        _fail(source, where, "there is a number in this object that JSON does not have (.inf or .nan)")
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key), str) or not value[key]:
            _fail(source, where, f"this object has no {key}" if value.get(key) in (None, "") else
                  f"{key} must be text, found {_shown(value[key])}", _object_hint(value, source))
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        _fail(source, where, f"metadata must be a mapping, found {_shown(metadata)}")
    _check_metadata(value["kind"], metadata or {}, source, where)
    if value["apiVersion"].startswith("kustomize.config.k8s.io/"):
        _fail(source, where, "this is a kustomization, not a manifest", _KUSTOMIZE)
    return value


_KUSTOMIZE = "devloop deploys plain manifests: write 'kubectl kustomize' output to a file and name that in deploy.manifests."


def _object_hint(value: Object, source: str) -> str:
    if source.rpartition("/")[2].startswith("kustomization."):
        return _KUSTOMIZE
    keys = ", ".join(list(value)[:5])
    return f"Is it a Kubernetes manifest? Its keys are: {keys}. deploy.manifests in devloop.yaml says which files are read."


def _check_metadata(kind: str, metadata: Object, source: str, where: _Where) -> None:
    name = metadata.get("name")
    if not name and metadata.get("generateName"):
        _fail(source, where, f"this {kind} has generateName: devloop could not find it again at the next deploy",
              "Give it a name. A Job that changed is deleted and created again, so it needs no new name.")
    if not name:
        _fail(source, where, f"this {kind} has no metadata.name")
    for key in ("name", "namespace"):
        if not isinstance(metadata.get(key) or "", str):
            _fail(source, where, f"metadata.{key} of this {kind} must be text, found {_shown(metadata[key])}", "Put it in quotes.")
    for key in ("labels", "annotations"):
        if not isinstance(metadata.get(key) or {}, dict):
            _fail(source, where, f"metadata.{key} of {kind.lower()}/{name} must be a mapping, found {_shown(metadata[key])}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def refuse_twins(manifests: Sequence[Manifest]) -> None:
    """Raise `ConfigError` where two manifests describe the same object, whatever version of its kind they use."""
    seen: dict[tuple[str, str, str, str], Manifest] = {}
    for manifest in manifests:
        ref: ObjectRef = manifest.ref
        twin = seen.setdefault((ref.group, ref.kind, ref.namespace, ref.name), manifest)
        if twin is not manifest:
            raise ConfigError(f"{manifest.source}:{manifest.line}:1: {ref} is there already, in {twin.source}:{twin.line}",
                              hint="Remove one of the two, or rename it.")
