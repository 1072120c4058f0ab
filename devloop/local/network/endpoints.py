"""Which pods serve a Service: its Endpoints, as the endpoints controller makes them. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devloop.local.network.table import Address, Listener
from devloop.local.store import NODE
from devloop.model import Object
from devloop.pods import containers, finished, ready, terminating

Ports = tuple[tuple[str, int, str], ...]
"""Names, numbers and protocols of a Service's ports, as a pod has them."""


def headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def relayed(service: Object) -> bool:
    """It has an address of its own: not headless, and not only another name."""
    return not headless(service) and service["spec"].get("type") != "ExternalName"


def key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def ports(service: Object) -> Sequence[Object]:
    return service["spec"].get("ports") or ()


def protocol(port: Object) -> str:
    return str(port.get("protocol") or "TCP")


def selects(service: Object, pod: Object) -> bool:
    wanted, labels = service["spec"].get("selector") or {}, pod["metadata"].get("labels") or {}
    return bool(wanted) and key(service)[0] == key(pod)[0] and all(labels.get(name) == value for name, value in wanted.items())


def endpoints(service: Object, pods: Iterable[Object]) -> Object:
    """The Endpoints object of a Service that has a selector.

    Pods that are ready and not ending; where there are none, those that are ending and still ready (as kube-proxy does from 1.28).
    """
    there = [pod for pod in pods if selects(service, pod) and (pod.get("status") or {}).get("podIP") and not finished(pod)]
    staying = [pod for pod in there if not terminating(pod)]
    if service["spec"].get("publishNotReadyAddresses"):
        serving, waiting = staying, []
    else:
        serving = [pod for pod in staying if ready(pod)] or [pod for pod in there if terminating(pod) and ready(pod)]
        waiting = [pod for pod in staying if not ready(pod)]
    subsets: dict[Ports, Object] = {}
    for state, found in (("addresses", serving), ("notReadyAddresses", waiting)):
        for pod in found:
            numbers = _ports(service, pod)
            if numbers or headless(service):
                subset = subsets.setdefault(numbers, {"ports": [_port(*each) for each in numbers]})
                subset.setdefault(state, []).append(_address(service, pod))
    namespace, name = key(service)
    labels = service["metadata"].get("labels") or {}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "subsets": list(subsets.values())}


def backends(found: Object | None, port: Object) -> tuple[Address, ...]:
    """Where an Endpoints object has this port of its Service: TCP only."""
    wanted = port.get("name") or ""
    return tuple((address["ip"], int(number["port"]))
                 for subset in (found or {}).get("subsets") or () for number in subset.get("ports") or ()
                 if (number.get("name") or "") == wanted and protocol(number) == "TCP"
                 for address in subset.get("addresses") or ())


def listeners(service: Object, found: Object | None) -> dict[int, Listener]:
    """What the Service's relay carries."""
    keeps = service["spec"].get("sessionAffinity") == "ClientIP"
    return {int(port["port"]): Listener(backends(found, port), keeps) for port in ports(service) if protocol(port) == "TCP"}


def _ports(service: Object, pod: Object) -> Ports:
    numbered = ((port.get("name") or "", _number(port, pod), protocol(port)) for port in ports(service))
    return tuple((name, number, kind) for name, number, kind in numbered if number)


def _number(port: Object, pod: Object) -> int:
    """The pod's port that the Service's stands for; 0 where it is a name that no container's port has."""
    wanted = port.get("targetPort") or port["port"]
    if str(wanted).isdigit():
        return int(wanted)
    return next((int(each["containerPort"]) for container in containers(pod) for each in container.spec.get("ports") or ()
                 if each.get("name") == wanted and protocol(each) == protocol(port)), 0)


def _port(name: str, number: int, kind: str) -> Object:
    return ({"name": name} if name else {}) | {"port": number, "protocol": kind}


def _address(service: Object, pod: Object) -> Object:
    namespace, name = key(pod)
    named = pod["spec"].get("hostname") if pod["spec"].get("subdomain") == key(service)[1] else None
    return {"ip": pod["status"]["podIP"]} | ({"hostname": named} if named else {}) | {
        "nodeName": NODE, "targetRef": {"kind": "Pod", "name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]}}
