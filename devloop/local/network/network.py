"""A project's network in the Engine: the bridge, the hub that is the way into it and knows its names, and the pods' sandboxes."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devloop.cancel import Cancel
from devloop.clients import engine_networks
from devloop.clients.docker import DockerEngine
from devloop.clients.duplex import NotConnected
from devloop.clients.engine_containers import EngineContainers
from devloop.errors import EngineError, UnreachableError
from devloop.local.network import image
from devloop.local.network.coming import Coming
from devloop.local.network.dialer import GateDialer
from devloop.local.network.gate import PORT, Gate, Inner, Mode
from devloop.local.network.sandbox import LOCAL, ZONE, Binding, configure, published, relay
from devloop.local.network.spares import Made, Spares
from devloop.local.network.table import Listener, Record, Type, encode
from devloop.model import Object

ROLE = "devloop.dev/local"      # a label: which part of the local target something is
NETWORKED = ("hub", "service", "sandbox")      # the roles of containers that are in the network by themselves
_UPSTREAM = ("127.0.0.11", 53)  # the Engine's own DNS server, as each container sees it
_DNS_PORT = 53
FIRST_WAIT = 20.0               # seconds
REFUSED_WAIT = 5.0              # seconds; by Podman, until the relay listens; for ever, where the Engine runs on another machine


@dataclass(frozen=True)
class Sandbox:
    """A pod's container that holds its network: the pod's others join it (``container:ID``). `uid` is the pod's."""

    id: str
    uid: str
    ip: str


class Network:
    """Made by `start`, gone after `close`. Safe from every thread.

    `labels`: those that everything of this session has, besides `ROLE` (``network``, or one of `NETWORKED`).
    """

    def __init__(self, engine: DockerEngine, project: str, labels: Mapping[str, str]) -> None:
        self.name = f"devloop-{project}"
        self.coming = Coming()
        self._engine, self._labels = engine, labels
        self._containers = EngineContainers(engine)
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._joining = threading.Lock()            # Engines hang where containers join or leave a network at once (moby #42545)
        self._started: tuple[str, Gate, str] | None = None      # the image, the gate, the hub's address
        self._made: set[str] = set()
        self._sandboxes: dict[str, Inner] = {}      # by their pods' uids
        self._services: dict[str, Inner] = {}       # by their addresses
        self._network = ""
        self.spares = Spares(self._make, self.discard)

    def start(self, cancel: Cancel) -> None:
        """Make the image, the network and the hub; done once, and by the first sandbox where nobody has before.

        Raises `EngineError`, `UnreachableError` or `Cancelled`.
        """
        with self._starting:
            if self._started:
                return
            ref = image.ensure(self._engine, cancel)
            cancel.check()
            if not self._network:
                self._network = self._bridge()
            token, bindings = secrets.token_bytes(16), {f"{PORT}/tcp": [{"HostIp": LOCAL, "HostPort": ""}]}
            place = self._run("hub", published(self._relay(ref, token, "hub"), bindings))[1]
            gate = Gate(LOCAL, place.published[PORT], token)
            _first_told(lambda: gate.tell(_hub([])), "hub", cancel)
            self._started = ref, gate, place.ip

    # --- pods

    def sandbox(self, pod: Object, *, labels: Mapping[str, str] | None = None, cancel: Cancel) -> Sandbox:
        """A running sandbox for the pod, in which the names of the Services that were there before it can be resolved.

        Raises `EngineError`, `UnreachableError` or `Cancelled`, with nothing left behind.
        """
        self.start(cancel)
        uid = pod["metadata"]["uid"]
        made, inner = self.spares.take(pod) or self._make(pod, labels)
        with self._lock:
            self._sandboxes[uid] = inner
        found = Sandbox(made, uid, inner.ip)
        try:
            self.coming.wait(cancel)
        except BaseException:
            self.remove(found)
            raise
        return found

    def remove(self, sandbox: Sandbox) -> bool:
        """The pod has ended. No error where the sandbox has gone. False: to be done again when the pod's containers are removed."""
        with self._lock:
            self._sandboxes.pop(sandbox.uid, None)
        return self.discard(sandbox.id)

    def connect(self, sandbox: Sandbox, port: int, cancel: Cancel, *, host: str = "", localhost: bool = False,
                timeout: float = 10.0) -> socket.socket:
        """A connection to the pod's own address (as a kubelet's probes make), to `host` (an IPv4 address) from there, or to its localhost.

        Raises `NotConnected` (`listening` is False where it is refused), `UnreachableError` or `Cancelled`. The socket keeps `timeout`.
        """
        gate, inner = self.gate(), self._sandboxes.get(sandbox.uid)
        if inner is None:
            raise NotConnected("the pod has ended")
        if localhost:
            return gate.connect(gate.through(inner, Mode.RAW, port), 2, cancel, timeout=timeout)
        return gate.connect(gate.to(host or inner.ip, Mode.RAW, port), 1, cancel, timeout=timeout)

    def dialer(self) -> GateDialer:
        """For a `Forwarder`, and for Ingress."""
        return GateDialer(self.gate, self._sandboxes.get)

    # --- Services

    def service(self, name: str, bindings: Mapping[str, Sequence[Binding]], cancel: Cancel) -> tuple[str, engine_networks.Place]:
        """A running relay for a Service, with ports published, which listens: its id, and where it is. Raises as `sandbox` does."""
        self.start(cancel)
        token = secrets.token_bytes(16)
        config = published(self._relay(self._ready()[0], token, "service"), bindings)
        made, place = self._run(f"{name}-service-{secrets.token_hex(3)}", config)
        with self._lock:
            self._services[place.ip] = Inner(place.ip, token)
        try:
            _first_told(lambda: self.tell(place.ip, {}), f"{name}-service-…", cancel)
        except BaseException:
            self.discard(made)
            raise
        return made, place

    def tell(self, ip: str, listeners: Mapping[int, Listener]) -> None:
        """What the Service's relay at `ip` carries, from now on. Raises `NotConnected` or `UnreachableError`."""
        self.gate().tell(encode(listeners), self._services[ip])

    def answer_for(self, records: Sequence[Record]) -> None:
        """The project's names, from now on. Raises `NotConnected` or `UnreachableError`."""
        self.gate().tell(_hub(records))

    def discard(self, container: str) -> bool:
        """Remove a container of ours, as `EngineContainers.remove` does."""
        with self._lock:
            self._made.discard(container)
        with self._joining:
            return self._containers.remove(container)

    # --- all of it

    @property
    def image(self) -> str:
        """The relay's: one that is there, for whatever container needs no program. Raises `UnreachableError` as `gate` does."""
        return self._ready()[0]

    def gate(self) -> Gate:
        """The way in. Raises `UnreachableError` before `start` and after `close`."""
        return self._ready()[1]

    def close(self) -> None:
        """Remove all that was made here. What cannot be removed now has the session's labels and is found by the next one."""
        self.spares.close()
        with self._starting:
            self._started = None
            with self._lock:
                left, self._made = self._made, set()
                self._sandboxes.clear()
            for container in left:
                self.discard(container)
            if self._network:
                engine_networks.remove(self._engine, self._network)
                self._network = ""

    def _bridge(self) -> str:
        """One of our own: another's that has the name may not go away (see `engine_networks.remove`)."""
        labels = dict(self._labels) | {ROLE: "network"}
        try:
            return engine_networks.create(self._engine, self.name, labels)
        except EngineError as error:
            if error.status != 409:
                raise
            self.name += f"-{secrets.token_hex(3)}"
            return engine_networks.create(self._engine, self.name, labels)

    def _ready(self) -> tuple[str, Gate, str]:
        if self._started is None:
            raise UnreachableError(f"network {self.name} is not there: its session has ended, or not begun")
        return self._started

    def _make(self, pod: Object, labels: Mapping[str, str] | None = None) -> Made:
        ref, _, hub = self._ready()
        token = secrets.token_bytes(16)
        config = self._relay(ref, token, "sandbox", labels)
        made, place = self._run(f"{pod['metadata']['name']}-{secrets.token_hex(4)}", configure(pod, config, dns=hub))
        return made, Inner(place.ip, token)

    def _relay(self, ref: str, token: bytes, role: str, labels: Mapping[str, str] | None = None) -> Object:
        return relay(ref, self.name, token, {**self._labels, **(labels or {}), ROLE: role})

    def _run(self, name: str, config: Object) -> tuple[str, engine_networks.Place]:
        made = self._containers.create(f"{self.name}-{name}", config)
        with self._lock:
            self._made.add(made)
        try:
            with self._joining:
                self._containers.start(made)
            return made, engine_networks.place(self._containers.inspect(made), self.name)
        except BaseException:
            self.discard(made)
            raise


def _first_told(tell: Callable[[], None], name: str, cancel: Cancel) -> None:
    """A relay that was started this moment need not listen yet."""
    begun = time.monotonic()
    while True:
        try:
            tell()
            return
        except UnreachableError:
            if time.monotonic() > begun + REFUSED_WAIT:
                raise
        except NotConnected as error:
            if time.monotonic() > begun + FIRST_WAIT:
                raise UnreachableError(f"the project's network in the Docker Engine does not begin to answer: {error.reason}",
                                       hint=f"Does 'docker logs' or 'docker inspect' of its container devloop-…-{name} tell?") from error
        cancel.wait(0.02)


def _hub(records: Sequence[Record]) -> bytes:
    """Answers too long for UDP are asked for by TCP: only names of the world have such."""
    return encode({_DNS_PORT: Listener((_UPSTREAM,))}, [Record(ZONE, Type.ZONE), *records])
