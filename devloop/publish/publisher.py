"""What the pipeline knows of publishing: making an image reachable for the cluster's nodes."""

from __future__ import annotations

from typing import Protocol

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
