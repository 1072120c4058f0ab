"""Where a forward leads: from a resource and a port to the pods that serve it, best first. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from devloop.clients.duplex import PodRef
from devloop.clients.kube import Resource
from devloop.model import Object
from devloop.pods import assigned, containers, finished, ready, selector_text, terminating

_KINDS = {
    "service": Resource("v1", "Service", "services", True),
    "deployment": Resource("apps/v1", "Deployment", "deployments", True),
    "statefulset": Resource("apps/v1", "StatefulSet", "statefulsets", True),
    "pod": Resource("v1", "Pod", "pods", True),
}
_REVISIONS = ("pod-template-hash", "controller-revision-hash")


class Unresolved(Exception):
    """The resource is there, but its port leads nowhere; the text says why."""


@dataclass(frozen=True)
class Target:
    """A resource of the config: what it is, and its name."""

    resource: Resource
    name: str

    @property
    def kind(self) -> str:
        return self.resource.kind

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True)
class Candidate:
    """A port of a pod that connections may go to. `declared`: the ports its containers name, for messages."""

    pod: PodRef
    port: int
    ready: bool
    restarts: int
    declared: tuple[str, ...]

    @property
    def undeclared(self) -> bool:
        """The containers name ports, and this is none of them."""
        return bool(self.declared) and str(self.port) not in {label.partition(" ")[0] for label in self.declared}


def parse(resource: str) -> Target:
    """``service/web`` and the like, as the config's model lets pass."""
    kind, _, name = resource.partition("/")
    return Target(_KINDS[kind], name)


def selector(target: Target, obj: Object) -> str:
    """The label selector of the resource's pods. Raises `Unresolved` where it has none."""
    found = (obj.get("spec") or {}).get("selector") or {}
    text = selector_text({"matchLabels": found} if target.kind == "Service" else found)
    if not text:
        raise Unresolved(f"{target} selects no pods (it has no selector)")
    return text


def local_number(target: Target, obj: Object, port: str) -> int:
    """The number of a named port as the resource shows it; 0 where it has no such port."""
    if target.kind == "Service":
        return next((int(p["port"]) for p in _service_ports(obj) if p.get("name") == port), 0)
    pod = obj if target.kind == "Pod" else {"spec": obj["spec"]["template"]["spec"]}
    return _named(pod, port)


def candidates(target: Target, obj: Object, port: int | str, pods: Mapping[str, Object], seen: Mapping[str, int]) -> Sequence[Candidate]:
    """Pods that may serve the port, best first: the newest revision, then what is ready, then the newest; ending ones last.

    A pod belongs here as soon as it has a node: only connecting tells when it accepts. That it is not ready yet is no
    reason to go to an older revision that is: who has just saved wants to see the new code as soon as it answers.
    `seen` numbers the pods (by uid) as they came, since creation times are whole seconds.
    Raises `Unresolved` where the resource has no such port.
    """
    wanted = _target_port(target, obj, port)
    usable = [pod for pod in pods.values() if assigned(pod) and not finished(pod)]
    age = {uid: (pod["metadata"]["creationTimestamp"], seen.get(uid, 0)) for uid, pod in pods.items()}
    revisions: dict[str, tuple[str, int]] = {}
    for pod in usable:
        uid, revision = pod["metadata"]["uid"], _revision(pod)
        revisions[revision] = min(age[uid], revisions.get(revision, age[uid]))
    usable.sort(reverse=True, key=lambda pod: (not terminating(pod), revisions[_revision(pod)], ready(pod), age[pod["metadata"]["uid"]]))
    found = [(pod, wanted if isinstance(wanted, int) else _named(pod, wanted)) for pod in usable]
    if found and not any(number for _, number in found):
        best = usable[0]
        raise Unresolved(f"no container of pod {best['metadata']['name']} has a port named '{wanted}' (it has {_has(_declared(best))})")
    return [_candidate(pod, number) for pod, number in found if number]


def _candidate(pod: Object, port: int) -> Candidate:
    meta = pod["metadata"]
    made = list(containers(pod))
    half_closes = any(c.status.get("containerID", "").startswith("docker:") for c in made)
    return Candidate(PodRef(meta["namespace"], meta["name"], meta["uid"], half_closes), port, ready(pod),
                     sum(c.restarts for c in made), _declared(pod))


def _revision(pod: Object) -> str:
    labels = pod["metadata"].get("labels") or {}
    return next((labels[name] for name in _REVISIONS if name in labels), "")


def _target_port(target: Target, obj: Object, port: int | str) -> int | str:
    """The pods' port, by number or name, that the resource's `port` stands for."""
    if target.kind != "Service":
        return port
    ports = _service_ports(obj)
    found = next((p for p in ports if port in (p["port"], p.get("name"))), None)
    if found is not None:
        wanted: int | str = found.get("targetPort") or found["port"]
        return int(wanted) if str(wanted).isdigit() else wanted
    if obj["spec"].get("clusterIP") == "None" and isinstance(port, int):
        return port      # nothing translates the ports of a headless service
    raise Unresolved(f"{target} has no port {port} (it has {_has(_label(p['port'], p.get('name', '')) for p in ports)})")


def _service_ports(service: Object) -> Sequence[Object]:
    return [p for p in (service.get("spec") or {}).get("ports") or () if p.get("protocol", "TCP") == "TCP"]


def _container_ports(pod: Object) -> Sequence[Object]:
    return [p for c in containers(pod) for p in c.spec.get("ports") or () if p.get("protocol", "TCP") == "TCP"]


def _named(pod: Object, name: str) -> int:
    return next((int(p["containerPort"]) for p in _container_ports(pod) if p.get("name") == name), 0)


def _declared(pod: Object) -> tuple[str, ...]:
    return tuple(_label(p["containerPort"], p.get("name", "")) for p in _container_ports(pod))


def _label(number: int, name: str) -> str:
    return f"{number} ({name})" if name else str(number)


def _has(ports: Iterable[str]) -> str:
    return ", ".join(ports) or "none"
