"""Which Service a request is for, as Ingress objects (networking.k8s.io/v1 and v1beta1) say. Nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from devloop.model import Object


@dataclass(frozen=True)
class Backend:
    """A Service's port, by number or name. `ingress`: who says so; `service` is empty where it names something else."""

    ingress: str
    namespace: str
    service: str
    port: int | str


@dataclass(frozen=True)
class Rule:
    """`host` is empty for every one, ``*.x`` for one label more; `exact`: the path itself, else all that is below it."""

    host: str
    path: str
    exact: bool
    backend: Backend

    def matches(self, host: str, path: str) -> bool:
        if self.exact:
            return self._hosts(host) and path == self.path
        prefix = self.path.rstrip("/")
        return self._hosts(host) and (path == prefix or path.startswith(f"{prefix}/"))

    def _hosts(self, host: str) -> bool:
        if self.host.startswith("*."):
            first, _, rest = host.partition(".")
            return bool(first) and rest == self.host[2:]
        return self.host in ("", host)

    def __str__(self) -> str:
        return f"{self.host or '*'} {self.path}{'' if self.exact else ' (and below)'} -> service/{self.backend.service}"


def rules(ingresses: Iterable[Object]) -> list[Rule]:
    """In the order in which they are asked: a host before wildcards before all hosts, longer paths first, exact ones first of these."""
    found = [rule for ingress in ingresses for rule in _of(ingress)]
    defaults = [rule for ingress in ingresses for rule in _default(ingress)]
    found.sort(key=lambda rule: (not rule.host, rule.host.startswith("*"), -len(rule.host), -len(rule.path.rstrip("/")), not rule.exact))
    return found + defaults


def match(among: Sequence[Rule], host: str, target: str) -> Rule | None:
    """`host` as in the request's header; `target` is the request's path, query and all."""
    name = host.lower() if host.endswith("]") else host.rpartition(":")[0].lower() or host.lower()
    path = target.partition("?")[0]
    return next((rule for rule in among if rule.matches(name.rstrip("."), path)), None)


def _of(ingress: Object) -> Iterator[Rule]:
    for rule in ingress["spec"].get("rules") or ():
        for path in (rule.get("http") or {}).get("paths") or ():
            # what ImplementationSpecific means is the controller's to choose: below it, as for most
            yield Rule((rule.get("host") or "").lower(), path.get("path") or "/", path.get("pathType") == "Exact",
                       _backend(ingress, path["backend"]))


def _default(ingress: Object) -> Iterator[Rule]:
    backend = ingress["spec"].get("defaultBackend") or ingress["spec"].get("backend")
    if backend:
        yield Rule("", "/", False, _backend(ingress, backend))


def _backend(ingress: Object, backend: Object) -> Backend:
    meta, service = ingress["metadata"], backend.get("service") or {}
    port = service.get("port") or {}
    number = port.get("number") or port.get("name") or backend.get("servicePort") or ""
    return Backend(meta["name"], meta.get("namespace", ""), service.get("name") or backend.get("serviceName") or "",
                   int(number) if str(number).isdigit() else number)
