"""Commands in containers of pods, through the API server, for code that blocks.

Tried in turn: websockets with ``v5.channel.k8s.io`` (Kubernetes 1.30 and later), SPDY/3.1 (every version, but many proxies do not let it
through), websockets with ``v4.channel.k8s.io`` (every version, but the end of a command's input cannot be told).

Kubernetes cannot end a command: one whose connection has gone finds its input at an end, and goes on.
A command with input had better be a `script`: see there.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from devloop.cancel import Cancel
from devloop.clients.execwire import ERROR, Channels, ExecWire, Streams
from devloop.clients.feeding import feeding
from devloop.clients.kube import Endpoint, Kube
from devloop.clients.loopthread import LoopThread
from devloop.clients.process import Captured
from devloop.clients.spdy import Spdy
from devloop.clients.upgrade import Refused, denied, unreachable, upgrade
from devloop.clients.websocket import connect
from devloop.errors import ApiError, Cancelled, UnreachableError

PIECE = 1 << 16           # of input, to a message
UNREAD = 1 << 20          # of output that nobody reads, before the command has to wait
PING_SECONDS = 20.0       # load balancers take connections for idle after a minute or more


@dataclass(frozen=True)
class Command:
    """What runs where."""

    kube: Kube
    namespace: str
    pod: str
    container: str
    argv: Sequence[str]

    def __str__(self) -> str:
        return f"{self.argv[0]} in container {self.container} of pod {self.pod}"

    def path(self, *, stdin: bool) -> str:
        query = [("container", self.container), ("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", "true")]
        return (f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(self.pod)}/exec?"
                + urlencode([*query, *(("command", argument) for argument in self.argv)]))


def script(text: str) -> list[str]:
    """The argv of a shell script that may be given any amount of input, whatever it does with it.

    A command that has ended before it has read all loses its exit code in a third of the cases: the API server drops what comes from the
    kubelet once it cannot write to it; and containerd 2.1 never tells its end (kubectl hangs with it). And containerd closes the input
    of one whose stdout or stderr nobody holds open any more (``sh -c 'cat >FILE'``, where the shell becomes the cat): half of the file
    is missing then, and the exit code is 0. So this shell keeps them open, and reads what the script has left.
    """
    return ["sh", "-c", f"(\n{text}\n)\ncode=$?\ncat >/dev/null\nexit $code"]


class Exec:
    """A command that runs. One thread may write while another one reads."""

    def __init__(self, command: Command, thread: LoopThread, wire: ExecWire) -> None:
        self._command, self._thread, self._wire = command, thread, wire
        self._output: deque[tuple[int, bytes]] = deque()
        self._unread = 0
        self._first = b""               # of stdout
        self._said = b""                # by the error stream
        self._status: dict[str, Any] | None = None
        self._ended = False
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._tasks = [thread.submit(self._receive()), thread.submit(self._ping())]

    @property
    def half_closes(self) -> bool:
        """Whether `close_stdin` can be told to the command on this connection."""
        return self._wire.half_closes

    def write(self, data: bytes) -> None:
        """Into its stdin; waits while the command does not read. A call costs 0.1 ms: give it some KB.

        Raises BrokenPipeError once the command has ended: its exit code says why.
        """
        self._thread.submit(self._write(data)).result()

    def close_stdin(self) -> None:
        """Nothing more will be written. Raises `UnreachableError` where that cannot be told: see `half_closes`."""
        if not self.half_closes:
            raise UnreachableError(f"{self._command} cannot be told that its input has ended: the cluster "
                                   f"of context '{self._command.kube.context}' takes neither websockets of version 5 nor SPDY",
                                   hint="Is there a proxy on the way that does not let SPDY pass? Kubernetes 1.30 and later do without.")
        self._thread.submit(self._close_stdin()).result()

    def read(self) -> tuple[int, bytes] | None:
        """Some output: (1 for stdout or 2 for stderr, bytes). None at the end."""
        return self._thread.submit(self._read()).result()

    @property
    def exit_code(self) -> int:
        """Once `read` has returned None. Raises `ApiError` where it could not be started (there is no such program, say), and
        `UnreachableError` where its connection broke."""
        status = self._status
        if status is None:
            raise UnreachableError(f"the connection to {self._command} broke", hint="Is the cluster running, and the network there?")
        if status.get("status") == "Success":
            return 0
        # Docker says of a program that cannot be started that it has ended, and why in place of its output
        said = self._first.decode(errors="replace").strip() if self._first.startswith(b"OCI runtime exec failed: ") else ""
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode" and not said:
                return int(cause["message"])
        said = said or str(status.get("message") or status)
        raise ApiError(f"{self._command} could not be run: {said.rpartition('unable to start container process: ')[2]}",
                       status=status.get("code", 500), reason=status.get("reason", ""), body=status)

    def close(self) -> None:
        """Drop the connection, whatever the command does. From any thread, any number of times."""
        self._thread.call(self._wire.wire.close)

    # --- in the thread

    async def _receive(self) -> None:
        try:
            while self._status is None:
                for channel, data in await self._wire.receive():
                    if channel == ERROR:
                        self._said += data
                        with suppress(ValueError):      # it may come in parts
                            self._status = json.loads(self._said)
                    elif data:
                        self._first = self._first or data
                        self._output.append((channel, data))
                        self._unread += len(data)
                self._news.set()
                while self._unread > UNREAD:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            pass
        finally:
            self._ended = True
            self._news.set()
            self._wire.wire.close()

    async def _ping(self) -> None:
        while not self._ended:
            await asyncio.sleep(PING_SECONDS)
            self._wire.ping()

    async def _write(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            try:
                if not self._ended:
                    self._wire.send(data[at:at + PIECE])
                    await self._wire.wire.drain()
            except OSError as error:
                raise BrokenPipeError(f"{self._command} has ended") from error
            if self._ended:
                raise BrokenPipeError(f"{self._command} has ended")

    async def _close_stdin(self) -> None:
        if not self._ended:
            self._wire.send_eof()

    async def _read(self) -> tuple[int, bytes] | None:
        while not self._output and not self._ended:
            self._news.clear()
            await self._news.wait()
        if not self._output:
            return None
        channel, parts = self._output[0][0], []
        while self._output and self._output[0][0] == channel:
            parts.append(self._output.popleft()[1])
        data = b"".join(parts)
        self._unread -= len(data)
        self._room.set()
        return channel, data


@contextmanager
def exec(kube: Kube, namespace: str, pod: str, container: str, argv: Sequence[str], *, stdin: bool, cancel: Cancel) -> Iterator[Exec]:
    """Start a command; leaving the block drops its connection. `stdin`: whether it gets any input.

    Raises `ApiError` where the pod or its container is not there or does not run (404, 400, 500) or we may not (403),
    `UnreachableError`, and `Cancelled` as soon as `cancel` is: also from the block.
    """
    command = Command(kube, namespace, pod, container, argv)
    cancel.check()
    endpoint = kube.endpoint()
    thread = LoopThread(f"exec-{pod}")
    try:
        try:
            wire = thread.run(_connect(endpoint, command, stdin=stdin), cancel)
        except Refused as refused:
            raise _mapped(command, refused) from refused
        except OSError as error:
            raise unreachable(kube, error) from error
        running = Exec(command, thread, wire)
        try:
            with cancel.closing(running.close):
                yield running
        finally:
            running.close()
    finally:
        thread.close()


async def _connect(endpoint: Endpoint, command: Command, *, stdin: bool) -> ExecWire:
    refusals: list[Refused] = []
    path = command.path(stdin=stdin)
    for way in ("v5", "spdy", "v4"):
        try:
            if way == "spdy":
                headers = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io", "Content-Length": "0"}
                return Streams(Spdy((await upgrade(endpoint, "POST", path, headers))[1]), stdin=stdin)
            return Channels(await connect(endpoint, path, f"{way}.channel.k8s.io"), half_closes=way == "v5")
        except Refused as refused:
            if refused.about_pod:
                raise
            refusals.append(refused)
    # servers that do not know v5 refuse it without a word
    raise next((refused for refused in refusals if refused.reason), refusals[0])


def _mapped(command: Command, refused: Refused) -> Exception:
    if not refused.about_pod and refused.status != 400:
        return denied(command.kube, refused, "run commands in pods", "pods/exec")
    return ApiError(f"{command} could not be run: {refused.reason}", status=refused.status, reason="", body={})


def run(kube: Kube, namespace: str, pod: str, container: str, argv: Sequence[str], *, cancel: Cancel,
        stdin: Iterable[bytes] | None = None, timeout: float | None = None) -> Captured:
    """Run a command to its end, feeding `stdin`. Raises what `exec`, `Exec.exit_code` and `stdin` raise.

    After `timeout` seconds it is taken for hanging: `UnreachableError`.
    """
    said: dict[int, list[bytes]] = {1: [], 2: []}
    limited = cancel.child()
    timer = threading.Timer(timeout or 0, limited.cancel)
    timer.name = f"timeout-{pod}"
    timer.daemon = True
    if timeout:
        timer.start()
    try:
        with exec(kube, namespace, pod, container, argv, stdin=stdin is not None, cancel=limited) as running:
            with feeding(f"stdin-{pod}", stdin, running.write, running.close_stdin, running.close):
                while piece := running.read():
                    said[piece[0]].append(piece[1])
            code = running.exit_code
    except Cancelled as error:
        if cancel.cancelled:
            raise
        raise UnreachableError(f"{argv[0]} in container {container} of pod {pod} did not end within {timeout:g} s",
                               hint="Does its node answer? See 'kubectl get nodes'.") from error
    finally:
        if timeout:
            timer.cancel()
            timer.join()
        limited.detach()
    return Captured(code, *(b"".join(said[stream]).decode(errors="replace") for stream in (1, 2)))
