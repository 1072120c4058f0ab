"""ConfigMaps and Secrets that a pod names. What is not there is told in the kubelet's words."""

from __future__ import annotations

import base64

from devloop.clients.kube import Resource
from devloop.local.kinds import CONFIG_MAPS, SECRETS
from devloop.local.store import Store
from devloop.model import Object


class Unmet(Exception):
    """The pod or container has to wait: something it names is not there, or says what cannot be."""


class References:
    """What the pods of one namespace may name."""

    def __init__(self, store: Store, namespace: str) -> None:
        self.store, self.namespace = store, namespace

    def values(self, kind: Resource, reference: Object) -> dict[str, bytes] | None:
        """All that a ConfigMap or Secret holds; None where it is not there and `reference` says ``optional``. Raises `Unmet`."""
        name = reference.get("name") or reference.get("secretName") or ""
        found = self.store.get(kind, self.namespace, name)
        if found is not None:
            return contents(kind, found)
        if reference.get("optional"):
            return None
        raise Unmet(f'{kind.kind.lower()} "{name}" not found')

    def value(self, kind: Resource, reference: Object) -> str | None:
        """One key's value; None where it is not there and may be absent. Raises `Unmet`."""
        values = self.values(kind, reference)
        if values is not None and reference["key"] in values:
            return values[reference["key"]].decode(errors="replace")
        if values is None or reference.get("optional"):
            return None
        raise Unmet(f"couldn't find key {reference['key']} in {kind.kind} {self.namespace}/{reference.get('name', '')}")


def contents(kind: Resource, obj: Object) -> dict[str, bytes]:
    data = obj.get("data") or {}
    if kind == SECRETS:
        return {key: base64.b64decode(value) for key, value in data.items()}
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: str(value).encode() for key, value in data.items()} | binary


def named(pod: Object) -> set[tuple[str, str]]:
    """The kinds and names of all ConfigMaps and Secrets that the pod's containers and volumes name."""
    found: set[tuple[str, str]] = set()

    def note(reference: Object | None, kind: Resource) -> None:
        if reference:
            found.add((kind.kind, reference.get("name") or reference.get("secretName") or ""))

    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for source in container.get("envFrom") or ():
            note(source.get("configMapRef"), CONFIG_MAPS)
            note(source.get("secretRef"), SECRETS)
        for entry in container.get("env") or ():
            note((entry.get("valueFrom") or {}).get("configMapKeyRef"), CONFIG_MAPS)
            note((entry.get("valueFrom") or {}).get("secretKeyRef"), SECRETS)
    for volume in spec.get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            note(source.get("configMap"), CONFIG_MAPS)
            note(source.get("secret"), SECRETS)
    return found
