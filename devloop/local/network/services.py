"""Services and names, kept true: what the endpoints controller, kube-proxy and the cluster's DNS do."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from devloop.cancel import Cancel
from devloop.clients.duplex import NotConnected
from devloop.errors import Cancelled, DevloopError, EngineError
from devloop.events import Emit, Notice
from devloop.local.kinds import ENDPOINTS, SERVICES
from devloop.local.network import names, publishing
from devloop.local.network.endpoints import endpoints, key, listeners, relayed
from devloop.local.network.network import Network
from devloop.local.network.table import Listener, Record
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS

Key = tuple[str, str]
WORKERS = 4


@dataclass(eq=False)
class _Relay:
    """A Service's container. `wanted`: the host's ports as its spec had them, by its own ports (0: any); `ip` is empty until it runs."""

    uid: str
    wanted: Mapping[int, int]
    id: str = ""
    ip: str = ""
    published: Mapping[int, int] = field(default_factory=dict)
    failed: bool = False
    told: Mapping[int, Listener] | None = None

    def suits(self, service: Object) -> bool:
        wanted = publishing.wanted(service)
        return self.uid == service["metadata"]["uid"] and wanted.keys() == self.wanted.keys() and all(
            number in (0, self.wanted[port], self.published.get(port)) for port, number in wanted.items())


class Services:
    """Follows Services and pods in the store from `start` to `close`; the relays stay until the network is closed.

    A Service's relay gets its name, and its address in ``spec.clusterIP``, when it carries connections; sandboxes wait for that.
    """

    def __init__(self, store: Store, network: Network, emit: Emit) -> None:
        self._store, self._network, self._emit = store, network, emit
        self._cancel = Cancel()
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._relays: dict[Key, _Relay] = {}
        self._named: list[Record] = []
        self._said: set[str] = set()
        self._making = ThreadPoolExecutor(WORKERS, thread_name_prefix="local-service")
        self._thread = threading.Thread(target=self._run, name="local-services", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._unsubscribe = [self._store.subscribe(SERVICES, self._heard), *(
            self._store.subscribe(kind, lambda *_: self._due.put(True)) for kind in (PODS, ENDPOINTS))]

    def close(self) -> None:
        """Stop following. Returns when no container is being made any more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._cancel.cancel("the session has ended")
        self._due.put(False)
        self._thread.join()
        self._making.shutdown()

    def _heard(self, change: str, service: Object) -> None:
        if change == "DELETED":
            self._network.coming.done(key(service))
        elif change == "ADDED" and relayed(service):
            self._network.coming.add(key(service))
        self._due.put(True)

    # --- the thread

    def _run(self) -> None:
        while self._due.get():
            while not self._due.empty():
                if not self._due.get():
                    return
            self._attempt(self._keep)

    def _attempt(self, work: object, *args: object) -> None:
        """What fails is told once, and tried again at the next change."""
        assert callable(work)
        try:
            work(*args)
        except Cancelled:
            pass
        except (DevloopError, NotConnected) as error:
            message = str(error)
            if message not in self._said:
                self._said.add(message)
                self._emit(Notice(f"Services: {message}", hint=getattr(error, "hint", ""), level="warning"))

    def _keep(self) -> None:
        services = {key(service): service for service in self._store.list(SERVICES)}
        found = self._keep_endpoints(services)
        for place, service in services.items():
            if relayed(service):
                self._attempt(self._keep_relay, place, service, found.get(place))
        self._attempt(self._keep_names, services, found)
        for place in self._relays.keys() - {place for place, service in services.items() if relayed(service)}:
            self._drop(place)
        for place, service in services.items():
            relay = self._relays.get(place)
            if not relayed(service) or (relay and (relay.failed or relay.told is not None)):
                self._network.coming.done(place)

    def _keep_endpoints(self, services: Mapping[Key, Object]) -> dict[Key, Object]:
        """Those of Services with a selector are made here, others are the user's. Returns all."""
        pods = self._store.list(PODS)
        with self._store.lock:
            there = {key(each): each for each in self._store.list(ENDPOINTS)}
            for place, service in services.items():
                if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
                    continue
                wanted = endpoints(service, pods)
                live = there.get(place)
                if live is None:
                    there[place] = self._store.create(wanted)
                elif live.get("subsets") != wanted["subsets"]:
                    there[place] = self._store.update({**live, "subsets": wanted["subsets"]})
            for place in there.keys() - services.keys():
                self._store.delete(ENDPOINTS, *place)      # as in a cluster: they have no life of their own
                del there[place]
        return there

    def _keep_names(self, services: Mapping[Key, Object], found: Mapping[Key, Object]) -> None:
        addresses = {place: relay.ip for place, relay in self._relays.items() if relay.told is not None}
        records = names.records(services.values(), found, addresses)
        if records != self._named:
            self._network.start(self._cancel)
            self._network.answer_for(records)
            self._named = records

    # --- relays

    def _keep_relay(self, place: Key, service: Object, found: Object | None) -> None:
        relay = self._relays.get(place)
        if relay and not relay.suits(service):
            self._drop(place)
            relay = None
        if relay is None or relay.failed:
            relay = self._relays[place] = _Relay(service["metadata"]["uid"], publishing.wanted(service))
            self._making.submit(self._attempt, self._make, place, relay)
        elif relay.ip and (table := listeners(service, found)) != relay.told:
            try:
                self._network.tell(relay.ip, table)
            except NotConnected:
                self._drop(place)       # somebody has removed it
                self._due.put(True)
                raise
            if relay.told is None:
                publishing.write_back(self._store, place, relay.ip, relay.published)
            relay.told = table

    def _make(self, place: Key, relay: _Relay) -> None:
        name = ".".join(reversed(place))
        try:
            try:
                relay.id, at = self._network.service(name, publishing.bindings(relay.wanted), self._cancel)
            except EngineError as error:
                if not relay.wanted or not publishing.taken(error):
                    raise
                relay.id, at = self._network.service(name, publishing.bindings(dict.fromkeys(relay.wanted, 0)), self._cancel)
        except BaseException:
            relay.failed = True
            raise
        else:
            relay.published = at.published
            for notice in publishing.notices(place, relay.wanted, relay.published):
                self._emit(notice)
            relay.ip = at.ip        # the last: from now on the Service may be told of as one that is there
        finally:
            if self._relays.get(place) is not relay and relay.id:
                self._network.discard(relay.id)     # the Service went, or changed, meanwhile
            self._due.put(True)

    def _drop(self, place: Key) -> None:
        relay = self._relays.pop(place)
        if relay.ip:
            self._network.discard(relay.id)
