"""One container's log: from its first line, through restarts and broken connections, to its last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Literal
from urllib.parse import quote

from devloop.cancel import Cancel
from devloop.clients.kube import ByteStream, Kube, Query
from devloop.errors import ApiError, Cancelled, DevloopError, UnreachableError
from devloop.events import Emit, LogLine
from devloop.logs.names import Source
from devloop.logs.position import CHUNK, Position, joined
from devloop.pods import Container

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0     # between tries, doubling
STATUS_DELAY = 1.5                         # a container's end shows in its status at the kubelet's next look, a second apart
STARTING = ("", "ContainerCreating")       # anything else is told by a new status first

Step = Literal["follow", "try", "finish", "previous", "none"]


class Tail:
    """Reads while there is something to read, on a thread of its own; every `update` with a newer status may start it again."""

    def __init__(self, kube: Kube, source: Source, emit: Emit, forbidden: Callable[[Source, DevloopError], None], *,
                 since: Callable[[], int] | None = None, restarts: int = 0, backlog: bool = False) -> None:
        """`since`: seconds to look back at the first request, None for the log's start. `restarts`: the instance to begin with.
        `backlog`: it has run for a while, and most of its lines are to be had faster than by following. `forbidden` is told why
        nothing can be read, where the API server refuses it."""
        self.source = source
        self._kube = kube
        self._emit = emit
        self._forbidden = forbidden
        self._since = since
        self._backlog = backlog
        self._cancel = Cancel()
        self._position = Position(whole=since is None)
        self._rest = b""                   # the beginning of a line whose end was not read yet
        self._instance = restarts          # read now, or last
        self._first = b""                  # the stamp of its first line
        self._finished = -1                # the last instance that was read to its end
        self._changed = threading.Condition()
        self._container: Container | None = None
        self._version = 0
        self._gone = False
        self._reading = False
        self._thread: threading.Thread | None = None    # reads, or is at its end

    def update(self, container: Container, source: Source) -> None:
        """The pod changed. Returns at once."""
        with self._changed:
            self.source = source
            if self._container is None or container.status != self._container.status:
                self._container = container
                self._version += 1
                self._changed.notify_all()
            if not self._reading and not self._cancel.cancelled and self._next() != "none":
                self.join()         # the one before has nothing left to do
                self._reading = True
                name = f"log {source.pod}/{source.container}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def gone(self) -> None:
        """The pod is no more: what is being read is read to its end, and nothing after it."""
        with self._changed:
            self._gone = True
            self._version += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End the reading; `join` waits for that."""
        self._cancel.cancel()
        with self._changed:
            self._changed.notify_all()

    @property
    def reading(self) -> bool:
        """There is something to `join`."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    # --- what to read

    def _next(self) -> Step:
        container = self._container
        if container is None:
            return "none"
        if self._gone:
            return "none" if self._finished == self._instance else "finish"
        if container.restarts > self._instance:
            return "previous"
        if container.running:
            return "follow"
        if container.terminated or container.last_terminated:
            return "none" if self._finished == self._instance else "finish"
        return "try" if container.waiting.get("reason", "") in STARTING else "none"

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            with self._changed:
                # what is read belongs to the status that it is read for, whatever comes meanwhile
                step, version, restarts = self._next(), self._version, self._container.restarts if self._container else 0
                if step == "none" or self._cancel.cancelled:
                    self._reading = False
                    return
            try:
                followed = step in ("follow", "try") and not self._backlog
                if self._read(step, restarts):
                    pause = FIRST_PAUSE
                if followed:
                    self._wait(version, STATUS_DELAY)
                continue
            except Cancelled:
                continue
            except ApiError as error:
                if error.status == 403:
                    self._forbidden(self.source, error)
                    self._cancel.cancel()
                    continue
                if step in ("previous", "finish") and error.status < 500:
                    self._end(step, restarts)        # the runtime has removed it
                    continue
            except UnreachableError:
                pass                       # the pods' watch tells the user, once
            tired = step == "try" and pause > LONGEST_PAUSE      # whatever it waits for, a new status will tell
            changed = self._wait(version, None if tired else min(pause, LONGEST_PAUSE))
            pause = FIRST_PAUSE if changed else pause * 2

    def _wait(self, version: int, seconds: float | None) -> bool:
        """Until the status is newer than `version`; False if it was not within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version != version or self._cancel.cancelled, seconds)

    def _end(self, step: Step, restarts: int) -> None:
        """The instance has no more lines; one that lacks its end is the last."""
        if self._rest:
            for line in self._lines([self._rest]):
                self._emit(line)
            self._rest = b""
        self._finished = self._instance
        if step == "previous":
            self._instance, self._first = restarts, b""

    # --- reading

    def _read(self, step: Step, restarts: int) -> bool:
        """One request to its end. True if it brought lines."""
        if step == "previous" and self._first and self._earlier() < self._first:
            return self._late(restarts)
        query: dict[str, str | int | bool] = {}
        if step in ("follow", "try"):
            query["follow"] = not self._backlog
        elif step == "previous":
            query["previous"] = True
        if resume := self._position.resume():
            query["sinceTime"] = resume
        elif step != "previous":
            query |= self._bound()
        any_lines = False
        with self._open(query) as stream:
            for batch in self._batches(stream):
                for line in self._lines(batch):
                    self._first = self._first or line.timestamp.encode()
                    self._emit(line)
                    any_lines = True
        if step in ("previous", "finish"):
            self._end(step, restarts)
        self._backlog = False
        return any_lines

    def _earlier(self) -> bytes:
        """The stamp of the first line of the instance before the present one; later than all where it has none."""
        data = b""
        with self._open({"previous": True, **self._bound()}) as stream:
            while b" " not in data and (more := stream.read1(64)):
                data += more
        return data.partition(b" ")[0] or b"~"

    def _late(self, restarts: int) -> bool:
        """Kubernetes was faster than its status: what was read for the last instance was the next one's. Its own lines come now."""
        present, self._position = self._position, Position()
        try:
            with self._open({"previous": True, **self._bound()}) as stream:
                lines = [line for batch in self._batches(stream) for line in self._lines(batch)]
            if self._rest:
                lines += self._lines([self._rest])
        finally:
            self._position, self._rest = present, b""
        for line in lines:
            self._emit(line)
        self._instance = restarts
        return bool(lines)

    def _bound(self) -> dict[str, int]:
        return {} if self._since is None else {"sinceSeconds": self._since()}

    def _open(self, query: Query) -> AbstractContextManager[ByteStream]:
        source = self.source
        path = f"/api/v1/namespaces/{quote(source.namespace)}/pods/{quote(source.pod)}/log"
        return self._kube.open(path, query={"container": source.container, "timestamps": True, **query}, cancel=self._cancel)

    def _batches(self, stream: ByteStream) -> Iterator[list[bytes]]:
        """Whole lines as they come; the beginning of the next one is kept in `_rest`, also where the connection breaks."""
        parts: list[bytes] = []
        self._rest = b""
        try:
            while data := stream.read1(1 << 16):
                *whole, rest = data.split(b"\n")
                if whole and parts:
                    whole[0] = b"".join((*parts, whole[0]))
                    parts = []
                if rest:
                    parts.append(rest)
                if whole:
                    yield whole
        finally:
            self._rest = b"".join(parts)

    def _lines(self, batch: list[bytes]) -> Iterator[LogLine]:
        is_new, source = self._position.is_new, self.source
        namespace, pod, container = source.namespace, source.pod, source.container
        workload, label = source.workload, source.label
        for raw in batch:
            stamp, _, text = raw.partition(b" ")
            if is_new(stamp):
                if len(text) > CHUNK:
                    text = joined(text)
                if text.endswith(b"\r"):
                    text = text[:-1]
                yield LogLine(namespace, pod, container, text.decode(errors="replace"), stamp.decode(), workload, label)
