"""A TCP proxy whose connections can be cut, silenced or refused, as a network does."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType


class CuttableProxy:
    """Listens on 127.0.0.1:`port` and leads to `host`:`target` while it is open; while `refusing`, new connections are closed."""

    def __init__(self, host: str, target: int) -> None:
        self._target = (host, target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[socket.socket] = set()
        self.refusing = False
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]

    def __enter__(self) -> CuttableProxy:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> int:
        """Reset every connection; says how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):   # closed already, its other end having been shut
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def silence(self) -> None:
        """Swallow what comes on every connection and leave it open: half-open, as after a network switch."""
        with self._lock:
            self._silent |= {end for pair in self._pairs for end in pair}

    def passing(self, data: bytes, sink: socket.socket) -> None:
        """These bytes are about to be sent on; for subclasses."""

    def connected(self) -> socket.socket:
        """A new connection to what is behind; for subclasses."""
        return socket.create_connection(self._target)

    def reply(self, sink: socket.socket, answer: bytes) -> None:
        """Answer in its place what is about to be sent on to `sink`, and end the connection."""
        with self._lock:
            near = next(near for near, far in self._pairs if far is sink)
        near.sendall(answer)
        raise ConnectionAbortedError

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                near.close()
                continue
            try:
                far = self.connected()
            except OSError:      # what is behind is not there: the next one may find it
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            pumps = [threading.Thread(target=self._pump, args=ends, name="proxy", daemon=True) for ends in ((near, far), (far, near))]
            closer = threading.Thread(target=self._close, args=(near, far, pumps), name="proxy", daemon=True)
            for thread in (*pumps, closer):
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if source not in self._silent:
                    self.passing(data, sink)
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _close(self, near: socket.socket, far: socket.socket, pumps: list[threading.Thread]) -> None:
        for pump in pumps:
            pump.join()
        with self._lock:
            if (near, far) in self._pairs:
                self._pairs.remove((near, far))
        near.close()
        far.close()
