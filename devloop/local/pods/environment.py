"""A container's environment, in the kubelet's order: Services, ``envFrom``, ``env``; a later one wins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from devloop.local.kinds import CONFIG_MAPS, SECRETS, SERVICES
from devloop.local.pods.expansion import expand
from devloop.local.pods.fields import Facts, field, resource_field
from devloop.local.pods.references import References, Unmet
from devloop.model import Object

_NAME = re.compile(r"[^=\x00]+")


def environment(pod: Object, container: Object, references: References, facts: Facts) -> dict[str, str]:
    """Raises `Unmet` where something that it takes a value from is not there."""
    linked = pod["spec"].get("enableServiceLinks", True)
    services = service_variables(references.store.list(SERVICES, references.namespace)) if linked else {}
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for kind, where in ((CONFIG_MAPS, "configMapRef"), (SECRETS, "secretRef")):
            if where in source:
                values = references.values(kind, source[where]) or {}
                named = {source.get("prefix", "") + key: value.decode(errors="replace") for key, value in values.items()}
                result |= {name: value for name, value in named.items() if _NAME.fullmatch(name)}
    for entry in container.get("env") or ():
        value = _value(pod, container, entry, references, facts, known={**services, **result})
        if value is not None:
            result[entry["name"]] = value
    return {**services, **result}


def _value(pod: Object, container: Object, entry: Object, references: References, facts: Facts, *,
           known: Mapping[str, str]) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(str(entry.get("value") or ""), known)
    try:
        if reference := source.get("fieldRef"):
            return field(pod, reference["fieldPath"], facts)
        if reference := source.get("resourceFieldRef"):
            return resource_field(pod, reference, container, facts)
    except ValueError as error:
        raise Unmet(str(error)) from error
    if reference := source.get("configMapKeyRef"):
        return references.value(CONFIG_MAPS, reference)
    if reference := source.get("secretKeyRef"):
        return references.value(SECRETS, reference)
    return None


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """What pods are told of the Services of their namespace: ``WEB_SERVICE_HOST``, ``WEB_PORT_80_TCP_ADDR`` …"""
    result: dict[str, str] = {}
    for service in services:
        host, ports = service["spec"].get("clusterIP") or "", service["spec"].get("ports") or ()
        if not ports or not _is_address(host):
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        result |= {f"{name}_SERVICE_HOST": host, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        result |= {f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}": str(port["port"]) for port in ports if port.get("name")}
        for index, port in enumerate(ports):
            protocol, number = port.get("protocol", "TCP"), port["port"]
            url = f"{protocol.lower()}://{host}:{number}"
            prefix = f"{name}_PORT_{number}_{protocol}"
            if index == 0:
                result[f"{name}_PORT"] = url
            result |= {prefix: url, f"{prefix}_PROTO": protocol.lower(), f"{prefix}_PORT": str(number), f"{prefix}_ADDR": host}
    return result


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
