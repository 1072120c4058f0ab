"""The names of a project's network, as a cluster's DNS has them. Nothing is looked up here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from devloop.local.network.endpoints import backends, headless, key, ports, protocol
from devloop.local.network.sandbox import ZONE
from devloop.local.network.table import Record, Type, a, cname, srv
from devloop.model import Object

Key = tuple[str, str]


def full_name(service: Object) -> str:
    namespace, name = key(service)
    return f"{name}.{namespace}.svc.{ZONE}"


def records(services: Iterable[Object], endpoints: Mapping[Key, Object], addresses: Mapping[Key, str]) -> list[Record]:
    """Every Service's. `endpoints` and `addresses` (of the relays) are by namespace and name; what has no address yet has no name."""
    found: list[Record] = []
    aliases: list[Object] = []
    for service in services:
        if service["spec"].get("type") == "ExternalName":
            aliases.append(service)
        elif headless(service):
            found += _headless(service, endpoints.get(key(service)))
        elif key(service) in addresses:
            found += _relayed(service, addresses[key(service)])
    found += [record for service in aliases for record in _alias(service, found)]
    return list(dict.fromkeys(found))       # a pod may be among a Service's for several ports


def _relayed(service: Object, ip: str) -> Iterator[Record]:
    name = full_name(service)
    yield a(name, ip)
    for port in ports(service):
        if port.get("name"):
            yield srv(_srv_name(port, name), int(port["port"]), name)


def _headless(service: Object, found: Object | None) -> Iterator[Record]:
    name = full_name(service)
    hosts = {}
    for address in (address for subset in (found or {}).get("subsets") or () for address in subset.get("addresses") or ()):
        host = hosts[address["ip"]] = f"{address.get('hostname') or address['ip'].replace('.', '-')}.{name}"
        yield a(name, address["ip"])
        yield a(host, address["ip"])
    for port in ports(service):
        if port.get("name"):
            for ip, number in backends(found, port):
                yield srv(_srv_name(port, name), number, hosts[ip])


def _srv_name(port: Object, name: str) -> str:
    return f"_{port['name']}._{protocol(port).lower()}.{name}"


def _alias(service: Object, known: Iterable[Record]) -> Iterator[Record]:
    """One for a name of the project's own has that one's addresses: the DNS server does not ask itself."""
    target = str(service["spec"]["externalName"]).rstrip(".").lower()
    if target.endswith(f".{ZONE}"):
        for record in known:
            if record.type == Type.A and record.name == target:
                yield Record(full_name(service), Type.A, record.data)
    else:
        yield cname(full_name(service), target)
