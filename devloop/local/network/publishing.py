"""Services on ports of this machine: NodePort and LoadBalancer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from devloop.errors import EngineError
from devloop.events import Notice
from devloop.local.kinds import SERVICES
from devloop.local.network.endpoints import ports, protocol
from devloop.local.network.sandbox import LOCAL, Binding
from devloop.local.store import Store
from devloop.model import Object

_TAKEN = ("port is already allocated", "address already in use", "ports are not available", "permission denied",
          "cannot expose privileged port")


def wanted(service: Object) -> dict[int, int]:
    """The host's ports by the Service's own; 0 where any will do. A LoadBalancer's are its own, a NodePort's its nodePorts."""
    spec = service["spec"]
    if spec.get("type") not in ("NodePort", "LoadBalancer"):
        return {}
    own = spec["type"] == "LoadBalancer"
    return {int(port["port"]): int(port["port"] if own else port.get("nodePort") or 0)
            for port in ports(service) if protocol(port) == "TCP"}


def bindings(numbers: Mapping[int, int]) -> dict[str, list[Binding]]:
    """As the Engine wants them: on this machine's own address only."""
    return {f"{port}/tcp": [{"HostIp": LOCAL, "HostPort": str(number or "")}] for port, number in numbers.items()}


def taken(error: EngineError) -> bool:
    """Whether a port of this machine is the reason: somebody else has it, or it is not for us to have."""
    return any(words in error.message for words in _TAKEN)


def notices(place: tuple[str, str], asked: Mapping[int, int], got: Mapping[int, int]) -> Iterator[Notice]:
    """Which ports others had."""
    for port, number in asked.items():
        if number and got.get(port) != number:
            yield Notice(f"service/{place[1]}: port {number} of this machine is taken: its port {port} is at {LOCAL}:{got[port]}",
                         hint=f"End what uses port {number} to have it there at the next start.", level="warning")


def write_back(store: Store, place: tuple[str, str], ip: str, published: Mapping[int, int]) -> None:
    """The Service says where it is, as in a cluster: clusterIP, nodePorts, a LoadBalancer's address."""
    with store.lock:
        live = store.get(SERVICES, *place)
        if live is None:
            return
        spec = {**live["spec"], "clusterIP": ip, "clusterIPs": [ip]}
        if published and spec["type"] == "NodePort":
            spec["ports"] = [{**port, "nodePort": port.get("nodePort") or published.get(int(port["port"]), 0)} for port in ports(live)]
        store.update({**live, "spec": spec})
        if spec.get("type") == "LoadBalancer":
            found = [{"port": port, "protocol": "TCP"} for port in published]
            store.set_status(SERVICES, *place, {"loadBalancer": {"ingress": [{"ip": LOCAL, "hostname": "localhost", "ports": found}]}})
