"""Images that their builder has pushed already: only their name for the cluster's nodes is to be told."""

from __future__ import annotations

import time

from devloop.cancel import Cancel
from devloop.config.models import Registry
from devloop.errors import PublishError
from devloop.events import Emit, StepFinished, StepStarted
from devloop.model import BuiltImage, ImageRef, PublishedImage
from devloop.publish.names import renamed


class PushedPublisher:
    """A `Publisher`. That the image is there is proven by its digest, which only who pushed it, or the registry, can have told."""

    def __init__(self, registry: Registry, reason: str) -> None:
        self._registry = registry
        self.reason = reason

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        if not image.ref.digest:
            raise PublishError(f"{image.ref} has no digest: it is not known to be in its registry", hint="Build it again.")
        name = renamed(image.artifact, self._registry.pull_repository or self._registry.repository)
        pulled = ImageRef(name, image.ref.tag, image.ref.digest)
        emit(StepFinished("publish", image.artifact, time.monotonic() - started, f"{pulled}", cached=True))
        return PublishedImage(image.artifact, pulled)
