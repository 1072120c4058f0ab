"""The Engine's own push of an image, under a name that the image has only for that long."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine, Message
from devloop.clients.docker_images import push
from devloop.errors import Cancelled, EngineError, PublishError
from devloop.model import ImageRef
from devloop.publish.door import Door, Place
from devloop.publish.meter import Meter

_IN_WORDS = re.compile(r": digest: (\w+:[0-9a-f]+)\b")


def pushed_through(engine: DockerEngine, image_id: str, name: ImageRef, meter: Meter, cancel: Cancel, *, place: Place) -> str:
    """Have the Engine push the image to `place` as `name`, through a door on this machine.

    The digest of its manifest; empty where the Engine does not find that door. Raises what the place does, too.
    """
    try:
        with Door(place, name.repository, cancel) as door:
            return pushed(engine, image_id, ImageRef(f"{door.address}/{name.repository}", name.tag), meter, door.cancel)
    except (EngineError, Cancelled) as error:
        cancel.check()
        if door.failed:
            raise door.failed from error
        if door.reached:
            raise PublishError(f"the Docker Engine cannot push {name}: {error.message}") from error
        return ""      # it is in a virtual machine, or a network namespace of its own


class Interrupted(Exception):
    """Some part of the image did not arrive; the Engine does not say why before it gives up."""


def pushed(engine: DockerEngine, image_id: str, target: ImageRef, meter: Meter, cancel: Cancel, *,
           credentials: Mapping[str, Any] | None = None, retries: bool = True) -> str:
    """Have the Engine push the image as `target`; the digest of its manifest. What is refused is an `EngineError`.

    `retries` False: raises `Interrupted` instead of letting it try again, which it does four times, and for a minute, whatever is wrong.
    """
    layers: dict[str, tuple[int, int]] = {}
    digest = ""
    with _tagged(engine, image_id, target):
        for message in push(engine, target, credentials, cancel):
            if fault := (message.get("errorDetail") or {}).get("message") or message.get("error"):
                raise EngineError(fault, status=0)
            if not retries and str(message.get("status", "")).startswith("Retrying in "):
                raise Interrupted
            digest = _digest(message) or digest
            if _note(message, layers):
                meter.set(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
    if not digest:
        raise PublishError(f"the Docker Engine has pushed {target}, but does not say its digest")
    return digest


@contextmanager
def _tagged(engine: DockerEngine, image_id: str, target: ImageRef) -> Iterator[None]:
    """What the Engine pushes must have its name there."""
    there = engine.image_id(target)
    if there == image_id:
        yield
        return
    engine.tag(image_id, target)
    try:
        yield
    finally:
        if there:
            engine.tag(there, target)
        else:
            engine.remove_tag(target)


def _digest(message: Message) -> str:
    """The manifest's, where the message has it. Podman says it in words only: ``TAG: digest: sha256:… size: N``."""
    in_words = _IN_WORDS.search(str(message.get("status") or ""))
    return (message.get("aux") or {}).get("Digest") or (in_words[1] if in_words else "")


def _note(message: Message, layers: dict[str, tuple[int, int]]) -> bool:
    """Whether it says how far a layer is."""
    layer, detail = message.get("id", ""), message.get("progressDetail") or {}
    if message.get("status") == "Pushing" and detail.get("current"):
        layers[layer] = int(detail["current"]), max(int(detail.get("total") or 0), int(detail["current"]))
        return True
    if message.get("status") == "Pushed" and layer in layers:
        total = layers[layer][1]
        layers[layer] = total, total
        return True
    return False
