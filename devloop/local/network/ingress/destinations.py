"""From a rule's backend to the addresses of ready pods, or the reason why there are none. Nothing is read here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from devloop.local.network.endpoints import backends, key, ports
from devloop.local.network.ingress.rules import Backend, Rule, match, rules
from devloop.local.network.table import Address
from devloop.model import Object


class NowhereError(Exception):
    """A request that leads nowhere: the HTTP status that says so, and the text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Destinations:
    """What requests lead to at one moment. `turn` goes on from one moment to the next."""

    rules: Sequence[Rule] = ()
    services: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    endpoints: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    turn: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, ingresses: Sequence[Object], services: Iterable[Object], endpoints: Iterable[Object],
           turn: itertools.count[int]) -> Destinations:
        return cls(rules(ingresses), {key(each): each for each in services}, {key(each): each for each in endpoints}, turn)

    def find(self, host: str, target: str) -> Sequence[Address]:
        """Where to try to connect, one after the other. Raises `NowhereError`."""
        rule = match(self.rules, host, target)
        if rule is None:
            known = "".join(f"\n  {each}" for each in self.rules) or " none"
            raise NowhereError(404, f"No Ingress rule is for host '{host}' and path '{target.partition('?')[0]}'. The rules:{known}")
        found = self._addresses(rule.backend)
        first = next(self.turn) % len(found)
        return (*found[first:], *found[:first])

    def _addresses(self, backend: Backend) -> Sequence[Address]:
        who = f"Ingress {backend.ingress} (namespace {backend.namespace})"
        if not backend.service:
            raise NowhereError(503, f"{who} leads to a backend that is no Service: there are no others here.")
        service = self.services.get((backend.namespace, backend.service))
        if service is None:
            raise NowhereError(503, f"{who} leads to service/{backend.service}: there is no such Service.")
        if service["spec"].get("type") == "ExternalName":
            raise NowhereError(503, f"{who} leads to service/{backend.service}, which is a name outside: only pods can be led to.")
        port = next((each for each in ports(service) if backend.port in (each["port"], each.get("name"))), None)
        if port is None:
            has = ", ".join(f"{each['port']}" + (f" ({each['name']})" if each.get("name") else "") for each in ports(service)) or "none"
            raise NowhereError(503, f"{who} leads to port {backend.port} of service/{backend.service}, which has none such (it has {has}).")
        found = backends(self.endpoints.get(key(service)), port)
        if not found:
            raise NowhereError(503, f"{who} leads to service/{backend.service}: none of its pods is ready.")
        return found
