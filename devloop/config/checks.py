"""What must be true between values. Works on the tree, so that it finds its part also in a file that has other mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devloop.config.kaniko import check_kaniko
from devloop.config.problems import Problem
from devloop.config.suggest import did_you_mean, nearest
from devloop.config.tree import Items, Map, Node, Scalar
from devloop.model import ImageRef

_ANY_ADDRESS = ("0.0.0.0", "::")


def check(root: Map, base: Path) -> Iterator[Problem]:
    """All there is to say about the effective config; paths in it are relative to `base`."""
    build = root.get("build")
    artifacts = maps(build.get("artifacts")) if isinstance(build, Map) else []
    yield from duplicates(artifacts, "image", "artifact")
    yield from _contexts(artifacts, base)
    yield from _requirements(artifacts)
    yield from check_kaniko(root, artifacts)
    yield from _local_ports(maps(root.get("portForward")))


def duplicates(items: list[Map], key: str, what: str) -> Iterator[Problem]:
    """The items whose `key` an earlier one has already."""
    first: dict[str, Scalar] = {}
    for item in items:
        if not (name := _scalar(item, key)):
            continue
        before = first.setdefault(_canonical(name.text) if key == "image" else name.text, name)
        if before is not name:
            yield Problem(name.at, name.path, f"a second {what} '{name.text}'; the first is on line {before.at.line}")


def _contexts(artifacts: list[Map], base: Path) -> Iterator[Problem]:
    for artifact in artifacts:
        if (context := _scalar(artifact, "context")) and (fault := _context(context.text, base)):
            yield Problem(context.at, context.path, f"the context '{context.text}' {fault}")


def _context(text: str, base: Path) -> str:
    """What is wrong with the directory; empty: nothing."""
    path = base / text
    try:
        if path.is_dir():
            return ""
        if path.exists():
            return "is not a directory"
        siblings = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    except (OSError, ValueError) as exc:
        return f"cannot be read: {getattr(exc, 'strerror', None) or exc}"
    similar = nearest(path.name, siblings)
    return f"does not exist, did you mean '{Path(text).parent / similar}'?" if similar else f"does not exist in {base}"


def _requirements(artifacts: list[Map]) -> Iterator[Problem]:
    needs: dict[str, dict[str, Scalar]] = {}
    for artifact in artifacts:
        if image := _scalar(artifact, "image"):
            required = artifact.get("requires")
            items = required.nodes if isinstance(required, Items) else ()
            found = (item if isinstance(item, Scalar) else _scalar(item, "image") for item in items)
            needs.setdefault(image.text, {name.text: name for name in found if name and name.kind in ("text", "variable")})
    for artifact_image, required_here in needs.items():
        others = [each for each in needs if each != artifact_image]
        for name, node in required_here.items():
            if name not in needs:
                known = did_you_mean(name, others) or (f"; the other artifacts are: {', '.join(others)}" if others else "")
                yield Problem(node.at, node.path, f"no artifact builds '{name}'{known}")
    yield from _cycles(needs)


def _cycles(needs: dict[str, dict[str, Scalar]]) -> Iterator[Problem]:
    """One problem for each circle, at the requirement that closes it."""
    done: set[str] = set()

    def visit(image: str, way: tuple[str, ...]) -> Iterator[Problem]:
        done.add(image)
        for name, node in needs[image].items():
            if name in way:
                circle = " -> ".join((*way[way.index(name) :], name))
                yield Problem(node.at, node.path, f"these artifacts require each other in a circle: {circle}" if name != image
                              else f"the artifact '{image}' requires itself")
            elif name in needs and name not in done:
                yield from visit(name, (*way, name))

    for image in needs:
        if image not in done:
            yield from visit(image, (image,))


def _local_ports(forwards: list[Map]) -> Iterator[Problem]:
    taken: list[tuple[str, str, Scalar]] = []
    for forward in forwards:
        port = _scalar(forward, "localPort")
        if not port or port.text in ("", "0"):
            continue
        given = _scalar(forward, "address")
        address = given.text if given else "127.0.0.1"
        for other, other_address, before in taken:
            if other == port.text and (address == other_address or address in _ANY_ADDRESS or other_address in _ANY_ADDRESS):
                yield Problem(port.at, port.path, f"the local port {other} is taken by the forward on line {before.at.line}")
                break
        taken.append((port.text, address, port))


def maps(node: Node | None) -> list[Map]:
    """Those items of a list that are maps."""
    return [item for item in node.nodes if isinstance(item, Map)] if isinstance(node, Items) else []


def _scalar(node: Node, key: str) -> Scalar | None:
    value = node.get(key) if isinstance(node, Map) else None
    return value if isinstance(value, Scalar) and value.kind != "nothing" and not value.problem else None


def _canonical(image: str) -> str:
    try:
        return ImageRef.parse(image).canonical
    except ValueError:
        return image
