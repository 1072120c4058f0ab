"""The line to one build pod's agent: what it is told, what it answers, and whether it still lives."""

from __future__ import annotations

import hashlib
import queue
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress

from devloop.build.kaniko.agent import AGENT, BUSYBOX
from devloop.build.kaniko.pod import CONTAINER
from devloop.build.output import LONGEST_LINE
from devloop.cancel import Cancel
from devloop.clients.exec import exec
from devloop.clients.kube import Kube
from devloop.errors import DevloopError

PIECE = 1 << 16        # bytes that the agent takes at once; so much has to go out before a cancel is noticed
BEAT = 10.0            # seconds between two signs of life
SILENCE = 40.0         # seconds without one of the agent's: the connection is dead, though nothing has told us


class LinkLost(Exception):
    """The connection has ended, or the agent with its pod. `complaint`: what it said last, outside of the protocol."""


class Link:
    """One connection. One thread uses it at a time; `close` it from any. Raises `LinkLost` wherever it turns out to be gone."""

    def __init__(self, kube: Kube, namespace: str, pod: str, cancel: Cancel) -> None:
        """Raises as `exec` does: `ApiError` where the container does not run (yet)."""
        self._nonce = secrets.token_hex(8)
        self._stack = ExitStack()
        self._cancel = Cancel()
        self._said: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()      # reply, output or end; and what
        self._writing = threading.Lock()
        self._heard = time.monotonic()
        self.sent = 0           # bytes of files
        self.lost = False
        argv = [BUSYBOX, "sh", AGENT, self._nonce]
        try:
            with cancel.closing(lambda: self._cancel.cancel(cancel.reason)):
                self._exec = self._stack.enter_context(exec(kube, namespace, pod, CONTAINER, argv, stdin=True, cancel=self._cancel))
        except BaseException:
            self._cancel.cancel()
            with suppress(DevloopError):
                self._stack.close()
            raise
        self._threads = [threading.Thread(target=work, name=f"{name}-{pod}", daemon=True)
                         for name, work in (("agent", self._listen), ("beat", self._beat))]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self.lost = True
        self._exec.close()
        self._cancel.cancel("closed")
        for thread in self._threads:
            thread.join()
        with suppress(DevloopError):
            self._stack.close()

    # --- what it is told

    def tell(self, *words: object) -> None:
        self._write((" ".join(map(str, words)) + "\n").encode())

    def ask(self, *words: object, cancel: Cancel) -> list[str]:
        """The reply's words."""
        self.tell(*words)
        return self.reply(cancel)

    def reply(self, cancel: Cancel) -> list[str]:
        return next(words for kind, words in self.heard(cancel) if kind == "reply").split()

    def put(self, name: str, content: Iterable[bytes], cancel: Cancel) -> None:
        """A file, which has arrived whole when this returns. What `content` raises is raised; the agent's half of a file is of no harm."""
        self.tell("file", name)
        digest, size = hashlib.sha256(), 0
        for piece in _pieces(content):
            cancel.check()
            digest.update(piece)
            size += len(piece)
            self._write(b"piece %d\n" % len(piece) + piece)
        self.sent += size
        answer = self.ask("end", size, digest.hexdigest(), cancel=cancel)
        if answer[0] != "ok":
            raise LinkLost(f"{name} has not arrived whole: {' '.join(answer[1:])}")

    def heard(self, cancel: Cancel) -> Iterator[tuple[str, str]]:
        """Replies and lines of output as they come: ``reply`` or ``output``, and the text."""
        with cancel.closing(lambda: self._said.put(("cancelled", ""))):
            while True:
                kind, text = self._said.get()
                if kind == "end":
                    self._said.put((kind, text))
                    raise LinkLost(text)
                if kind != "cancelled":      # else a cancel that came before this one was asked
                    yield kind, text
                cancel.check()

    def _write(self, data: bytes) -> None:
        try:
            with self._writing:
                self._exec.write(data)
        except (OSError, DevloopError) as error:
            raise LinkLost(str(error)) from error

    # --- its threads

    def _listen(self) -> None:
        ends = {1: b"", 2: b""}
        complaint = ""
        try:
            while found := self._exec.read():
                self._heard = time.monotonic()
                channel, data = found
                *lines, ends[channel] = (ends[channel] + data).split(b"\n")
                if len(ends[channel]) > LONGEST_LINE:
                    lines, ends[channel] = [*lines, ends[channel]], b""
                for line in lines:
                    text = line.decode(errors="replace").rstrip("\r") if channel == 2 else line.decode(errors="replace")
                    nonce, _, rest = text.partition(" ")
                    if nonce == self._nonce:
                        if rest != "beat":
                            self._said.put(("reply", rest))
                    elif channel == 1:
                        self._said.put(("output", text))
                    else:
                        complaint = text or complaint
        except DevloopError as error:
            complaint = error.message
        self.lost = True
        self._said.put(("end", complaint))

    def _beat(self) -> None:
        with suppress(DevloopError, LinkLost):      # Cancelled: it is closed
            while not self.lost:
                self._cancel.wait(BEAT)
                self.tell("beat")
                if time.monotonic() - self._heard > SILENCE:
                    self._exec.close()


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for chunk in chunks:
        batch += chunk
        while len(batch) >= PIECE:
            yield bytes(batch[:PIECE])
            del batch[:PIECE]
    if batch:
        yield bytes(batch)
