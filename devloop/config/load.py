"""devloop.yaml, from the file to a checked `Config`: read, parse, merge profiles, bind to the models, check what belongs together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devloop.config.bind import Binder
from devloop.config.checks import check
from devloop.config.models import Config, File
from devloop.config.problems import Position, Problem, Source
from devloop.config.profiles import UnknownProfile, check_profiles, effective
from devloop.config.shapes import fields, shape
from devloop.config.suggest import words
from devloop.config.tree import Items, Map, Node, Scalar, Unreadable, join, parse
from devloop.errors import ConfigError

MAX_BYTES = 1 << 20
VERSION = "devloop/v1"
SMALLEST = (f"apiVersion: {VERSION}", "name: hello", "build:", "  artifacts:", "    - image: hello-web")


@dataclass(frozen=True)
class Loaded:
    """A config in force. `file` is absolute.

    `sources`: for every value that is written in the file its place, by its path in `config` (``build.artifacts[0].image``);
    what is not there has its default. `tree`: the same values as they were written, profiles merged.
    """

    config: Config
    file: Path
    sources: Mapping[str, Position]
    tree: Map


def load(path: Path, *, environ: Mapping[str, str], profiles: Sequence[str] = ()) -> Loaded:
    """Read a config file. Raises `ConfigError` that tells of everything that is wrong in it, as ``file:line:column: path: what``."""
    source = Source(str(path), _read(path))
    root, problems = _parse(source, environ)
    problems += check_profiles(root)
    try:
        tree = effective(root, profiles)
    except UnknownProfile as exc:
        if problems:
            raise source.error(problems) from exc
        raise ConfigError(f"{path} has {exc}", hint=exc.hint) from exc
    binder = Binder()
    config = binder.bind(tree, shape(File))
    problems += [*binder.problems, *check(tree, path.absolute().parent)]
    if problems:
        raise source.error(problems)
    return Loaded(config, path.absolute(), dict(_sources(tree)), tree)


def _parse(source: Source, environ: Mapping[str, str]) -> tuple[Map, list[Problem]]:
    try:
        root, problems = parse(source, environ)
    except Unreadable as exc:
        raise source.error([exc.problem]) from exc
    if root is None:
        raise ConfigError(f"{source.name} is empty", hint="Begin with this:", details=SMALLEST)
    if not isinstance(root, Map):
        kind = "a list" if isinstance(root, Items) else f"'{root.text[:60]}'"
        raise source.error([Problem(root.at, "", f"expected a map with {words(fields(File), 'and')}, found {kind}")])
    version = root.get("apiVersion")
    if isinstance(version, Scalar) and version.kind == "text" and version.text != VERSION:  # what else it says is of no use
        ours = version.text.startswith("devloop/")
        raise source.error([Problem(version.at, version.path, f"expected '{VERSION}', found '{version.text}': "
                                    + ("another version of devloop is needed" if ours else "is this a devloop.yaml?"))])
    return root, problems


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as exc:
        other = path.with_name("devloop.yml")
        there = other != path and other.exists()
        raise ConfigError(f"{path} does not exist",
                          hint=f"Use {other} with -f {other}." if there else "Point to another config file with -f FILE.") from exc
    except IsADirectoryError as exc:
        inner = path / "devloop.yaml"
        hint = f"Use -f {inner}." if inner.is_file() else "Point to a config file with -f FILE."
        raise ConfigError(f"{path} is a directory, expected a file", hint=hint) from exc
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than 1 MiB: is it a devloop.yaml?", hint="Point to the config file with -f FILE.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        good = Source(str(path), content[: exc.start].decode("utf-8-sig", "replace"))
        raise ConfigError(f"{good.position(len(good.text))}: not UTF-8: the byte 0x{content[exc.start]:02x}",
                          hint="Save the file in UTF-8.") from exc


def _sources(node: Node, path: str = "") -> Iterator[tuple[str, Position]]:
    if path:
        yield path, node.at
    if isinstance(node, Map):
        for key, entry in node.entries.items():
            yield from _sources(entry.value, join(path, key))
    elif isinstance(node, Items):
        for index, item in enumerate(node.nodes):
            yield from _sources(item, join(path, index))
