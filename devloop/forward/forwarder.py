"""The forwards of a session: one thread with one event loop, however many connections there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from devloop.clients.duplex import Dialer
from devloop.clients.kube import Kube
from devloop.clients.portforward import KubeDialer
from devloop.clients.tasks import Tasks
from devloop.config.models import PortForward
from devloop.errors import ApiError, UnreachableError
from devloop.events import Emit, ForwardChanged, Notice
from devloop.forward.follow import Follower
from devloop.forward.listen import Listening, listen
from devloop.forward.relay import CHUNK, HOLD, Relay
from devloop.forward.route import Route, State
from devloop.forward.target import Candidate, Target, local_number, parse
from devloop.pods import Pods

T = TypeVar("T")


class Forwarder:
    """Listens on this machine's ports and leads connections to pods, from `start` to `stop`. Safe from every thread.

    The listeners stay whatever happens to pods, resources and the API server. Connections go to the newest pod that
    accepts them; while none does, they wait up to 30 s. Those to an older pod stay until that ends them.
    `dialer`: what connects to pods, by default the API server's port-forward.
    """

    def __init__(self, kube: Kube, pods: Pods, forwards: Sequence[PortForward], *, namespace: str, emit: Emit,
                 dialer: Callable[[], Dialer] | None = None) -> None:
        self._kube, self._pods, self._namespace, self._emit = kube, pods, namespace, emit
        self._wanted = forwards
        self._new_dialer = dialer or (lambda: KubeDialer(kube))
        self._running: dict[PortForward, _Forward] = {}
        self._lock = threading.Lock()
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=self._run, name="devloop-forward", daemon=True)

    def start(self) -> None:
        """Returns when every port is listened on. Raises `UsageError` and `ConfigError` as `listen` does, with nothing left open."""
        opened = self._listen(self._wanted, {})
        self._thread.start()
        self._started.result()
        self._call(self._apply([], opened))

    def update(self, forwards: Sequence[PortForward]) -> None:
        """Have these forwards from now on. Those that stay are not touched, nor are their connections.

        All or nothing: raises as `start` does, and then everything is as before.
        """
        with self._lock:
            removed = [f for f in self._running if f not in forwards]
            added = [f for f in dict.fromkeys(forwards) if f not in self._running]
            opened = self._listen(added, {(f.address, self._running[f].port): self._running[f] for f in removed})
            self._call(self._apply(removed, opened))

    def stop(self) -> None:
        """Close everything at once. May be called again, and without a `start`."""
        with self._lock:
            if self._thread.is_alive():
                loop, stopping = self._started.result()
                loop.call_soon_threadsafe(stopping.set)
                self._thread.join()

    def _listen(self, forwards: Sequence[PortForward], free: dict[tuple[str, int], _Forward]) -> dict[PortForward, Listening]:
        """`free`: the ports of forwards that are about to go; a forward that wants one takes its sockets over, still listening."""
        opened: dict[PortForward, Listening] = {}
        try:
            for forward in dict.fromkeys(forwards):
                target = parse(forward.resource)
                wanted = forward.local_port or self._number(forward, target)
                before = free.pop((forward.address, wanted), None)
                opened[forward] = before.duplicate() if before else listen(forward, wanted)
        except BaseException:
            for listening in opened.values():
                listening.close()
            raise
        return opened

    def _number(self, forward: PortForward, target: Target) -> int:
        """The port's number, which is the local port's default. A named one may not be known yet (0)."""
        if isinstance(forward.port, int):
            return forward.port
        try:
            obj = self._kube.get(target.resource.path(forward.namespace or self._namespace, target.name))
        except (ApiError, UnreachableError):
            return 0
        return local_number(target, obj, forward.port)

    # --- the thread

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        stopping = asyncio.Event()
        self._dialer = self._new_dialer()
        self._started.set_result((asyncio.get_running_loop(), stopping))
        await stopping.wait()
        for forward in self._running.values():
            await forward.close()
        self._running.clear()
        await self._dialer.close()
        await asyncio.sleep(0)      # what was aborted is closed in the loop's next turn

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._started.result()[0]).result()

    async def _apply(self, removed: Sequence[PortForward], opened: dict[PortForward, Listening]) -> None:
        for config in removed:
            await self._running.pop(config).close()
        for config, listening in opened.items():
            forward = self._running[config] = _Forward(config, listening, config.namespace or self._namespace, self._dialer, self._emit)
            await forward.open(self._pods)


class _Forward:
    """One forward at work."""

    def __init__(self, config: PortForward, listening: Listening, namespace: str, dialer: Dialer, emit: Emit) -> None:
        self.port = listening.port
        self._config, self._listening, self._namespace, self._dialer, self._emit = config, listening, namespace, dialer, emit
        self._target = parse(config.resource)
        self._route = Route(self._say, self._refused)
        self._connections = Tasks()
        self._servers: list[asyncio.Server] = []
        self._said: set[str] = set()

    async def open(self, pods: Pods) -> None:
        if self._listening.instead:
            self._emit(Notice(f"{self._target} is forwarded to port {self.port} of {self._config.address}: {self._listening.instead}",
                              level="warning" if self._config.local_port else "info"))
        for sock in self._listening.sockets:
            self._servers.append(await asyncio.start_server(self._connected, sock=sock, limit=CHUNK))
        self._changed("listening")
        self._follower = Follower(pods, self._target, self._config.port, self._namespace, self._update)

    def duplicate(self) -> Listening:
        """The same ports, listened on by sockets of their own: no connection is refused between the one owner and the next."""
        return Listening([sock.dup() for sock in self._listening.sockets], self.port)

    async def close(self) -> None:
        self._follower.stop()
        for server in self._servers:
            server.close()
        await self._connections.stop()
        self._changed("closed")

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = self._connections.start(Relay(reader, writer, self._route, self._dialer, self._failed).run())
        relay.add_done_callback(lambda _: writer.transport.abort())     # also where it was cancelled before it began

    def _update(self, candidates: Sequence[Candidate], nothing: str) -> None:
        for uid in self._route.update(candidates, nothing):
            self._dialer.forget(uid)

    def _say(self, state: State) -> None:
        kind, pod, detail = state
        self._changed(kind, pod, detail)

    def _changed(self, state: Any, pod: str = "", detail: str = "") -> None:
        self._emit(ForwardChanged(self._config.resource, str(self._config.port), self._config.address, self.port, state, pod, detail))

    def _refused(self, candidate: Candidate) -> None:
        names = ", ".join(candidate.declared) or "none"
        self._emit(Notice(f"nothing listens on port {candidate.port} in pod {candidate.pod.name} (for {self._target}); "
                          f"the ports that its containers declare: {names}", level="warning",
                          hint=f"Does the program listen on another port, or not yet? Connections wait for it up to {HOLD:.0f} s."))

    def _failed(self, error: UnreachableError | ApiError) -> None:
        """Told once, not for every connection."""
        if error.message not in self._said:
            self._said.add(error.message)
            self._emit(Notice(f"{self._target}: {error.message}", hint=error.hint, level="warning"))
