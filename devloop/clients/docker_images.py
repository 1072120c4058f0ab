"""Images on their way out of an Engine, pushed by the Engine itself or read out of its store, and on their way into it."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote

from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.docker import DockerEngine, Message, messages
from devloop.errors import EngineError
from devloop.model import ImageRef


def push(engine: DockerEngine, ref: ImageRef, credentials: Mapping[str, Any] | None, cancel: Cancel) -> Generator[Message, None, None]:
    """``POST /images/NAME/push`` of the image with this repository and tag. `credentials`: for its registry; None: nobody logged in.

    What the registry refuses comes in an ``errorDetail`` message; the last ``aux`` has the ``Digest``. Raises `EngineError`,
    `UnreachableError` or `Cancelled`; the Engine stops when the connection ends.
    """
    headers = {"X-Registry-Auth": docker_auth.header(credentials or {})}
    path = f"/images/{quote(ref.repository)}/push"
    with engine.mapped(), engine.stream("POST", path, cancel, query={"tag": ref.tag}, headers=headers) as response:
        yield from messages(response)


class ImageStream:
    """A tar with an image: ``docker save``'s, as it comes."""

    def __init__(self, engine: DockerEngine, response: Any) -> None:
        self._engine, self._response = engine, response

    def read(self, size: int = -1) -> bytes:
        """Exactly `size` bytes, fewer only at the end. Raises `UnreachableError`."""
        with self._engine.mapped():
            data: bytes = self._response.read(size)
        return data


@contextmanager
def save(engine: DockerEngine, image_id: str, cancel: Cancel) -> Iterator[ImageStream]:
    """``GET /images/ID/get``. What is raised inside passes through as it is; leaving early ends the Engine's work."""
    with ExitStack() as stack:
        with engine.mapped():
            response = stack.enter_context(engine.stream("GET", f"/images/{quote(image_id)}/get", cancel))
        yield ImageStream(engine, response)


def load(engine: DockerEngine, archive: bytes, cancel: Cancel) -> None:
    """``docker load``. Raises `EngineError`, `UnreachableError` or `Cancelled`."""
    with engine.mapped(), engine.stream("POST", "/images/load", cancel, query={"quiet": "1"}, headers={"Content-Type": "application/x-tar"},
                                        body=(archive,)) as response:
        for message in messages(response):
            if "error" in message:
                raise EngineError(f"the Engine does not take the image: {message['error']}", status=0)
