"""Connections to ports of pods by the API server's ``portforward``, in whichever protocol the cluster and the way to it allow.

1. SPDY/3.1 tunnelled in a websocket (Kubernetes 1.30 and later): passes proxies, can half-close.
2. SPDY/3.1 by a direct upgrade (every version): can half-close; many proxies do not let it through.
3. The websocket protocol of old, one connection per websocket, without half-close: for old servers behind such proxies.

A SPDY connection is used by one forwarded connection at a time, and again by the next: its making is two TLS handshakes (ours with the API
server, the API server's with the kubelet), which took 25 ms where the rest took 8.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar
from urllib.parse import quote

from devloop.clients.channels import ChannelStream
from devloop.clients.duplex import Duplex, NotConnected, PodRef
from devloop.clients.kube import Endpoint, Kube
from devloop.clients.spdy import Spdy
from devloop.clients.spdypool import Pool, PooledStream
from devloop.clients.tasks import Tasks
from devloop.clients.upgrade import Refused, Wire, denied, unreachable, upgrade
from devloop.clients.websocket import WebSocket, WebSocketWire, connect
from devloop.errors import ApiError

T = TypeVar("T")
Way = Literal["tunnel", "spdy", "channels"]
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
SILENCE = 10.0            # that long a pod may have nothing to say before its answer to all we had to say is taken for whole
PING_SECONDS = 20.0       # load balancers take connections for idle after a minute or more


class KubeDialer:
    """A `Dialer` for one cluster. `ways`: what to try, best first; by default the cluster's version decides.

    `silence`: where the pod's runtime cuts its answer off once it is told our end, that is told after so many silent seconds.
    """

    def __init__(self, kube: Kube, ways: Sequence[Way] = (), *, silence: float = SILENCE) -> None:
        self._kube = kube
        self._ways = ways
        self._silence = silence
        self.way: Way | None = None       # what worked
        self._negotiating = asyncio.Lock()
        self._pools: dict[str, Pool] = {}
        self._wires: weakref.WeakSet[Spdy | WebSocket] = weakref.WeakSet()
        self._tasks = Tasks()
        self._pinging = False
        # an exec plugin may take seconds for fresh credentials: not in the event loop
        self._blocking = ThreadPoolExecutor(1, thread_name_prefix="devloop-forward-login")

    async def dial(self, pod: PodRef, port: int) -> Duplex:
        if not self._pinging:
            self._pinging = True
            self._tasks.start(self._ping())
        try:
            if self.way:
                return await self._open(self.way, pod, port)
            async with self._negotiating:
                return await (self._open(self.way, pod, port) if self.way else self._negotiate(pod, port))
        except Refused as refused:
            if not refused.about_pod:
                self.way = None          # the cluster, or what lies on the way to it, is not what it was
            raise self._mapped(refused) from refused

    def forget(self, uid: str) -> None:
        if pool := self._pools.pop(uid, None):
            pool.close()

    async def close(self) -> None:
        wires = list(self._wires)       # what only a task knew would be forgotten with it, unclosed
        await self._tasks.stop()
        for wire in {*wires, *self._wires}:
            wire.wire.close()
        self._blocking.shutdown(cancel_futures=True)

    async def _negotiate(self, pod: PodRef, port: int) -> Duplex:
        first: Refused | None = None
        self._ways = self._ways or await self._aside(self._suitable)
        for way in self._ways:
            try:
                stream = await self._open(way, pod, port)
            except Refused as refused:
                if refused.about_pod:
                    raise
                first = first or refused
            else:
                self.way = way
                return stream
        assert first
        raise first

    def _suitable(self) -> Sequence[Way]:
        try:
            version = self._kube.get("/version")
        except ApiError:
            version = {}
        minor = re.match(r"\d+", str(version.get("minor")))
        old = minor and int(minor[0]) < 30     # these take the tunnel for a malformed request of the third kind
        return ("spdy", "channels") if old else ("tunnel", "spdy", "channels")

    async def _open(self, way: Way, pod: PodRef, port: int) -> Duplex:
        if way == "channels":
            return ChannelStream(await self._websocket(pod, CHANNELS, f"?ports={port}"))
        pool = self._pools.get(pod.uid)
        if pool is None or pool.way != way:
            pool = self._pools[pod.uid] = Pool(way, lambda: self._spdy(way, pod), self._tasks)
        return PooledStream(await pool.take(), port, 0 if pod.half_closes else self._silence, pool)

    async def _spdy(self, way: Way, pod: PodRef) -> Spdy:
        wire: Wire
        if way == "tunnel":
            wire = WebSocketWire(await self._websocket(pod, TUNNEL))
        else:
            headers = {"Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io", "Content-Length": "0"}
            _, wire = await self._reach(lambda endpoint: upgrade(endpoint, "POST", _path(pod), headers))
        spdy = Spdy(wire)
        self._wires.add(spdy)
        return spdy

    async def _websocket(self, pod: PodRef, protocol: str, query: str = "") -> WebSocket:
        websocket: WebSocket = await self._reach(lambda endpoint: connect(endpoint, _path(pod) + query, protocol))
        if protocol == CHANNELS:
            self._wires.add(websocket)
        return websocket

    async def _reach(self, go: Callable[[Endpoint], Awaitable[T]]) -> T:
        try:
            return await go(await self._aside(self._kube.endpoint))
        except OSError as error:
            raise unreachable(self._kube, error) from error

    async def _aside(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._blocking, call)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_SECONDS)
            for wire in list(self._wires):
                if not wire.wire.ended():
                    wire.ping()
            for pool in self._pools.values():
                pool.trim()

    def _mapped(self, refused: Refused) -> Exception:
        if refused.about_pod or refused.status in (429, 502, 503, 504):
            return NotConnected(refused.reason)
        return denied(self._kube, refused, "forward ports", "pods/portforward")


def _path(pod: PodRef) -> str:
    return f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}/portforward"
