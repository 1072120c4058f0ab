"""What is wrong with a Service or an Ingress. Pure."""

from __future__ import annotations

from devloop.local.validation.words import Causes, duplicate, invalid, obeys, one_of, port, required
from devloop.model import Object


def service(obj: Object) -> Causes:
    spec = obj["spec"]
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    names: set[str] = set()
    for index, found in enumerate(ports):
        at, name = f"spec.ports[{index}]", found.get("name", "")
        if len(ports) > 1 and not name:
            yield required(f"{at}.name")
        elif name:
            yield from obeys("label", f"{at}.name", name)
            if name in names:
                yield duplicate(f"{at}.name", name)
        names.add(name)
        yield from port(f"{at}.port", found.get("port"))
        yield from port(f"{at}.targetPort", found.get("targetPort"))
    yield from one_of("spec.type", spec["type"], "ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")


def ingress(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and "defaultBackend" not in spec:
        yield invalid("spec", spec.get("rules") or [], "either `defaultBackend` or `rules` must be specified")
    if "defaultBackend" in spec:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for number, rule in enumerate(spec.get("rules") or ()):
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            at = f"spec.rules[{number}].http.paths[{index}]"
            if not path.get("pathType"):
                yield required(f"{at}.pathType", "pathType must be specified")
            else:
                yield from one_of(f"{at}.pathType", path["pathType"], "Exact", "ImplementationSpecific", "Prefix")
            if path.get("pathType") != "ImplementationSpecific" and not path.get("path", "").startswith("/"):
                yield invalid(f"{at}.path", path.get("path", ""), "must be an absolute path")
            yield from _backend(path.get("backend") or {}, f"{at}.backend")


def _backend(backend: Object, at: str) -> Causes:
    if not backend.get("service") and not backend.get("resource"):
        yield invalid(at, "", "resource or service backend is required")
        return
    found = backend.get("service") or {}
    if backend.get("service") and not found.get("name"):
        yield required(f"{at}.service.name")
    if backend.get("service") and not (found.get("port") or {}).get("number") and not (found.get("port") or {}).get("name"):
        yield required(f"{at}.service.port", "port name or number is required")
