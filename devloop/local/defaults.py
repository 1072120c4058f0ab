"""What Kubernetes fills in where a manifest says nothing, and others rely on. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from devloop.model import Object

_FILE_MODE = 0o644
_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")

_SPECS: Mapping[str, Object] = {
    "Deployment": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "ReplicaSet": {"replicas": 1},
    "StatefulSet": {"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady",
                    "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}},
    "DaemonSet": {"revisionHistoryLimit": 10},
    "Job": {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False, "podReplacementPolicy": "TerminatingOrFailed"},
    "CronJob": {"concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1},
    "Service": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"},
    "PersistentVolumeClaim": {"volumeMode": "Filesystem"},
}
_POD = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
        "schedulerName": "default-scheduler", "enableServiceLinks": True, "serviceAccountName": "default"}
_TEMPLATE_LACKS = ("enableServiceLinks", "serviceAccountName")
"""Only a pod itself gets these."""
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def defaulted(obj: Object) -> Object:
    """The object with all that was left out. The given one stays as it is."""
    kind = obj["kind"]
    obj = {**obj}
    match kind:
        case "Secret":
            _secret(obj)
        case "Namespace":
            meta = obj["metadata"]
            obj["metadata"] = {**meta, "labels": {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}}
            obj["status"] = obj.get("status") or {"phase": "Active"}
    if kind in _SPECS or "spec" in obj:
        obj["spec"] = _spec(kind, {**_SPECS.get(kind, {}), **(obj.get("spec") or {})})
    return obj


def _spec(kind: str, spec: Object) -> Object:
    match kind:
        case "Pod":
            return _with_requests(_pod_spec(spec, _POD))
        case "Deployment":
            spec["strategy"] = _rolling(spec.get("strategy"), {"maxUnavailable": "25%", "maxSurge": "25%"})
        case "StatefulSet":
            spec["updateStrategy"] = _rolling(spec.get("updateStrategy"), {"partition": 0})
            spec["volumeClaimTemplates"] = [_claim(claim) for claim in spec.get("volumeClaimTemplates") or ()]
            if not spec["volumeClaimTemplates"]:
                del spec["volumeClaimTemplates"]
        case "DaemonSet":
            spec["updateStrategy"] = _rolling(spec.get("updateStrategy"), {"maxUnavailable": 1, "maxSurge": 0})
        case "Job":
            _job(spec)
        case "CronJob" if "jobTemplate" in spec:
            template = spec["jobTemplate"]
            inner = {**(template.get("spec") or {})}
            spec["jobTemplate"] = {**template, "spec": {**inner, "template": _template(inner.get("template"))}}
            return spec
        case "Service":
            spec["ports"] = [_service_port(port) for port in spec.get("ports") or ()]
    if kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"):
        spec["template"] = _template(spec.get("template"))
    return spec


def _rolling(strategy: Object | None, rolling: Object) -> Object:
    strategy = {"type": "RollingUpdate", **(strategy or {})}
    if strategy["type"] == "RollingUpdate":
        strategy["rollingUpdate"] = {**rolling, **(strategy.get("rollingUpdate") or {})}
    return strategy


def _job(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)


def _claim(claim: Object) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim, "spec": {"volumeMode": "Filesystem", **(claim.get("spec") or {})}}


def _service_port(port: Object) -> Object:
    return {"protocol": "TCP", "targetPort": port.get("port"), **port}


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    if texts := obj.pop("stringData", None):
        obj["data"] = {**(obj.get("data") or {}), **{k: base64.b64encode(v.encode()).decode() for k, v in texts.items()}}


# --- pods

def _template(template: Object | None) -> Object:
    template = template or {}
    return {**template, "metadata": template.get("metadata") or {},
            "spec": _pod_spec(template.get("spec") or {}, {k: v for k, v in _POD.items() if k not in _TEMPLATE_LACKS})}


def _pod_spec(spec: Object, defaults: Mapping[str, Any]) -> Object:
    alias = {"serviceAccountName": spec["serviceAccount"]} if spec.get("serviceAccount") else {}
    spec = {**defaults, **alias, **spec}
    for key in _CONTAINER_LISTS:
        if key in spec:
            spec[key] = [_container(container) for container in spec[key]]
    if "volumes" in spec:
        spec["volumes"] = [_volume(volume) for volume in spec["volumes"]]
    return spec


def _container(container: Object) -> Object:
    image = container.get("image", "")
    latest = "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
    container = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "resources": {},
                 "imagePullPolicy": "Always" if latest else "IfNotPresent", **container}
    if "ports" in container:
        container["ports"] = [{"protocol": "TCP", **port} for port in container["ports"]]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            container[probe] = _handler({**_PROBE, **container[probe]})
    if "lifecycle" in container:
        container["lifecycle"] = {hook: _handler(handler) for hook, handler in container["lifecycle"].items()}
    if "env" in container:
        container["env"] = [_variable(variable) for variable in container["env"]]
    return container


def _with_requests(spec: Object) -> Object:
    """Requests that were left out are as the limits."""
    for key in _CONTAINER_LISTS:
        for index, container in enumerate(spec.get(key) or ()):
            if limits := container["resources"].get("limits"):
                requests = {**limits, **(container["resources"].get("requests") or {})}
                spec[key][index] = {**container, "resources": {**container["resources"], "requests": requests}}
    return spec


def _handler(handler: Any) -> Any:
    if not isinstance(handler, dict) or "httpGet" not in handler:
        return handler
    return {**handler, "httpGet": {"path": "/", "scheme": "HTTP", **handler["httpGet"]}}


def _variable(variable: Object) -> Object:
    source = variable.get("valueFrom") or {}
    if "fieldRef" not in source:
        return variable
    return {**variable, "valueFrom": {**source, "fieldRef": {"apiVersion": "v1", **source["fieldRef"]}}}


def _volume(volume: Object) -> Object:
    volume = {**volume}
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for key in ("configMap", "secret", "downwardAPI", "projected"):
        if key in volume:
            volume[key] = {"defaultMode": _FILE_MODE, **volume[key]}
    if "hostPath" in volume:
        volume["hostPath"] = {"type": "", **volume["hostPath"]}
    return volume
