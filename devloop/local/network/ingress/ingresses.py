"""Follows Ingress objects, and serves them on one port of this machine from the first one on."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Sequence

from devloop.clients.tasks import Tasks
from devloop.events import Emit, Notice
from devloop.local.kinds import ENDPOINTS, INGRESSES, SERVICES
from devloop.local.network.dialer import GateDialer
from devloop.local.network.endpoints import key
from devloop.local.network.ingress.destinations import Destinations
from devloop.local.network.ingress.exchange import CHUNK, Exchange
from devloop.local.network.sandbox import LOCAL
from devloop.local.network.table import Address
from devloop.local.store import Store
from devloop.model import Object

PORT = 8000
_NEXT_PORTS = 100
_BACKLOG = 512


class Ingresses:
    """From `start` to `close`. `port`: what to listen on, or the next free one; 0: any."""

    def __init__(self, store: Store, dialer: GateDialer, emit: Emit, *, port: int = PORT) -> None:
        self._store, self._dialer, self._emit, self._wanted = store, dialer, emit, port
        self._turn = itertools.count()
        self._destinations = Destinations()
        self._proxy: Proxy | None = None
        self._closed = False
        self._lock = threading.Lock()

    def start(self) -> None:
        self._unsubscribe = [self._store.subscribe(kind, self._heard) for kind in (INGRESSES, SERVICES, ENDPOINTS)]

    def close(self) -> None:
        """End every connection."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        with self._lock:
            self._closed = True
            if self._proxy:
                self._proxy.close()

    @property
    def port(self) -> int:
        """What is listened on; 0 while there is no Ingress."""
        return self._proxy.port if self._proxy else 0

    def _find(self, host: str, target: str) -> Sequence[Address]:
        return self._destinations.find(host, target)

    def _heard(self, change: str, obj: Object) -> None:
        with self._lock:
            if not self._closed:
                self._follow(self._store.list(INGRESSES))

    def _follow(self, ingresses: Sequence[Object]) -> None:
        if ingresses and self._proxy is None:
            self._proxy = Proxy(self._find, self._dialer, self._wanted)
            self._tell(ingresses)
        if self._proxy:
            self._destinations = Destinations.of(ingresses, self._store.list(SERVICES), self._store.list(ENDPOINTS), self._turn)
            self._place(ingresses)

    def _tell(self, ingresses: Sequence[Object]) -> None:
        home = f"http://localhost:{self.port}"
        hosts = sorted({rule["host"] for ingress in ingresses for rule in ingress["spec"].get("rules") or () if rule.get("host")})
        instead = f" (port {self._wanted} is taken)" if self._wanted and self.port != self._wanted else ""
        example = hosts[0].replace("*", "www") if hosts else ""
        self._emit(Notice(f"Ingress is served at {home}{instead}", hint=(
            f"For a rule's host: curl -H 'Host: {example}' {home}, or let /etc/hosts lead {example} to {LOCAL}." if hosts else "")))

    def _place(self, ingresses: Sequence[Object]) -> None:
        there = {"loadBalancer": {"ingress": [{"hostname": "localhost", "ports": [{"port": self.port, "protocol": "TCP"}]}]}}
        for ingress in ingresses:
            self._store.set_status(INGRESSES, *key(ingress), there)


class Proxy:
    """An HTTP server in a thread of its own, until `close`. `find` says where a request goes by its host and target."""

    def __init__(self, find: Callable[[str, str], Sequence[Address]], dialer: GateDialer, wanted: int) -> None:
        self._find, self._dialer = find, dialer
        self._socket = _listen(wanted)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._connections = Tasks()
        self._thread = threading.Thread(target=self._run, name="local-ingress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=CHUNK)
        await self._stopping.wait()
        server.close()
        await self._connections.stop()
        await asyncio.sleep(0)      # what was aborted is closed in the loop's next turn

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = self._connections.start(Exchange(reader, writer, self._find, self._dialer.open).run())
        exchange.add_done_callback(lambda _: writer.transport.abort())      # also where it was cancelled before it began


def _listen(wanted: int) -> socket.socket:
    for port in (*range(wanted, wanted + _NEXT_PORTS if wanted else 0), 0):
        try:
            return socket.create_server((LOCAL, port), backlog=_BACKLOG)
        except OSError:
            if not port:
                raise
    raise AssertionError("port 0 is always free")
