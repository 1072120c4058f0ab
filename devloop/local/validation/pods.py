"""What is wrong with the spec of a pod or a pod's template. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from devloop.local.quantities import quantity
from devloop.local.validation.words import (
    Causes,
    duplicate,
    forbidden,
    invalid,
    missing,
    not_negative,
    obeys,
    one_of,
    port,
    required,
)
from devloop.model import Object

_FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
           "status.hostIPs", "status.podIP", "status.podIPs")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_NAMED = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName"}
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def pod_spec(spec: Object, at: str, claims: Set[str] = frozenset()) -> Causes:
    """`spec`: with its defaults; `at`: the field it stands in; `claims`: the volumes that a StatefulSet gives each of its pods."""
    volumes = claims | {volume.get("name") for volume in spec.get("volumes") or ()}
    yield from _volumes(spec.get("volumes") or (), f"{at}.volumes")
    if not spec.get("containers"):
        yield required(f"{at}.containers")
    names: set[str] = set()
    host = bool(spec.get("hostNetwork"))
    for key in ("containers", "initContainers"):
        ports: set[str] = set()
        for index, container in enumerate(spec.get(key) or ()):
            yield from _container(container, f"{at}.{key}[{index}]", names, volumes, host)
            if key == "containers":
                yield from _port_names(container, f"{at}.{key}[{index}]", ports)
    yield from one_of(f"{at}.restartPolicy", spec["restartPolicy"], "Always", "OnFailure", "Never")
    yield from one_of(f"{at}.dnsPolicy", spec["dnsPolicy"], "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")


def _container(container: Object, at: str, names: set[str], volumes: Set[str], host: bool) -> Causes:
    name = container.get("name", "")
    if not name:
        yield required(f"{at}.name")
    else:
        yield from obeys("label", f"{at}.name", name)
        if name in names:
            yield duplicate(f"{at}.name", name)
    names.add(name)
    if not container.get("image"):
        yield required(f"{at}.image")
    yield from one_of(f"{at}.imagePullPolicy", container["imagePullPolicy"], "Always", "IfNotPresent", "Never")
    for index, found in enumerate(container.get("ports") or ()):
        yield from _port(found, f"{at}.ports[{index}]", host)
    for index, variable in enumerate(container.get("env") or ()):
        yield from _variable(variable, f"{at}.env[{index}]")
    for source in container.get("envFrom") or ():
        if not any(key in source for key in ("configMapRef", "secretRef")):
            yield invalid(f"{at}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`")
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            yield missing(f"{at}.volumeMounts[{index}].name", mount.get("name", ""))
        if not mount.get("mountPath"):
            yield required(f"{at}.volumeMounts[{index}].mountPath")
    for key in ("livenessProbe", "startupProbe", "readinessProbe"):
        if key in container:
            yield from _probe(container[key], f"{at}.{key}", once=key != "readinessProbe")
    for hook, handler in (container.get("lifecycle") or {}).items():
        yield from _handler(handler, f"{at}.lifecycle.{hook}")
    yield from _resources(container["resources"], f"{at}.resources")


def _port(found: Object, at: str, host: bool) -> Causes:
    if not found.get("containerPort"):
        yield required(f"{at}.containerPort")
    else:
        yield from port(f"{at}.containerPort", found["containerPort"])
    if found.get("name"):
        yield from obeys("port name", f"{at}.name", found["name"])
    if found.get("hostPort"):
        yield from port(f"{at}.hostPort", found["hostPort"])
        if host and found["hostPort"] != found.get("containerPort"):
            yield invalid(f"{at}.hostPort", found["hostPort"], "must match `containerPort` when `hostNetwork` is true")


def _port_names(container: Object, at: str, seen: set[str]) -> Causes:
    own: set[str] = set()
    for index, found in enumerate(container.get("ports") or ()):
        name = found.get("name")
        if name and name in own:
            yield duplicate(f"{at}.ports[{index}].name", name)
        own.add(name)
    seen |= own


def _variable(variable: Object, at: str) -> Causes:
    if not variable.get("name"):
        yield required(f"{at}.name")
    else:
        yield from obeys("variable", f"{at}.name", variable["name"])
    source = variable.get("valueFrom")
    if source is None:
        return
    if not source:
        yield invalid(f"{at}.valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or "
                      "`fileKeyRef`")
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in source and not source[key].get("key"):
            yield required(f"{at}.valueFrom.{key}.key")
    if "fieldRef" in source:
        yield from _field_path(source["fieldRef"].get("fieldPath", ""), f"{at}.valueFrom.fieldRef.fieldPath")
    if variable.get("value"):
        yield invalid(f"{at}.valueFrom", "", "may not be specified when `value` is not empty")
    elif sum(key in source for key in _SOURCES) > 1:
        yield invalid(f"{at}.valueFrom", "", "may not have more than one field specified at a time")


def _field_path(path: str, at: str) -> Causes:
    if not path:
        yield required(at)
    elif path not in _FIELDS and not path.startswith(("metadata.labels['", "metadata.annotations['")):
        yield invalid(at, path, f"error converting fieldPath: field label not supported: {path}")


def _probe(probe: Object, at: str, *, once: bool) -> Causes:
    yield from _handler(probe, at)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from not_negative(f"{at}.{key}", probe.get(key))
    if once and probe.get("successThreshold") != 1:
        yield invalid(f"{at}.successThreshold", probe.get("successThreshold"), "must be 1")


def _handler(handler: Object, at: str) -> Causes:
    found = [key for key in _HANDLERS if key in handler]
    for key in found[1:]:
        yield forbidden(f"{at}.{key}", "may not specify more than 1 handler type")
    if not found and "sleep" not in handler:
        yield required(at, "must specify a handler type")
    for key in found[:1]:
        if key == "exec" and not handler["exec"].get("command"):
            yield required(f"{at}.exec.command")
        elif key != "exec":
            yield from port(f"{at}.{key}.port", handler[key].get("port"))


def _resources(resources: Object, at: str) -> Causes:
    limits: Mapping[str, Any] = resources.get("limits") or {}
    for name, wanted in (resources.get("requests") or {}).items():
        if name in limits and quantity(wanted) > quantity(limits[name]):
            yield invalid(f"{at}.requests", str(wanted), f"must be less than or equal to {name} limit of {limits[name]}")


def _volumes(volumes: Any, at: str) -> Iterator[Any]:
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        here, name = f"{at}[{index}]", volume.get("name", "")
        if not name:
            yield required(f"{here}.name")
        else:
            yield from obeys("label", f"{here}.name", name)
            if name in names:
                yield duplicate(f"{here}.name", name)
        names.add(name)
        sources = [key for key in volume if key != "name"]
        for key in sources[1:]:
            yield forbidden(f"{here}.{key}", "may not specify more than 1 volume type")
        for key in sources[:1]:
            if key in _NAMED and not volume[key].get(_NAMED[key]):
                yield required(f"{here}.{key}.{_NAMED[key]}")
            if key == "hostPath" and not volume[key].get("path"):
                yield required(f"{here}.hostPath.path")
