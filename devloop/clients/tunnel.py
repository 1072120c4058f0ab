"""Sockets that lead to ports of pods, for code that blocks: no port of this machine is listened on."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

from devloop.cancel import Cancel
from devloop.clients.duplex import Broken, Dialer, Duplex, NotConnected, PodRef
from devloop.clients.kube import Kube
from devloop.clients.loopthread import LoopThread
from devloop.clients.portforward import KubeDialer
from devloop.clients.tasks import Tasks
from devloop.errors import ApiError, UnreachableError

BUFFER = 1 << 18


class Tunnel:
    """Connections to the pods of one cluster. Safe from every thread; one thread of its own carries the bytes, from the first use."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._lock = threading.Lock()
        self._thread: LoopThread | None = None
        self._complaints: dict[str, str] = {}

    def connect(self, pod: PodRef, port: int, cancel: Cancel) -> socket.socket:
        """One end of a connection; the pod is at the other. That nothing listens there may show only later, as its end: see `complaint`.

        Raises ConnectionError where the pod has gone, `UnreachableError`, `ApiError`, `Cancelled`.
        """
        thread = self._started()
        ours, theirs = socket.socketpair()
        try:
            thread.run(self._dial(pod, port, theirs), cancel)
        except BaseException as error:
            ours.close()
            if isinstance(error, NotConnected):
                raise ConnectionError(error.reason) from error
            raise
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        return ours

    def complaint(self, pod: PodRef) -> str:
        """Why the last connection to this pod ended early; empty where none did."""
        return self._complaints.get(pod.uid, "")

    def forget(self, pod: PodRef) -> None:
        """This pod has gone."""
        self._complaints.pop(pod.uid, None)
        with self._lock:
            if self._thread:
                self._thread.call(lambda: self._dialer.forget(pod.uid))

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread:
            thread.submit(self._end()).result()
            thread.close()

    def _started(self) -> LoopThread:
        with self._lock:
            if self._thread is None:
                self._dialer: Dialer = KubeDialer(self._kube)
                self._carried = Tasks()
                self._thread = LoopThread("tunnel")
            return self._thread

    # --- the thread

    async def _end(self) -> None:
        await self._carried.stop()
        await self._dialer.close()
        await asyncio.sleep(0)      # what was aborted is closed in the loop's next turn

    async def _dial(self, pod: PodRef, port: int, sock: socket.socket) -> None:
        try:
            stream = await self._dialer.dial(pod, port)
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=BUFFER)
        self._carried.start(self._carry(pod, reader, writer, stream))

    async def _carry(self, pod: PodRef, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Duplex) -> None:
        async def up() -> None:
            with suppress(Broken, OSError):      # whoever reads from it hears that, too
                while data := await reader.read(BUFFER):
                    await stream.write(data)
                stream.write_eof()

        sending = asyncio.create_task(up())
        try:
            while data := await stream.read():
                writer.write(data)
                await writer.drain()
        except (Broken, NotConnected, OSError, ApiError, UnreachableError) as error:
            self._complaints[pod.uid] = str(error)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            stream.close()
            writer.transport.abort()
