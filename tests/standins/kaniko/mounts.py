"""``RUN --mount``: caches that stay in the container, secrets, and files of the context."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from . import filesystem, log
from .dockerfile import Instruction
from .flags import Flags, UsageError
from .state import State

CACHES = "/kaniko/caches"
SECRETS = Path("/kaniko/secrets")


def keep_secrets(flags: Flags) -> None:
    """Files are read before the filesystem is touched. Raises UsageError."""
    for secret in flags.many["secret"]:
        known = _fields(secret)
        if known["type"] == "env" and known["src"] not in os.environ:
            raise UsageError(f'error resolving secrets: environment variable for secret "{known["id"]}" not set: {known["src"]}')
        if known["type"] == "file":
            SECRETS.mkdir(mode=0o700, exist_ok=True)
            try:
                shutil.copyfile(known["src"], SECRETS / known["id"])
            except OSError as error:
                raise UsageError(f"error resolving secrets: copying secret {known['src']}: {error}") from None


@contextlib.contextmanager
def mounted(instruction: Instruction, flags: Flags, state: State, context: Path) -> Iterator[dict[str, str]]:
    """While it runs; the secrets that it gets as variables."""
    environ: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for text in (value for key, value in instruction.flags if key == "mount"):
            options = dict(part.partition("=")[::2] for part in state.expand(text).split(","))
            kind = options.get("type", "bind")
            target = options.get("target") or options.get("dst") or options.get("destination") or ""
            if kind == "cache":
                place = os.path.join(CACHES, hashlib.sha256((options.get("id") or os.path.normpath(target)).encode()).hexdigest())
                os.makedirs(place, exist_ok=True)
                stack.enter_context(_swapped(place, target))
            elif kind == "secret":
                stack.enter_context(_secret(options, target, flags, environ))
            elif kind == "bind" and options.get("from", "context") == "context":
                stack.enter_context(_bound(context / (options.get("source") or options.get("src") or "."), target))
            else:
                log.warning(f"Kaniko does not support '--mount=type={kind}' flags in RUN statements - "
                            "relying on unsupported flags can lead to invalid builds")
        yield environ


@contextlib.contextmanager
def _swapped(place: str, target: str) -> Iterator[None]:
    first = target
    while not os.path.exists(os.path.dirname(first)):
        first = os.path.dirname(first)
    there = os.path.isdir(target)
    os.makedirs(target, exist_ok=True)
    aside = place + ".aside"
    shutil.move(target, aside)
    shutil.move(place, target)
    try:
        yield
    finally:
        shutil.move(target, place)
        if there:
            shutil.move(aside, target)
        else:
            shutil.rmtree(aside)
            filesystem.remove(first)


@contextlib.contextmanager
def _secret(options: dict[str, str], target: str, flags: Flags, environ: dict[str, str]) -> Iterator[None]:
    name = options.get("id") or os.path.basename(target)
    known = next((fields for fields in map(_fields, flags.many["secret"]) if fields["id"] == name), None)
    if not known:
        log.info(f'skip mounting "{name}" as it is not available')
        yield
        return
    value = os.environ[known["src"]] if known["type"] == "env" else (SECRETS / name).read_text()
    if "env" in options:
        environ[options["env"]] = value
        if not target:
            yield
            return
    path = target or f"/run/secrets/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(value)
    os.chmod(path, int(options.get("mode", "400"), 8))
    os.chown(path, int(options.get("uid", "0")), int(options.get("gid", "0")))
    try:
        yield
    finally:
        os.unlink(path)
        with contextlib.suppress(OSError):
            os.removedirs(os.path.dirname(path))


@contextlib.contextmanager
def _bound(source: Path, target: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
    try:
        yield
    finally:
        filesystem.remove(target)


def _fields(secret: str) -> dict[str, str]:
    """``id=…,src=…|env=…[,type=file|env]`` as id, type and src."""
    given = dict(part.partition("=")[::2] for part in secret.split(","))
    source = given.get("src") or given.get("source") or given.get("env") or given["id"]
    kind = given.get("type") or ("env" if "env" in given or (source == given["id"] and source in os.environ) else "file")
    return {"id": given["id"], "type": kind, "src": source}
