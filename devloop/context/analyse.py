"""From an artifact's configuration to the files it is built from."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients import file_watches
from devloop.config.models import Artifact
from devloop.context.buildcontext import BuildContext
from devloop.context.cache import DigestCache
from devloop.context.dockerfile import parse
from devloop.context.ignore import IgnoreRules
from devloop.context.model import ContextFile, Kind
from devloop.context.select import Selection, Selector, unreadable
from devloop.context.sources import needs_buildkit, sources
from devloop.errors import ConfigError

DEFAULTS = ("Dockerfile", "Containerfile")
IGNORE = ".dockerignore"
Extra = tuple[ContextFile, bytes]
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)   # gone, or of another type


def analyse(artifact: Artifact, base: Path, cache: DigestCache, *, buildkit: bool = False, cancel: Cancel | None = None) -> BuildContext:
    """Which files `artifact` is built from; `base` is devloop.yaml's directory.

    `buildkit`: it will be built by BuildKit whatever the Dockerfile needs (the classic builder runs stages BuildKit skips).
    Files that only an ONBUILD of a base image takes are not found, unless the image's name says ``onbuild``.
    Raises `ConfigError` (no context, no Dockerfile, no such target, bad ignore file), `BuildError` (a COPY source that is not
    there or cannot be read), `Cancelled`.
    """
    check = cancel.check if cancel else _go_on
    base = Path(os.path.abspath(base))
    root = _root(artifact, base)
    name = shown(root, base)
    path, candidates = _dockerfile(artifact, root, base)
    data = _read(path, shown(path, base))
    dockerfile = parse(data, shown(path, base))
    args, target = artifact.docker.build_args, artifact.docker.target
    need = needs_buildkit(dockerfile, args)
    modern = buildkit or bool(need)
    ignores = (path.with_name(path.name + IGNORE), root / IGNORE)
    rules = _rules(ignores, base)
    selection = Selector(root, rules, name=name, check=check).select(
        sources(dockerfile, args, target, buildkit=modern), dockerfile=dockerfile.name, lenient=modern)
    files = _hashed(selection, root, name, cache, check)
    dockerfile_name, extras = _placed(path, data, root, files, modern)
    return BuildContext(
        root=root, name=name, dockerfile=path, dockerfile_name=dockerfile_name, files=files, needs_buildkit=need,
        instructions=dockerfile.instructions, size=sum(file.size for file in files), digest=_digest(data, files),
        roots=watch_roots(artifact, base), skipped=tuple(selection.skipped), extras=extras,
        inputs=frozenset((*candidates, *ignores, Path(os.path.realpath(path)))), selection=selection, rules=rules)


def watch_roots(artifact: Artifact, base: Path) -> tuple[Path, ...]:
    """What to watch, and where a fix for a failed `analyse` would come from: the context, the Dockerfile's directory if that lies
    elsewhere, and what of the Dockerfile and the ignore files is behind a link."""
    root = Path(os.path.abspath(base / artifact.context))
    candidates = _candidates(artifact, root)
    directory = candidates[0].parent
    roots = (root,) if directory == root or root in directory.parents else (root, directory)
    read = [root / IGNORE, *candidates, *(path.with_name(path.name + IGNORE) for path in candidates)]
    return tuple(dict.fromkeys((*roots, *(link for path in read for link in file_watches.links(path, roots)))))


def shown(path: Path, base: Path) -> str:
    """A path as the user would write it in devloop.yaml's directory."""
    relative = os.path.relpath(path, base)
    return os.fspath(path) if relative.startswith("../../") else relative


def _go_on() -> None:
    """The check of an analysis that nobody calls off."""


def _root(artifact: Artifact, base: Path) -> Path:
    root = Path(os.path.abspath(base / artifact.context))
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise ConfigError(f"the build context of {artifact.image}, {shown(root, base)}, {what}.",
                          hint="Correct 'context' in devloop.yaml; it is relative to that file.")
    return root


def _candidates(artifact: Artifact, root: Path) -> tuple[Path, ...]:
    wanted = artifact.docker.dockerfile
    return tuple(Path(os.path.abspath(root / name)) for name in ((wanted,) if wanted else DEFAULTS))


def _dockerfile(artifact: Artifact, root: Path, base: Path) -> tuple[Path, tuple[Path, ...]]:
    """The Dockerfile, and every path that would be it if it were there."""
    wanted = artifact.docker.dockerfile
    candidates = _candidates(artifact, root)
    for path in candidates:
        if path.is_file():
            return path, candidates
    if not wanted:
        raise ConfigError(f"the context of {artifact.image}, {shown(root, base)}, has neither a Dockerfile nor a Containerfile.",
                          hint="Write one, or say where it is with docker.dockerfile in devloop.yaml.")
    what = "is a directory" if candidates[0].is_dir() else "does not exist"
    beside = Path(os.path.abspath(base / wanted))
    hint = f"write {os.path.relpath(beside, root)}" if beside.is_file() else "correct docker.dockerfile in devloop.yaml"
    raise ConfigError(f"the Dockerfile of {artifact.image}, {shown(candidates[0], base)}, {what}.",
                      hint=f"It is relative to the context: {hint}.")


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(name, error) from error


def _rules(candidates: Sequence[Path], base: Path) -> IgnoreRules:
    """``<Dockerfile>.dockerignore`` has precedence over the context's ``.dockerignore``, as with BuildKit."""
    for path in candidates:
        if path.exists():
            name = shown(path, base)
            try:
                return IgnoreRules.parse(path.read_bytes(), name)
            except OSError as error:
                raise ConfigError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}.",
                                  hint="Make it a readable file, or remove it.") from error
    return IgnoreRules()


def _hashed(selection: Selection, root: Path, name: str, cache: DigestCache, check: Callable[[], None]) -> tuple[ContextFile, ...]:
    digests = cache.of(os.fspath(root))
    files: list[ContextFile] = []
    for path, status in sorted(selection.entries.items()):
        kind: Kind = "file"
        target = digest = ""
        try:
            if stat.S_ISDIR(status.st_mode):
                kind = "dir"
            elif stat.S_ISLNK(status.st_mode):
                kind, target = "link", os.readlink(root / path)
            else:
                digest = digests.digest(path, status, check)
        except OSError as error:
            if error.errno in _REPLACED:   # since the walk: what is there now brings a change of its own
                continue
            raise unreadable(f"{name}/{path}", error) from error
        size = status.st_size if kind == "file" else 0
        files.append(ContextFile(path, kind, stat.S_IMODE(status.st_mode), size, int(status.st_mtime), target, digest))
    return tuple(files)


def _digest(dockerfile: bytes, files: Sequence[ContextFile]) -> str:
    """Times are not in it: a fresh clone is the same context. No field can hold a NUL, so no two contexts read alike."""
    digest = hashlib.sha256(hashlib.sha256(dockerfile).digest())
    digest.update(os.fsencode("".join(f"{f.path}\0{f.kind}\0{f.mode:o}\0{f.target}\0{f.digest}\0" for f in files)))
    return digest.hexdigest()


def _placed(path: Path, data: bytes, root: Path, files: Sequence[ContextFile], modern: bool) -> tuple[str, tuple[Extra, ...]]:
    """Where the tar has the Dockerfile. One that the build may see stays where it is; any other goes under a name of its own,
    which the classic builder is told to hide by a .dockerignore, as the docker CLI does it."""
    known = {file.path: file for file in files}
    relative = os.path.relpath(path, root)
    digest = hashlib.sha256(data).hexdigest()
    if relative in known and known[relative].digest == digest:   # of a link there is none: the Engine would not follow it everywhere
        return relative, ()
    name = f".devloop-{digest[:12]}.Dockerfile"
    while name in known:
        name = f".devloop{name}"
    extras = [_extra(name, data)]
    if not modern:
        visible = known.get(IGNORE)
        content = (_read(root / IGNORE, IGNORE) if visible else IGNORE.encode()) + f"\n{name}\n".encode()
        extra, content = _extra(IGNORE, content)
        extras.append((extra._replace(mode=visible.mode, mtime=visible.mtime) if visible else extra, content))
    return name, tuple(extras)


def _extra(name: str, content: bytes) -> Extra:
    return ContextFile(name, "file", 0o644, len(content), 0, "", ""), content
