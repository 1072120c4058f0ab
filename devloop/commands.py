"""What each command does, but `dev` (see there). Errors are raised; the command line turns them into exit codes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from devloop.app import App
from devloop.cancel import Cancel
from devloop.deploy.documents import to_yaml
from devloop.errors import Cancelled, ConfigError, DevloopError, UsageError
from devloop.events import Emit, GenerationFinished, GenerationStarted
from devloop.interrupt import interruptible, stay
from devloop.loop import failure
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.pipeline import arguments, in_order


class Reported(DevloopError):
    """Ends a command whose error was shown already; carries that error's exit code."""

    def __init__(self, error: DevloopError) -> None:
        super().__init__(error.message)
        self.code = error.exit_code


class Unpublished:
    """`build` alone: the image stays where it was built."""

    reason = ""

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        return PublishedImage(image.artifact, image.ref, local_only=True)


def run(app: App, *, tail: bool, port_forward: bool | None) -> None:
    """Build, deploy and wait, once; with `tail` or `port_forward` stay until interrupted."""
    app.greet("run")
    pipeline = app.pipeline()
    forward = tail if port_forward is None else port_forward
    with ExitStack() as streams:
        if tail:
            app.tail(streams)
        if forward:
            app.forward(streams, app.config.port_forward)
        _once(app, lambda cancel: pipeline.run(app.plan(None, pipeline), cancel))
        if tail or forward:
            stay()


def build(app: App, *, file_output: Path | None) -> None:
    """Build the artifacts; write their references for `deploy`."""
    app.publisher = Unpublished()
    pipeline = app.pipeline()
    _once(app, lambda cancel: pipeline.build(frozenset(a.image for a in app.config.build.artifacts), cancel))
    if file_output:
        listed = [{"imageName": image, "tag": str(built.ref)} for image, built in sorted(pipeline.known.built.items())]
        _write(file_output, json.dumps({"builds": listed}, indent=2) + "\n")


def deploy(app: App, *, build_artifacts: Path | None) -> None:
    """Deploy what is built already, and wait."""
    app.greet("deploy")
    pipeline = app.pipeline()

    def work(cancel: Cancel) -> None:
        images = _listed(app, build_artifacts) if build_artifacts else _computed(app)
        pipeline.deploy(pipeline.render(images), cancel)

    _once(app, work)


def render(app: App, *, file_output: Path | None, build_artifacts: Path | None) -> None:
    """The manifests as they would be deployed, as YAML on standard output or in `file_output`."""
    text = to_yaml(app.pipeline().render(_listed(app, build_artifacts) if build_artifacts else _computed(app)).manifests)
    if file_output:
        _write(file_output, text)
    else:
        sys.stdout.write(text)


def delete(app: App) -> None:
    """Delete what this project deployed."""
    app.greet("delete")
    interruptible(lambda cancel: app.deployer.delete(app.emit, cancel))


def _once(app: App, work: Callable[[Cancel], None]) -> None:
    """`work` as the one generation of a command."""
    app.emit(GenerationStarted(1, (), 0))
    started = time.monotonic()
    try:
        interruptible(work)
    except Cancelled:
        app.emit(GenerationFinished(1, "stale", time.monotonic() - started))
        raise
    except DevloopError as error:
        app.emit(failure(error))
        app.emit(GenerationFinished(1, "failed", time.monotonic() - started))
        raise Reported(error) from error
    app.emit(GenerationFinished(1, "live", time.monotonic() - started))


def _computed(app: App) -> dict[str, PublishedImage]:
    """The references that the content has now: nothing is built for them."""
    images: dict[str, PublishedImage] = {}
    for artifact in in_order(app.config.build.artifacts):
        refs = {image: published.ref for image, published in images.items()}
        ref = app.tag(artifact, app.analyse(artifact), arguments(artifact, refs))
        images[artifact.image] = PublishedImage(artifact.image, ref, local_only=True)
    return images


def _listed(app: App, file: Path) -> dict[str, PublishedImage]:
    """The references that `build --file-output` wrote. Raises `ConfigError`."""
    try:
        builds = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())["builds"]
        listed = {b["imageName"]: ImageRef.parse(b["tag"]) for b in builds}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is no list of builds: {error}",
                          hint='Expected what "devloop build --file-output" writes: {"builds": [{"imageName": …, "tag": …}]}.') from error
    missing = [a.image for a in app.config.build.artifacts if a.image not in listed]
    if missing:
        raise ConfigError(f"{file} has no image for {', '.join(missing)}", hint="Was it written for another devloop.yaml?")
    return {image: PublishedImage(image, ref) for image, ref in listed.items()}


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
