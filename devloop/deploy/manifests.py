"""The manifests: which files they are, and what they look like with this generation's images in them."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devloop.clients import file_watches
from devloop.config.models import ImagePaths
from devloop.deploy import fields
from devloop.deploy.documents import parse, refuse_twins, to_yaml
from devloop.errors import ConfigError, DeployError
from devloop.model import ImageRef, Manifest, Object, PublishedImage

__all__ = ["MANAGED_BY", "NAME", "ManifestSet", "Rendered", "render", "to_yaml"]

MANAGED_BY = "app.kubernetes.io/managed-by"
NAME = "devloop.dev/name"
"""The label that is on every object and every pod of a project, with the project's name."""

_SUFFIXES = (".yaml", ".yml", ".json")


class ManifestSet:
    """The manifest files that `deploy.manifests` names, relative to `base`: files, globs (``**`` too), directories.

    Of a directory, and of what a glob finds, only ``*.yaml``, ``*.yml`` and ``*.json`` count, and no dot files.
    """

    def __init__(self, patterns: Sequence[str], base: Path) -> None:
        self._patterns = tuple(patterns)
        self._base = base.absolute()

    def load(self) -> list[Manifest]:
        """Every object, in the patterns' order and by file name within one; no file twice. Raises `ConfigError`."""
        files: dict[Path, Path] = {}
        for pattern in self._patterns:
            found = self._files(pattern)
            if not found:
                raise self._nothing(pattern)
            for file in found:
                files.setdefault(file.resolve(), file)
        manifests = [manifest for file in files.values() for manifest in parse(_read(file), _shown(file))]
        refuse_twins(manifests)
        return manifests

    @property
    def roots(self) -> tuple[Path, ...]:
        """What to watch: directories, so that files that are not there yet are noticed, too, and what in them is behind a link."""
        roots: dict[Path, None] = {}
        for pattern in self._patterns:
            root = self._fixed(pattern)
            while not root.is_dir() and root != root.parent:
                root = root.parent
            roots[root] = None
        linked: dict[Path, None] = {}
        for pattern in self._patterns:
            with suppress(OSError):     # `load` says so
                linked |= {link: None for file in self._files(pattern) for link in file_watches.links(file, roots)}
        return (*roots, *linked)

    def depends_on(self, path: Path) -> bool:
        """Whether `load` could come out differently because of `path`: a manifest, there or not, or a directory above."""
        names = Path(os.path.abspath(path)).parts
        for pattern in self._patterns:
            fixed = self._fixed(pattern).parts
            if names == fixed[: len(names)]:
                return True
            parts = Path(os.path.normpath(self._base / pattern)).parts
            parts = fixed + parts[len(fixed) :]
            if _counts(names[-1]) and any(_matches(parts, len(fixed), part) for part in (names, names[:-1])):
                return True
        return False

    def _files(self, pattern: str) -> list[Path]:
        path = Path(os.path.normpath(self._base / pattern))
        if path.is_dir():
            return _in_directory(path)
        if path.exists() or not glob.has_magic(pattern):
            return [path] if path.exists() else []
        found: list[Path] = []
        for match in sorted(glob.glob(pattern, root_dir=self._base, recursive=True)):
            path = Path(os.path.normpath(self._base / match))
            found += _in_directory(path) if path.is_dir() else [path] if _counts(path.name) else []
        return found

    def _fixed(self, pattern: str) -> Path:
        """The part of a pattern that names one place: its path up to the first wildcard."""
        parts = Path(os.path.normpath(self._base / pattern)).parts
        base = len(self._base.parts)        # wildcards in the project's own path are none
        magic = next((i for i, part in enumerate(parts) if i >= base and glob.has_magic(part)), len(parts))
        return Path(*parts[:magic])

    def _nothing(self, pattern: str) -> ConfigError:
        looked = os.path.normpath(self._base / pattern)
        kinds = "" if Path(pattern).suffix in _SUFFIXES else " (*.yaml, *.yml or *.json)"
        near = [_shown(file) for file in _nearby(self._base, self._fixed(pattern))]
        hint = f"Manifests nearby: {', '.join(near[:5])}{' …' if len(near) > 5 else ''}." if near else \
            "Correct deploy.manifests in devloop.yaml, or write the manifest."
        return ConfigError(f"deploy.manifests: '{pattern}' matches no file; looked for {looked}{kinds}", hint=hint)


def _counts(name: str) -> bool:
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def _in_directory(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if _counts(p.name) and p.is_file())


def _matches(pattern: Sequence[str], fixed: int, names: Sequence[str]) -> bool:
    """As glob matches: the first `fixed` parts literally, ``**`` any number of directories, no wildcard a leading dot."""
    if not pattern:
        return not names
    first, rest = pattern[0], pattern[1:]
    if fixed <= 0 and first == "**":
        return _matches(rest, 0, names) or (bool(names) and not names[0].startswith(".") and _matches(pattern, 0, names[1:]))
    if not names or not (first == names[0] if fixed > 0 else _segment(first, names[0])):
        return False
    return _matches(rest, fixed - 1, names[1:])


def _segment(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and (not name.startswith(".") or pattern.startswith("."))


def _nearby(base: Path, fixed: Path) -> list[Path]:
    """Manifests where someone may have looked for them: in the pattern's own place, else in the project's directories."""
    place = fixed if fixed.is_dir() else fixed.parent
    found = _in_directory(place) if place.is_dir() and place != base else []
    for depth in ("*", "*/*"):
        found = found or sorted(p for p in base.glob(depth) if _counts(p.name) and p.is_file() and p.stem != "devloop"
                                and not p.relative_to(base).parts[0].startswith("."))
    return found


def _shown(path: Path) -> str:
    """As the user would name it from where they are."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{_shown(file)}:{line}:1: this is not UTF-8 text", hint="Save it as UTF-8, or name only manifests.") from error
    except OSError as error:
        raise ConfigError(f"{_shown(file)}: cannot be read: {error.strerror}") from error


# --- render

@dataclass(frozen=True)
class Rendered:
    """`manifests` as they are to be applied, with `images` in them; `notices`: what was changed besides these, one line each."""

    manifests: tuple[Manifest, ...]
    notices: tuple[str, ...]
    images: tuple[PublishedImage, ...] = ()


def render(manifests: Sequence[Manifest], images: Sequence[PublishedImage], *, name: str,
           image_paths: Sequence[ImagePaths] = (), bases: Collection[str] = (), pull_secret: str = "") -> Rendered:
    """The manifests with the images' new references and the labels of project `name`. Pure: the given ones stay as they are.

    An image is recognised by its repository, whatever tag or digest is written. `bases`: artifacts that others are built
    from; no manifest needs to use those. `pull_secret`: what pods that pull the images are to name.
    Raises `DeployError` for an image that is used nowhere, `ConfigError` for a bad path.
    """
    by_repository = {ImageRef.parse(image.artifact).canonical: image for image in images}
    used: set[str] = set()
    seen: dict[str, None] = {}
    notices: list[str] = []
    rendered: list[Manifest] = []
    for manifest in manifests:
        obj: Object = json.loads(json.dumps(manifest.object))
        for image_field in fields.images(obj, image_paths):
            seen[image_field.image] = None
            image = by_repository.get(_repository(image_field.image))
            if image:
                used.add(image.artifact)
                image_field.holder[image_field.key] = str(image.ref)
                notices += _allow_local(image_field, image, manifest) if image.local_only else ()
                if pull_secret and not image.local_only:
                    _add_pull_secret(obj, pull_secret)
        _label(obj, name, image_paths)
        rendered.append(Manifest(obj, manifest.source, manifest.line))
    for image in images:
        if image.artifact not in used and image.artifact not in bases:
            raise _unused(image.artifact, seen, manifests)
    return Rendered(tuple(rendered), tuple(dict.fromkeys(notices)), tuple(images))


def _add_pull_secret(obj: Object, name: str) -> None:
    for spec in fields.pod_specs(obj):
        secrets = spec["imagePullSecrets"] = spec.get("imagePullSecrets") or []
        if not any(secret.get("name") == name for secret in secrets):
            secrets.append({"name": name})


def _repository(image: str) -> str:
    try:
        return ImageRef.parse(image).canonical
    except ValueError:
        return ""     # Kubernetes will say so, and better


def _allow_local(place: fields.ImageField, image: PublishedImage, manifest: Manifest) -> Iterator[str]:
    """No registry has the image: a pull must not be tried where the node has it.

    Set even where it is the default, because an object that was made with ``:latest`` keeps the ``Always`` it got then.
    """
    key = "pullPolicy" if place.key == "reference" else "imagePullPolicy"
    policy = place.holder.get(key)
    if policy in ("Never", "IfNotPresent"):
        return
    if policy is None and ".containers[" not in place.path and ".initContainers[" not in place.path:
        return        # a custom resource's own field: no policy was asked for, and its schema may not know one
    place.holder[key] = "IfNotPresent"
    if policy == "Always":
        yield f"{manifest.ref}: {key} Always becomes IfNotPresent, because {image.artifact} is only on this machine"


def _label(obj: Object, name: str, image_paths: Sequence[ImagePaths]) -> None:
    """Labels for the object and its pod templates; never for selectors, which cannot change. A ``managed-by`` of the user's own stays."""
    metadata = obj.setdefault("metadata", {})
    metadata["labels"] = {MANAGED_BY: "devloop", **(metadata.get("labels") or {}), NAME: name}
    for template in fields.pod_templates(obj, image_paths):
        metadata = template["metadata"] = template.get("metadata") or {}
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME: name}


def _unused(artifact: str, seen: Collection[str], manifests: Sequence[Manifest]) -> DeployError:
    """Names the images that the manifests do use, the likeliest first, and a field with the image that we do not know as one."""
    if not manifests:
        return DeployError(f"no manifest uses the image {artifact}: there are no manifests",
                           hint="Write one, and name it in deploy.manifests in devloop.yaml.")
    last = artifact.rpartition("/")[2]
    using = ", ".join(sorted(seen, key=lambda image: last not in image))
    message = f"no manifest uses the image {artifact}; they use {using or 'no image that devloop knows of'}"
    for manifest in manifests:
        for path in fields.mentions(manifest.object, artifact):
            return DeployError(message, hint=f"{manifest.ref} names it in {path}. To have it replaced there, add to deploy.imagePaths "
                                             f"in devloop.yaml: {{kind: {manifest.ref.kind}, paths: [\"{path}\"]}}")
    return DeployError(message, hint="Write the same name in devloop.yaml (build.artifacts) and in the manifest.")
