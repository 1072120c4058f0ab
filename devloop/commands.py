"""What each command does, but `dev` (see there). Errors are raised; the command line turns them into exit codes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from devloop.app import App
from devloop.cancel import Cancel
from devloop.deploy.documents import to_yaml
from devloop.errors import Cancelled, ConfigError, DeployError, DevloopError, UsageError
from devloop.events import Emit, GenerationFinished, GenerationStarted, Notice
from devloop.interrupt import interruptible, stay
from devloop.loop import failure
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.pipeline import arguments, in_order
from devloop.publish.names import foreseen


class Reported(DevloopError):
    """Ends a command whose error was shown already; carries that error's exit code."""

    def __init__(self, error: DevloopError) -> None:
        super().__init__(error.message)
        self.code = error.exit_code


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
        app.keep = not (tail or forward)
        _once(app, lambda cancel: pipeline.run(app.plan(None, pipeline), cancel))
        if tail or forward:
            stay()


def build(app: App, *, file_output: Path | None) -> None:
    """Build the artifacts; write their references for `deploy`."""
    app.build_only()
    pipeline = app.pipeline()
    _once(app, lambda cancel: pipeline.build(frozenset(a.image for a in app.config.build.artifacts), cancel))
    if file_output:
        listed = [{"imageName": image, "tag": str(built.ref)} for image, built in sorted(pipeline.known.built.items())]
        _write(file_output, json.dumps({"builds": listed}, indent=2) + "\n")


def deploy(app: App, *, build_artifacts: Path | None) -> None:
    """Deploy what is built already, and wait."""
    app.greet("deploy")
    app.keep = True
    pipeline = app.pipeline()

    def work(cancel: Cancel) -> None:
        images = _published(app, _listed(app, build_artifacts, app.emit), cancel) if build_artifacts else _built(app, cancel)
        pipeline.deploy(pipeline.render(images), cancel)

    _once(app, work)


def render(app: App, *, file_output: Path | None, build_artifacts: Path | None) -> None:
    """The manifests as they would be deployed, as YAML on standard output or in `file_output`."""
    tell = app.emit if file_output else lambda _: None      # standard output is for the manifests
    images = ({image: PublishedImage(image, ref) for image, ref in _listed(app, build_artifacts, tell).items()} if build_artifacts else
              {image: foreseen(image, ref, app.config.publish) for image, (ref, _) in _computed(app).items()})
    text = to_yaml(app.pipeline().render(images).manifests)
    if file_output:
        _write(file_output, text)
    else:
        sys.stdout.write(text)


def delete(app: App, *, volumes: bool) -> None:
    """Delete what this project deployed; with `volumes` its data, too."""
    app.greet("delete")
    interruptible(lambda cancel: app.deployer.delete(app.emit, cancel, volumes=volumes))


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


def _computed(app: App) -> dict[str, tuple[ImageRef, str]]:
    """The references that the content has now, with the glob of those it may have had before. Nothing is built."""
    refs: dict[str, tuple[ImageRef, str]] = {}
    for artifact in in_order(app.config.build.artifacts):
        build_args = arguments(artifact, {image: ref for image, (ref, _) in refs.items()})
        refs[artifact.image] = app.tag(artifact, app.analyse(artifact, Cancel()), build_args)
    return refs


def _built(app: App, cancel: Cancel) -> dict[str, PublishedImage]:
    """The images of the content as it is now. Raises `DeployError` for one that was not built."""
    images = {}
    for image, (ref, same_content) in _computed(app).items():
        found = app.builder.find(ref, same_content)
        if found is None:
            raise DeployError(f"{image} as it is now was never built: there is no {ref}",
                              hint="'devloop run' builds and deploys; 'devloop build' builds alone.")
        images[image] = app.publisher.publish(BuiltImage(image, *found, cached=True), app.emit, cancel)
    return images


def _published(app: App, refs: Mapping[str, ImageRef], cancel: Cancel) -> dict[str, PublishedImage]:
    """Images that are named: made reachable where they are here, else taken to be where the cluster finds them."""
    images = {}
    for image, ref in refs.items():
        pushed = (ref, "") if app.tools[image] == "kaniko" else None      # when it was built; nodes may call that place otherwise
        found = pushed if ref.digest else app.builder.find(ref, ref.tag)
        images[image] = (app.publisher.publish(BuiltImage(image, *found, cached=True), app.emit, cancel) if found
                         else PublishedImage(image, ref))
    return images


def _listed(app: App, file: Path, emit: Emit) -> dict[str, ImageRef]:
    """The references that `build --file-output` wrote, of the images that devloop.yaml builds. Raises `ConfigError`."""
    wanted = [artifact.image for artifact in app.config.build.artifacts]
    try:
        builds = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())["builds"]
        tags = {_text(b, "imageName"): _text(b, "tag") for b in builds}
        listed = {image: ImageRef.parse(tag) for image, tag in tags.items() if image in wanted}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file} is no list of builds: {error}",
                          hint='Expected what "devloop build --file-output" writes: {"builds": [{"imageName": …, "tag": …}]}.') from error
    if missing := [image for image in wanted if image not in listed]:
        raise ConfigError(f"{file} has no image for {', '.join(missing)}", hint="Was it written for another devloop.yaml?")
    for image, ref in listed.items():
        if not ref.digest and ref.tag in ("", "latest"):
            raise ConfigError(f"{file}: {ref} may mean another image tomorrow, so it is not deployed for {image}",
                              hint='Name it by a tag of its own, as "devloop build --file-output" does, or by its digest (@sha256:…).')
    if others := [image for image in tags if image not in listed]:
        emit(Notice(f"{file} lists {', '.join(others)}, too, which devloop.yaml does not build: ignored"))
    return listed


def _text(build: Any, key: str) -> str:
    if not isinstance(build[key], str):
        raise TypeError(f"{key} must be text, found {json.dumps(build[key])[:60]}")
    return str(build[key])


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
