"""Blobs sent side by side while the archive they come from is read on."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from devloop.cancel import Cancel
from devloop.publish.archive import Content
from devloop.publish.meter import Meter
from devloop.publish.repository import Repository

AT_ONCE = 4
AHEAD = 2       # chunks of each blob that may wait in memory


class Sending:
    """Sends the blobs of one image to one repository. Leaving it waits for all of them; the first failure ends the others."""

    def __init__(self, repository: Repository, meter: Meter, sent: Callable[[str, int], None], cancel: Cancel) -> None:
        """`sent` is told the digest and size of each blob that has arrived."""
        self._repository, self._meter, self._sent = repository, meter, sent
        self._cancel = cancel.child()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload")
        self._running: list[Future[None]] = []
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind:
            self._cancel.cancel("the rest of the image cannot be sent")
        self._pool.shutdown()
        self._cancel.detach()
        if self._failed and (kind is None or isinstance(error, _Stopped)):
            raise self._failed

    def send(self, content: Content) -> None:
        """Returns when all of it is read, not when it has arrived."""
        self._meter.expect(content.size)
        pipe = _Pipe()
        self._running.append(self._pool.submit(self._run, content, pipe))
        try:
            for chunk in content.chunks():
                if self._failed or not pipe.put(chunk):
                    raise _Stopped
        finally:
            pipe.end()

    def _run(self, content: Content, pipe: _Pipe) -> None:
        try:
            digest = self._upload(content, pipe)
        except BaseException as error:  # noqa: BLE001  raised again by whoever waits for the blobs
            self._failed = self._failed or error
            self._cancel.cancel("another part of the image cannot be sent")
            pipe.abandon()
        else:
            self._sent(digest, content.size)

    def _upload(self, content: Content, pipe: _Pipe) -> str:
        """The digest of what was sent; an unknown one is reckoned on the way, a known one the registry checks."""
        hashed = None if content.digest else hashlib.sha256()
        upload = self._repository.upload(self._cancel)
        last = b""
        for last in pipe:
            if hashed:
                hashed.update(last)
            if upload.sent + len(last) < content.size:
                upload.send(last)
                self._meter.add(len(last))
        if upload.sent + len(last) != content.size:      # reading has failed, and says so itself
            upload.abandon()
            raise _Stopped
        digest = f"sha256:{hashed.hexdigest()}" if hashed else content.digest
        upload.finish(digest, last)
        self._meter.add(len(last))
        return digest


class _Stopped(Exception):
    """Something else has failed, and is the reason."""


class _Pipe:
    """A few chunks between the thread that reads the archive and the one that sends the blob."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._ended = self._abandoned = False

    def put(self, chunk: bytes) -> bool:
        """Waits for room. False: nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._chunks) < AHEAD)
            self._chunks.append(chunk)
            self._changed.notify_all()
            return not self._abandoned

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._chunks)
                if not self._chunks:
                    return
                chunk = self._chunks.popleft()
                self._changed.notify_all()
            yield chunk
