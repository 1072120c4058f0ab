"""ConfigMaps, Secrets and claims that a pod names and that are not there."""

from __future__ import annotations

import re

from devloop.deploy.causes.diagnosis import Missing
from devloop.model import Object

_KINDS = {"configmap": "ConfigMap", "secret": "Secret", "persistentvolumeclaim": "PersistentVolumeClaim"}
_ABSENT = re.compile(r'\b(configmap|secret|persistentvolumeclaim)s? "(?:[^"/]+/)?([^"/]+)" (?:is )?not found', re.IGNORECASE)
_KEY = re.compile(r"couldn't find key (\S+) in (ConfigMap|Secret) [^/\s]+/([^\s,]+)")
_VOLUME_KEY = re.compile(r"references non-existent (config|secret) key: (\S+)")
_VOLUME = re.compile(r'for volume "([^"]+)"')


def missing_in(text: str, pod: Object) -> Missing | None:
    """What a message of the kubelet or the scheduler says is not there."""
    if absent := _ABSENT.search(text):
        return Missing(_KINDS[absent[1].lower()], absent[2])
    if key := _KEY.search(text):
        return Missing(key[2], key[3], key[1])
    if key := _VOLUME_KEY.search(text):
        volume, kind = _VOLUME.search(text), "ConfigMap" if key[1] == "config" else "Secret"
        return Missing(kind, _source_with_key(pod, volume[1] if volume else "", kind, key[2]), key[2])
    return None


def describe_missing(missing: Missing, namespace: str) -> str:
    if missing.key:
        return f"{missing.kind} '{missing.name}' in namespace {namespace} has no key '{missing.key}'"
    return f"{missing.kind} '{missing.name}' does not exist in namespace {namespace}"


def missing_hint(missing: Missing) -> str:
    if missing.key:
        return f"Add the key to {missing.kind} '{missing.name}', or mend its name in the pod's manifest."
    how = f" To keep it out of them: kubectl create secret generic {missing.name} ..." if missing.kind == "Secret" else ""
    return f"Add the {missing.kind} to the manifests (deploy.manifests in devloop.yaml), or mend its name in the pod's manifest.{how}"


def _source_with_key(pod: Object, volume_name: str, kind: str, key: str) -> str:
    """The name of the object a volume takes a key from: the kubelet's message tells the volume only."""
    volume: Object = next((v for v in (pod.get("spec") or {}).get("volumes") or () if v.get("name") == volume_name), {})
    field, name_field = ("configMap", "name") if kind == "ConfigMap" else ("secret", "secretName")
    if field in volume:
        return str(volume[field].get(name_field, ""))
    for source in (volume.get("projected") or {}).get("sources") or ():
        if field in source and any(item.get("key") == key for item in source[field].get("items") or ()):
            return str(source[field].get("name", ""))
    return ""
