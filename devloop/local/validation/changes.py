"""What cannot be changed in an object that is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.local.validation.words import Causes, forbidden, invalid
from devloop.model import Object

_STATEFUL = ("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
             "minReadySeconds")
_POD = ("image", "activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
_CLAIM = ("resources", "volumeName", "volumeAttributesClassName")
_FIXED: Mapping[str, tuple[str, ...]] = {"Deployment": ("selector",), "ReplicaSet": ("selector",), "DaemonSet": ("selector",),
                                         "Job": ("selector", "template", "completions", "completionMode")}


def changes(old: Object, new: Object) -> Causes:
    """Why `new` cannot follow `old`."""
    before, after = old.get("spec") or {}, new.get("spec") or {}
    for field in _FIXED.get(new["kind"], ()):
        if before.get(field) != after.get(field):
            at = "spec.template.spec" if field == "template" else f"spec.{field}"
            yield invalid(at, after["template"]["spec"] if field == "template" else after.get(field), "field is immutable")
    match new["kind"]:
        case "StatefulSet" if _without(before, _STATEFUL) != _without(after, _STATEFUL):
            names = ", ".join(f"'{name}'" for name in _STATEFUL[:-1])
            yield forbidden("spec", f"updates to statefulset spec for fields other than {names} and '{_STATEFUL[-1]}' are forbidden")
        case "Pod" if _fixed_pod(before) != _fixed_pod(after):
            yield forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`,"
                            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
                            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")
        case "PersistentVolumeClaim" if _without(before, _CLAIM) != _without(after, _CLAIM):
            yield forbidden("spec", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
                            "claims")
        case "Service" if (before.get("clusterIP") == "None") != (after.get("clusterIP") == "None"):
            yield invalid("spec.clusterIPs[0]", [after.get("clusterIP", "")], "may not change once set")
        case "Secret" | "ConfigMap":
            yield from _kept(old, new)


def _kept(old: Object, new: Object) -> Causes:
    if old.get("type") != new.get("type"):
        yield invalid("type", new.get("type"), "field is immutable")
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", "field is immutable when `immutable` is set")
    for field in ("data", "binaryData"):
        if (old.get(field) or {}) != (new.get(field) or {}):
            yield forbidden(field, "field is immutable when `immutable` is set")


def _fixed_pod(spec: Object) -> Object:
    fixed = _without(spec, (*_POD, "nodeName"))
    for key in ("containers", "initContainers"):
        if key in fixed:
            fixed[key] = [_without(container, ("image",)) for container in fixed[key]]
    return fixed


def _without(spec: Object, fields: tuple[str, ...]) -> Object:
    return {key: value for key, value in spec.items() if key not in fields}
