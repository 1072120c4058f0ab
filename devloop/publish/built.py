"""What was built, as the Engine has it."""

from __future__ import annotations

from collections.abc import Sequence

from devloop.clients.docker import DockerEngine
from devloop.errors import PublishError
from devloop.model import BuiltImage


def check_built(engine: DockerEngine, image: BuiltImage) -> Sequence[str]:
    """The image's layers (their ``diff_ids``). Raises `PublishError` where something removed or replaced it under its name."""
    details = engine.image(str(image.ref))
    there = details.get("Id")
    if there != image.image_id:
        raise PublishError(f"{image.ref} is no longer in the Docker Engine as it was built ({image.image_id}, now: {there or 'none'})",
                           hint="Something removed or replaced it meanwhile. Build again.")
    return details["RootFS"].get("Layers") or ()


def layers(engine: DockerEngine, image_id: str) -> Sequence[str]:
    """The layers of an image that may have gone; what then pushes it says so."""
    return (engine.image(image_id).get("RootFS") or {}).get("Layers") or ()
