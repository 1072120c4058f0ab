"""A blob on its way into a registry, in chunks; after a break it goes on where the registry says it was.

docker's registry until version 2 gives an upload up where the break was within a chunk: its own note of the offset, which the next
request has to carry, was in the answer that did not come (distribution/distribution: "upload resumed at wrong offset").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlencode

from devloop.cancel import Cancel
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import RegistryUnreachable
from devloop.clients.registry_http import Answer, ConnectionLost
from devloop.errors import DevloopError

PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0)     # seconds before each attempt to go on after a break


class UploadLost(Exception):
    """The registry has forgotten what it was sent: the blob has to be sent from its beginning."""


class Upload:
    """One blob. `send` its chunks, then `finish`; or `abandon` it. Raises as `Registry` does, and `UploadLost`."""

    def __init__(self, registry: Registry, repository: str, cancel: Cancel) -> None:
        self._registry, self._repository, self._cancel = registry, repository, cancel
        self.sent = 0          # bytes that the registry has
        answer = registry.request("POST", f"/v2/{repository}/blobs/uploads/", cancel, repository=repository)
        self._location = registry.location(registry.expect(answer, repository, 202))

    def send(self, chunk: bytes) -> None:
        """The next bytes of the blob."""
        rest, pauses = memoryview(chunk), iter(PAUSES)
        while rest:
            headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{self.sent}-{self.sent + len(rest) - 1}"}
            try:
                answer = self._request("PATCH", self._location, headers, rest)
                self._location = self._registry.location(self._expected(answer, 202))
                self.sent += len(rest)
                rest = rest[:0]
            except ConnectionLost as error:
                rest = self._resumed(rest, error, pauses)

    def finish(self, digest: str, last: bytes = b"") -> None:
        """The whole blob is there; the registry makes sure that this is its digest. `last`: its last bytes."""
        location = self._location + ("&" if "?" in self._location else "?") + urlencode({"digest": digest})
        headers = {"Content-Type": "application/octet-stream"}
        try:
            answer = self._request("PUT", location, headers, memoryview(last))
            self._expected(answer, 201)
            self.sent += len(last)
        except ConnectionLost as error:
            if self._registry.blob(self._repository, digest, self._cancel) is None:
                if not last:
                    raise UploadLost(str(error)) from error
                self.send(bytes(self._resumed(memoryview(last), error, iter(PAUSES))))
                self.finish(digest)

    def abandon(self) -> None:
        """Let the registry forget it."""
        with suppress(DevloopError):      # it forgets by itself, later
            self._registry.request("DELETE", self._location, self._cancel, repository=self._repository)

    def _resumed(self, rest: memoryview, error: ConnectionLost, pauses: Iterator[float]) -> memoryview:
        """What of `rest` the registry lacks after a break, as soon as it answers again."""
        for pause in pauses:
            self._cancel.wait(pause)
            with suppress(ConnectionLost, RegistryUnreachable):
                answer = self._expected(self._request("GET", self._location, {}, memoryview(b"")), 204)
                self._location = self._registry.location(answer) or self._location
                last = int(answer.headers.get("range", "0-0").rpartition("-")[2])
                arrived = (last + 1 if last else 0) - self.sent
                if not 0 <= arrived <= len(rest):
                    raise UploadLost(f"the registry has {self.sent + arrived} bytes")
                self.sent += arrived
                return rest[arrived:]
        raise self._registry.unreachable(error) from error

    def _request(self, method: str, path: str, headers: dict[str, str], body: memoryview) -> Answer:
        return self._registry.request_once(method, path, self._cancel, repository=self._repository, headers=headers, body=body)

    def _expected(self, answer: Answer, status: int) -> Answer:
        if answer.status in (404, 416):
            raise UploadLost(f"HTTP status {answer.status}")
        return self._registry.expect(answer, self._repository, status)
