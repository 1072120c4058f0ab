"""What the pipeline knows of publishing: making an image reachable for the cluster's nodes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from devloop.cancel import Cancel
from devloop.events import Emit
from devloop.model import BuiltImage, PublishedImage


class Publisher(Protocol):
    """One route by which images reach the cluster. Safe from several threads at once."""

    @property
    def reason(self) -> str:
        """Which route this is and why it was chosen, in one line."""
        ...

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        """Make the image reachable and prove it. Raises `PublishError`, `UnreachableError` or `Cancelled`."""
        ...


@runtime_checkable
class Confirming(Protocol):
    """What a `Publisher` is, too, if what it published may be lost afterwards."""

    def confirm(self, artifacts: Collection[str], emit: Emit, cancel: Cancel) -> None:
        """Before a deploy: have what was published of these artifacts, and of no others, reachable still. Raises as `publish` does."""
        ...


def confirm(publisher: Publisher, artifacts: Collection[str], emit: Emit, cancel: Cancel) -> None:
    """Have what the publisher published of these reachable still."""
    if artifacts and isinstance(publisher, Confirming):
        publisher.confirm(artifacts, emit, cancel)
