"""What the executor does, from its command line to its exit code."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path

from . import context, flags, log
from .build import Build
from .dockerfile import DockerfileError
from .filesystem import KANIKO
from .flags import Flags, UsageError
from .image import Image, Images
from .mounts import keep_secrets
from .registry import RegistryError
from .stages import TargetError
from .steps import StepError
from .transport import TransportError

VERSION = "v1.28.3"
DOCKERFILE = Path(KANIKO) / "Dockerfile"
OURS = ("Dockerfile", "Dockerfile.dockerignore", "buildcontext", "deps", "layers", "secrets")


def main(arguments: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(2))       # as Go's programs end, also where they are the first process
    if arguments == ["version"]:
        sys.stdout.write(f"Kaniko version :  {VERSION}\n")
        return
    try:
        given = flags.parse(arguments)
        where = _prepare(given)
    except UsageError as error:
        log.plain(f"Error: {error}\n{flags.usage()}")
        sys.exit(1)
    _executor(given, where)


def _prepare(given: Flags) -> Path:
    """The context's directory; the Dockerfile is where the build reads it."""
    try:
        log.configure(given.text["verbosity"], given.text["log-format"], given.on["log-timestamp"])
    except ValueError as error:
        raise UsageError(str(error)) from None
    log.info("active feature flags: FF_KANIKO_STANDIN")
    platform = given.text["custom-platform"]
    if platform and not re.fullmatch(r"\w+/\w+(/\w+)?", platform):
        why = "too many slashes" if platform.count("/") > 2 else "no architecture"
        log.fatal(f'Invalid platform "{platform}": {why} in platform spec: {platform}')
    keep_secrets(given)
    if not given.on["no-push"] and not given.many["destination"]:
        raise UsageError("you must provide --destination, or use --no-push")
    if given.on["cache"] and given.on["no-push"] and not given.on["no-push-cache"] and not given.text["cache-repo"]:
        raise UsageError("cache flags invalid: if using cache with --no-push, specify cache repo with --cache-repo")
    where = context.locate(given)
    told = "error resolving dockerfile path:"
    places = Path(given.text["dockerfile"]), where / given.text["dockerfile"]
    dockerfile = next((file for file in places if file.exists()), None)
    if not dockerfile:
        raise UsageError(f"{told} please provide a valid path to a Dockerfile within the build context with --dockerfile")
    try:
        shutil.copyfile(dockerfile, DOCKERFILE)
        os.chown(DOCKERFILE, dockerfile.stat().st_uid, dockerfile.stat().st_gid)    # whoever may not do this cannot build
        if (ignore := Path(f"{dockerfile}.dockerignore")).exists():
            shutil.copyfile(ignore, f"{DOCKERFILE}.dockerignore")
    except OSError as error:
        raise UsageError(f"{told} copying dockerfile: open {error.filename}: {str(error.strerror).lower()}") from None
    return where.absolute()


def _executor(given: Flags, where: Path) -> None:
    images = Images(given)
    step = "error checking push permissions"
    try:
        if not given.on["skip-push-permission-check"]:
            _check_push(given, images)
        for name in ("digest-file", "image-name-with-digest-file", "image-name-tag-with-digest-file"):
            given.text[name] = os.path.abspath(given.text[name]) if given.text[name] else ""
        os.chdir("/")
        step = "error building image"
        image = Build(given, images, where, DOCKERFILE).run()
        step = "error pushing image"
        _publish(given, images, image)
    except DockerfileError as error:
        _end(f"{step}: parsing dockerfile: {error}", 1)
    except StepError as error:
        _end(f"{step}: {error}", error.code)
    except (RegistryError, TransportError, TargetError, ValueError) as error:
        _end(f"{step}: {error}", 1)
    except OSError as error:
        told = f"{step}: error building stage: failed to get filesystem from image: " if step == "error building image" else f"{step}: "
        _end(f"{told}{error.filename}: {str(error.strerror).lower()}", 1)
    if given.on["cleanup"]:
        for name in OURS:
            path = Path(KANIKO) / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _check_push(given: Flags, images: Images) -> None:
    wanted = given.many["destination"]
    if given.on["no-push"]:
        wanted = [given.text["cache-repo"]] if given.text["cache-repo"] and not given.on["no-push-cache"] else []
    try:
        for destination in wanted:
            images.check_push(destination)
    except (RegistryError, TransportError):
        log.warning("make sure you entered the correct tag name, that you are authenticated correctly, and try again.")
        if "DOCKER_AUTH_CONFIG" in os.environ:
            log.warning("note that your DOCKER_AUTH_CONFIG env variable can shadow credentials from configfile")
        raise


def _publish(given: Flags, images: Images, image: Image) -> None:
    _, _, digest = images.manifest(image)
    _write(given.text["digest-file"], digest)
    names = [destination.rpartition(":") if ":" in destination.rpartition("/")[2] else (destination, ":", "latest")
             for destination in given.many["destination"]]
    _write(given.text["image-name-with-digest-file"], "".join(f"{name}@{digest}\n" for name, _, _ in names))
    _write(given.text["image-name-tag-with-digest-file"], "".join(f"{name}:{tag}@{digest}\n" for name, _, tag in names))
    if given.on["no-push"]:
        log.info("Skipping push to container registry due to --no-push flag")
        return
    for destination in given.many["destination"]:
        images.push(image, destination)


def _write(path: str, text: str) -> None:
    if path:
        with contextlib.suppress(FileExistsError):
            os.makedirs(os.path.dirname(path), mode=0o700)
        Path(path).write_text(text)


def _end(message: str, code: int) -> None:
    log.plain(message)
    sys.exit(code)
