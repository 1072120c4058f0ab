"""WHAT is done, straight down: analyse → build → publish → render → deploy → rollout.

Each step emits events, none calls back up, and each ends when its `Cancel` closes what it waits on. What a generation has
learned (contexts, images) is kept for the next one, which then looks only at what changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Protocol

from devloop.build.builder import Builder, BuildJob
from devloop.cancel import Cancel
from devloop.config.models import Artifact, Config
from devloop.context import BuildContext, ContextChanged
from devloop.deploy.deployer import Deployer, PullAccess, Rollout
from devloop.deploy.manifests import ManifestSet, Rendered, render
from devloop.errors import Cancelled, DevloopError
from devloop.events import Emit, Event, Notice, ObjectApplied, StepFinished, StepStarted
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.plan import Plan
from devloop.publish.publisher import Publisher, confirm


class Steps(Protocol):
    """The parts of one target (`app.App` is one). Each is asked for when its turn comes: a render needs no cluster."""

    @property
    def builder(self) -> Builder: ...
    @property
    def publisher(self) -> Publisher: ...
    @property
    def pull_access(self) -> PullAccess: ...
    @property
    def deployer(self) -> Deployer: ...
    @property
    def rollout(self) -> Rollout: ...
    def analyse(self, artifact: Artifact, cancel: Cancel) -> BuildContext: ...
    def tag(self, artifact: Artifact, context: BuildContext, arguments: Mapping[str, str]) -> tuple[ImageRef, str]:
        """The reference to give, and a glob of the tags that the same content may have had before."""
        ...


@dataclass
class Known:
    """What earlier generations found out; replaced, never changed in place, because the watcher's thread reads it.

    `contexts`: None where the last analysis failed. `verified`: None also while one is under way."""

    contexts: Mapping[str, BuildContext | None] = field(default_factory=dict)
    verified: Mapping[str, BuildContext | None] = field(default_factory=dict)
    built: Mapping[str, BuiltImage] = field(default_factory=dict)
    published: Mapping[str, PublishedImage] = field(default_factory=dict)


class Pipeline:
    """One project's way from files to running pods."""

    def __init__(self, config: Config, base: Path, steps: Steps, emit: Emit) -> None:
        self.config = config
        self.manifests = ManifestSet(config.deploy.manifests, base)
        self.steps = steps
        self.known = Known()
        self._base = base
        self._emit = emit
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def use(self, config: Config) -> None:
        """Put an edited config in force; what is known of its artifacts stays."""
        self.config = config
        self.manifests = ManifestSet(config.deploy.manifests, self._base)
        images = {a.image for a in config.build.artifacts}
        self.known.published = {image: ref for image, ref in self.known.published.items() if image in images}

    def run(self, plan: Plan, cancel: Cancel) -> None:
        """One generation. Raises what its steps raise; `Cancelled` where it was called off."""
        self.build(plan.rebuild, cancel)
        confirm(self.steps.publisher, self.known.published, self._emit, cancel)      # the cluster may have lost what needed no build now
        self.deploy(self.render(self.known.published), cancel)

    # --- build and publish

    def build(self, images: frozenset[str], cancel: Cancel) -> None:
        """Build and publish these artifacts, each as soon as what it requires is there; the first failure ends the others."""
        artifacts = {a.image: a for a in self.config.build.artifacts if a.image in images}
        contexts = {image: self._analyse(artifact, cancel) for image, artifact in artifacts.items()}
        for image, artifact in artifacts.items():      # what can be known to fail is told before anything starts
            self.steps.builder.check(BuildJob(artifact, contexts[image], ImageRef(image), artifact.docker.build_args))
        order = TopologicalSorter({i: [r.image for r in a.requires if r.image in artifacts] for i, a in artifacts.items()})
        order.prepare()
        siblings = cancel.child()
        failed: BaseException | None = None
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(self.config.build.concurrency or None, thread_name_prefix="build") as pool:
            while running or (order.is_active() and not failed):
                if not failed:
                    running |= {pool.submit(self._build_one, artifacts[i], contexts[i], siblings): i for i in order.get_ready()}
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    image = running.pop(future)
                    if error := future.exception():
                        failed = failed if isinstance(error, Cancelled) and failed else error
                        siblings.cancel("another artifact failed")
                    else:
                        order.done(image)
        siblings.detach()
        cancel.check()
        if failed:
            raise failed

    def _analyse(self, artifact: Artifact, cancel: Cancel) -> BuildContext:
        self._learn("verified", artifact.image, None)
        try:
            context = self.steps.analyse(artifact, cancel)
        except DevloopError as error:
            if not isinstance(error, Cancelled):
                self._learn("contexts", artifact.image, None)      # what mends it may be a file that the old one did not see
            raise
        self._learn("contexts", artifact.image, context)
        self._learn("verified", artifact.image, context)
        if context.skipped:
            self._tell(f"{artifact.image}: not sent to the build: {', '.join(context.skipped)}")
        return context

    def _build_one(self, artifact: Artifact, context: BuildContext, cancel: Cancel) -> None:
        started = time.monotonic()
        self._emit(StepStarted("build", artifact.image))
        built = self._found_or_built(artifact, context, cancel)
        self._learn("built", artifact.image, built)
        self._emit(StepFinished("build", artifact.image, time.monotonic() - started, str(built.ref), built.cached))
        self._learn("published", artifact.image, self.steps.publisher.publish(built, self._emit, cancel))

    def _found_or_built(self, artifact: Artifact, context: BuildContext, cancel: Cancel) -> BuiltImage:
        build_args = arguments(artifact, {image: built.ref for image, built in self.known.built.items()})
        for last in (False, False, True):
            ref, same_content = self.steps.tag(artifact, context, build_args)
            if found := self.steps.builder.find(ref, same_content):
                return BuiltImage(artifact.image, *found, cached=True)
            try:
                return self.steps.builder.build(BuildJob(artifact, context, ref, build_args), self._emit, cancel)
            except ContextChanged:
                if last:
                    raise
                context = self._analyse(artifact, cancel)      # saved while it was sent: what is there now has another digest
        raise AssertionError("unreachable")

    def _learn(self, what: str, image: str, value: object) -> None:
        with self._lock:
            setattr(self.known, what, {**getattr(self.known, what), image: value})

    def _tell(self, message: str) -> None:
        """Once a session, not once a save."""
        if message not in self._told:
            self._told.add(message)
            self._emit(Notice(message))

    def prune(self) -> None:
        """Remove images of earlier generations that nothing uses."""
        for image in self.known.built:
            self.steps.builder.prune(image)

    # --- render, deploy, rollout

    def render(self, published: Mapping[str, PublishedImage]) -> Rendered:
        """The manifests with these images in them. Raises `ConfigError` or `DeployError`."""
        bases = {requirement.image for artifact in self.config.build.artifacts for requirement in artifact.requires}
        return render(self.manifests.load(), tuple(published.values()), name=self.config.name,
                      image_paths=self.config.deploy.image_paths, bases=bases, pull_secret=self.config.deploy.image_pull_secret)

    def deploy(self, rendered: Rendered, cancel: Cancel) -> None:
        """Apply what changed and wait until it runs."""
        for notice in rendered.notices:
            self._tell(notice)
        started = time.monotonic()
        counts: dict[str, int] = {}

        def counted(event: Event) -> None:
            if isinstance(event, ObjectApplied):
                counts[event.action] = counts.get(event.action, 0) + 1
            self._emit(event)

        self._emit(StepStarted("deploy"))
        secrets = self.steps.pull_access.prepare(rendered, self._emit, cancel)
        workloads = self.steps.deployer.deploy((*secrets, *rendered.manifests), counted, cancel)
        self._emit(StepFinished("deploy", "", time.monotonic() - started,
                                ", ".join(f"{n} {action}" for action, n in counts.items()), not set(counts) - {"unchanged"}))
        self.steps.rollout.wait(workloads, self._emit, cancel)


def arguments(artifact: Artifact, built: Mapping[str, ImageRef]) -> dict[str, str]:
    """The artifact's build arguments, with the references of what it requires: ``ghcr.io/acme/hello-base`` is ``HELLO_BASE``."""
    required = {r.alias or "".join(c if c.isalnum() else "_" for c in r.image.rpartition("/")[2]).upper(): str(built[r.image])
                for r in artifact.requires}
    return required | artifact.docker.build_args


def in_order(artifacts: Iterable[Artifact]) -> list[Artifact]:
    """The artifacts, each after those it requires."""
    by_image = {a.image: a for a in artifacts}
    return [by_image[i] for i in TopologicalSorter({i: [r.image for r in a.requires] for i, a in by_image.items()}).static_order()]
