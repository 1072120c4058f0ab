"""Whether what was built is still what the Engine has under its name."""

from __future__ import annotations

from devloop.clients.docker import DockerEngine
from devloop.errors import PublishError
from devloop.model import BuiltImage


def check_built(engine: DockerEngine, image: BuiltImage) -> None:
    """Raises `PublishError` where something removed or replaced it."""
    there = engine.image_id(image.ref)
    if there != image.image_id:
        raise PublishError(f"{image.ref} is no longer in the Docker Engine as it was built ({image.image_id}, now: {there or 'none'})",
                           hint="Something removed or replaced it meanwhile. Build again.")
