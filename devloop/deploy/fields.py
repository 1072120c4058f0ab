"""Where in an object its images and its pod templates are: a small part of kubectl's JSON path, and the kinds we know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from devloop.config.models import ImagePaths
from devloop.errors import ConfigError
from devloop.model import Object, ObjectRef

_STEP = re.compile(r"\.(?P<key>[A-Za-z0-9_-]+)|\[(?P<all>\*)\]|\[(?P<index>\d+)\]|\[(?P<quote>['\"])(?P<quoted>[^'\"]+)(?P=quote)\]")

Key = str | int
Path = tuple[Key | None, ...]
"""Keys and indices; None is ``[*]``."""

POD_IMAGES = (".containers[*].image", ".initContainers[*].image", ".ephemeralContainers[*].image", ".volumes[*].image.reference")

_TEMPLATES: dict[tuple[str, str], str] = {
    ("", "Pod"): "",
    ("", "PodTemplate"): ".template",
    ("", "ReplicationController"): ".spec.template",
    ("apps", "Deployment"): ".spec.template",
    ("apps", "StatefulSet"): ".spec.template",
    ("apps", "DaemonSet"): ".spec.template",
    ("apps", "ReplicaSet"): ".spec.template",
    ("batch", "Job"): ".spec.template",
    ("batch", "CronJob"): ".spec.jobTemplate.spec.template",
}
"""Group and kind: where the pod template is."""


@dataclass(frozen=True)
class ImageField:
    """One image in an object: `holder[key]` is its text, `path` where that is, as one would write it."""

    holder: Object
    key: str
    path: str

    @property
    def image(self) -> str:
        return str(self.holder[self.key])


@cache
def parse_path(text: str) -> Path:
    """``.spec.template.spec.containers[*].image``, ``.a[0]``, ``.a['b.c']`` (a leading ``$`` or ``{…}`` around it is accepted).

    Raises `ConfigError` that says where it stops making sense.
    """
    inner = text.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    inner = inner if inner.startswith((".", "[")) else f".{inner}"
    steps: list[Key | None] = []
    position = 0
    while position < len(inner):
        match = _STEP.match(inner, position)
        if match is None:
            raise ConfigError(f"deploy.imagePaths: '{text}' is not a path that devloop understands: it stops at '{inner[position:]}'",
                              hint="Write it like .spec.template.spec.containers[*].image, .spec.images[0] or .spec['a.b'].image.")
        position = match.end()
        steps.append(int(match["index"]) if match["index"] else None if match["all"] else match["key"] or match["quoted"])
    if not isinstance(steps[-1], str):
        raise ConfigError(f"deploy.imagePaths: '{text}' must end in the name of a field", hint="For example .spec.images[*].name")
    return tuple(steps)


def select(value: Any, path: Path, at: str = "") -> Iterator[tuple[Any, Key, str]]:
    """Every place that `path` leads to and that is there: its container, the key in it, and how to write its path."""
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        keys: Sequence[Key] = range(len(value)) if step is None else [step] if isinstance(step, int) and step < len(value) else []
    elif isinstance(value, dict):
        keys = list(value) if step is None else [step] if isinstance(step, str) and step in value else []
    else:
        keys = []
    for key in keys:
        here = at + written(key)
        if rest:
            yield from select(value[key], rest, here)
        else:
            yield value, key, here


def written(key: Key) -> str:
    """One step of a path as text."""
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f"['{key}']"


def images(obj: Object, further: Sequence[ImagePaths]) -> Iterator[ImageField]:
    """The image fields of one object: those of the kinds we know and those of the paths in devloop.yaml.

    Raises `ConfigError` where a path from devloop.yaml leads to something else than text.
    """
    ref, seen = ObjectRef.of(obj), set()
    template = _TEMPLATES.get((ref.group, ref.kind))
    known = [] if template is None else [f"{template}.spec{image}" for image in POD_IMAGES]
    configured = [path for entry in further if entry.kind in (ref.kind, f"{ref.kind}.{ref.group}") for path in entry.paths]
    for text in known + configured:
        for holder, key, at in select(obj, parse_path(text)):
            if text in configured and not isinstance(holder[key], str):
                raise ConfigError(f"deploy.imagePaths: '{text}' leads to {at} of {ref}, which is not an image but {holder[key]!r:.60}",
                                  hint="The path must lead to the text of an image, such as .spec.image.")
            if isinstance(holder[key], str) and at not in seen:
                seen.add(at)
                yield ImageField(holder, str(key), at)


def pod_templates(obj: Object, further: Sequence[ImagePaths]) -> Iterator[Object]:
    """The pod templates in an object (not a Pod itself), as dicts with ``metadata`` and ``spec``.

    In custom resources only those that have labels already: not every schema admits a template's metadata.
    """
    ref = ObjectRef.of(obj)
    template = _TEMPLATES.get((ref.group, ref.kind))
    if template:
        yield from (holder[key] for holder, key, _ in select(obj, parse_path(template)) if isinstance(holder[key], dict))
        return
    tail = (*parse_path(".spec.containers"), None, "image")
    found: dict[int, Object] = {}
    for entry in further:
        for path in map(parse_path, entry.paths if entry.kind in (ref.kind, f"{ref.kind}.{ref.group}") else ()):
            if path[-4:-2] == tail[:2] and path[:-4]:
                found |= {id(h[k]): h[k] for h, k, _ in select(obj, path[:-4]) if isinstance(h[k], dict)}
    yield from (t for t in found.values() if isinstance(t.get("metadata"), dict) and t["metadata"].get("labels"))


def pod_specs(obj: Object) -> Iterator[Object]:
    """The specs of the pods that an object of a kind we know is, or makes."""
    ref = ObjectRef.of(obj)
    template = _TEMPLATES.get((ref.group, ref.kind))
    if template is not None:
        yield from (holder[key] for holder, key, _ in select(obj, parse_path(f"{template}.spec")) if isinstance(holder[key], dict))


def mentions(value: Any, image: str, at: str = "") -> Iterator[str]:
    """The paths (``[*]`` for any index) of all fields with "image" in their name that hold `image`, with a tag or digest or without."""
    if isinstance(value, list):
        for item in value:
            yield from mentions(item, image, f"{at}[*]")
    for key, inner in value.items() if isinstance(value, dict) else ():
        here = at + written(key)
        if isinstance(inner, str):
            if "image" in key.lower() and re.split("[:@]", inner)[0] == image:
                yield here
        else:
            yield from mentions(inner, image, here)


def ports(obj: Object) -> Iterator[Object]:
    """The ports of a Service or of the containers of a kind we know."""
    ref = ObjectRef.of(obj)
    template = _TEMPLATES.get((ref.group, ref.kind))
    paths = [".spec.ports[*].port"] if (ref.group, ref.kind) == ("", "Service") else [] if template is None else [
        f"{template}.spec.{containers}[*].ports[*].containerPort" for containers in ("containers", "initContainers")]
    for path in paths:
        for holder, _, _ in select(obj, parse_path(path)):
            yield holder
