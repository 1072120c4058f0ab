"""What stands in manifests and has no effect on the Docker Engine alone: found before anything is deployed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devloop.deploy.fields import pod_specs
from devloop.local.kinds import KINDS
from devloop.model import Manifest, Object, ObjectRef


@dataclass(frozen=True)
class Finding:
    """`what`: the field, empty where it is the `object` as a whole; `why` it has no effect."""

    object: ObjectRef
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.object}{' ' if self.what else ''}{self.what}"


_RIGHTS = "nobody's rights are checked"
_ONE_NODE = "there is one node, for every pod"
_NO_CONTROLLER = "nothing here handles objects of its kind"
_DEVICES = "devices are not handed out"
_API = "there is no API server that programs could talk to"
_LOCALHOST = "only localhost leads to it"
_IPV4 = "the project's network has IPv4 addresses"
_AT_ONCE = "pods start at once"

_KINDS: Mapping[str, Mapping[str, str]] = {
    "rbac.authorization.k8s.io": dict.fromkeys(("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"), _RIGHTS),
    "apiextensions.k8s.io": {"CustomResourceDefinition": "there are no custom kinds"},
    "apiregistration.k8s.io": {"APIService": _API},
    "admissionregistration.k8s.io": dict.fromkeys(("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration",
                                                   "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
                                                   "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"), "nothing asks them"),
    "networking.k8s.io": {"NetworkPolicy": "every pod reaches every other", "IngressClass": "there is one Ingress proxy, for every class"},
    "policy": {"PodDisruptionBudget": "nothing evicts pods"},
    "autoscaling": {"HorizontalPodAutoscaler": "nothing measures the load: replicas stay as they are"},
    "scheduling.k8s.io": {"PriorityClass": _ONE_NODE},
    "node.k8s.io": {"RuntimeClass": "the Engine has one runtime"},
    "storage.k8s.io": dict.fromkeys(("StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "VolumeAttributesClass"),
                                    "every claim is a volume of the Engine"),
    "": {"PersistentVolume": "every claim is a volume of the Engine", "ResourceQuota": "nothing is counted",
         "LimitRange": "limits are those of the manifests", "PodTemplate": _NO_CONTROLLER,
         "ReplicationController": f"{_NO_CONTROLLER}: make it a Deployment"},
    "coordination.k8s.io": {"Lease": _API},
    "discovery.k8s.io": {"EndpointSlice": "a Service leads to the pods that it selects"},
    "flowcontrol.apiserver.k8s.io": dict.fromkeys(("FlowSchema", "PriorityLevelConfiguration"), _API),
    "certificates.k8s.io": {"CertificateSigningRequest": _API},
    "resource.k8s.io": dict.fromkeys(("DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"), _DEVICES),
}
_OWN = {"apps", "batch", "extensions", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", *_KINDS}
_SERVED = {(kind.api_version, kind.kind) for kind in KINDS}

_POD = {
    "nodeSelector": _ONE_NODE, "affinity": _ONE_NODE, "topologySpreadConstraints": _ONE_NODE, "nodeName": _ONE_NODE,
    "priorityClassName": _ONE_NODE, "schedulerName": _ONE_NODE, "runtimeClassName": "the Engine has one runtime",
    "hostNetwork": "pods have the project's network", "resourceClaims": _DEVICES,
    "readinessGates": "nothing here opens them", "os": _ONE_NODE,
    "hostIPC": "pods have IPC of their own", "setHostnameAsFQDN": "the hostname is the short one",
    "hostnameOverride": "the hostname is the pod's own", "schedulingGates": _AT_ONCE, "schedulingGroup": _AT_ONCE,
    "resources": "limits are those of the containers",
}
_CONTAINER = {"volumeDevices": "volumes of the Engine hold files", "resizePolicy": "resources do not change in place",
              "restartPolicyRules": "the pod's restartPolicy decides"}
_MOUNT = {"mountPropagation": "what is mounted later is not seen", "recursiveReadOnly": "the Engine decides about mounts within a mount"}
_VOLUMES = {"configMap", "secret", "emptyDir", "hostPath", "persistentVolumeClaim", "downwardAPI", "projected"}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_SECURITY = {"windowsOptions": "containers are Linux ones", "procMount": "the Engine has its own",
             "supplementalGroupsPolicy": "the image's groups of the user count, too"}
_SPECS: Mapping[str, Mapping[str, str]] = {
    "Job": {"podFailurePolicy": "every failure counts", "successPolicy": "all completions count",
            "backoffLimitPerIndex": "backoffLimit counts for all", "maxFailedIndexes": "backoffLimit counts for all",
            "managedBy": _NO_CONTROLLER},
    "Service": {"externalIPs": _LOCALHOST, "loadBalancerSourceRanges": _LOCALHOST, "loadBalancerIP": _LOCALHOST,
                "ipFamilies": _IPV4, "ipFamilyPolicy": _IPV4, "sessionAffinityConfig": "a client keeps its pod while both are there",
                "externalTrafficPolicy": "programs see the relay's address as their client's"},
    "PersistentVolumeClaim": {"selector": "every claim is a volume of the Engine", "dataSource": "volumes begin empty",
                              "dataSourceRef": "volumes begin empty"},
    "Ingress": {"tls": "it is served by plain HTTP"},
}
_AS_UNSET: Mapping[str, Sequence[object]] = {
    "schedulerName": ["default-scheduler"], "os": [{"name": "linux"}], "managedBy": ["kubernetes.io/job-controller"],
    "procMount": ["Default"], "mountPropagation": ["None"], "recursiveReadOnly": ["Disabled", "IfPossible"],
    "supplementalGroupsPolicy": ["Merge"], "externalTrafficPolicy": ["Cluster"], "ipFamilies": [["IPv4"]],
    "ipFamilyPolicy": ["SingleStack", "PreferDualStack"], "sessionAffinityConfig": [{"clientIP": {"timeoutSeconds": 10800}}],
}
"""Values with which a field says what is so anyway."""
NEEDLESS = frozenset((
    # tell what anything does with one node and one load balancer, or how soon, or are there to be read
    "tolerations", "preemptionPolicy", "priority", "overhead", "ingressClassName", "loadBalancerClass", "allocateLoadBalancerNodePorts",
    "trafficDistribution", "healthCheckNodePort", "storageClassName", "fsGroupChangePolicy", "seLinuxChangePolicy", "appProtocol",
    # are the server's own
    "managedFields", "selfLink",
))
"""Fields that nothing here looks at, and that nobody misses: docs/local.md tells of them in general."""


def unsupported(manifests: Iterable[Manifest]) -> list[Finding]:
    """In the order of the manifests."""
    return [finding for manifest in manifests for finding in _of(manifest.ref, manifest.object)]


def skipped(ref: ObjectRef) -> str:
    """Why an object is not deployed at all; empty where it is. A kind that no Kubernetes has is no matter of this: it is an error."""
    if (ref.api_version, ref.kind) in _SERVED:
        return ""
    return _NO_CONTROLLER if ref.group not in _OWN else _KINDS.get(ref.group, {}).get(ref.kind, "")


def _of(ref: ObjectRef, obj: Object) -> Iterator[Finding]:
    if why := skipped(ref):
        yield Finding(ref, "", why)
        return
    spec = obj.get("spec") or {}
    found: list[tuple[str, str]] = list(_without_effect(spec, _SPECS.get(ref.kind, {}), "spec."))
    if special := _SPECIAL.get(ref.kind):
        found += special(obj)
    for pod in pod_specs(obj):
        found += _pod(pod)
    yield from (Finding(ref, what, why) for what, why in dict.fromkeys(found))


Found = Iterator[tuple[str, str]]


def _without_effect(obj: Object, fields: Mapping[str, str], where: str) -> Found:
    for field, why in fields.items():
        if obj.get(field) and obj[field] not in _AS_UNSET.get(field, ()):
            yield f"{where}{field}", why


def _service(obj: Object) -> Found:
    spec = obj.get("spec") or {}
    if spec.get("clusterIP") != "None":
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                yield f"spec.ports {port['protocol']} {port.get('port')}", "only TCP is led to pods by a Service; a headless one leads any"


def _ingress(obj: Object) -> Found:
    for name in obj["metadata"].get("annotations") or {}:
        if "ingress.kubernetes.io/" in name and not name.startswith("kubernetes.io/"):
            yield f"annotation {name}", "its own proxy does not know it"
    spec = obj.get("spec") or {}
    paths = [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]
    for backend in (spec.get("defaultBackend"), *(path.get("backend") for path in paths)):
        if (backend or {}).get("resource"):
            yield "backend resource", "it leads to Services alone"


def _claim(obj: Object) -> Found:
    if (obj.get("spec") or {}).get("volumeMode") == "Block":
        yield "spec.volumeMode Block", "volumes of the Engine hold files"


def _stateful_set(obj: Object) -> Found:
    policy = (obj.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy") or {}
    if "Delete" in policy.values():
        yield "spec.persistentVolumeClaimRetentionPolicy", "claims stay until 'devloop delete --volumes'"


_SPECIAL: Mapping[str, Callable[[Object], Found]] = {"Service": _service, "Ingress": _ingress, "PersistentVolumeClaim": _claim,
                                                     "StatefulSet": _stateful_set}


def _pod(spec: Object) -> Found:
    yield from _without_effect(spec, _POD, "")
    if spec.get("hostUsers") is False:
        yield "hostUsers", "the Engine decides that for all containers"
    for field in ("serviceAccountName", "serviceAccount"):      # the older name of the same
        if spec.get(field, "default") != "default" and spec.get("automountServiceAccountToken") is not False:
            yield field, f"{_API}, and no token for it"
    for volume in spec.get("volumes") or ():
        yield from _volume(volume)
    yield from _security(spec.get("securityContext") or {}, "")
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            yield from _container(container)
            if container.get("restartPolicy") and (key, container["restartPolicy"]) != ("initContainers", "Always"):     # a sidecar's
                yield f"container {container.get('name')} restartPolicy", "the pod's restartPolicy decides"
    if spec.get("ephemeralContainers"):
        yield "ephemeralContainers", "a pod begins without them"


def _volume(volume: Object) -> Found:
    for source in volume.keys() - {"name"} - _VOLUMES:
        yield f"volume {volume.get('name')} ({source})", "the Engine has no such volumes"
    for source in (volume.get("projected") or {}).get("sources") or ():
        for kind in source.keys() - {"configMap", "secret", "downwardAPI"}:
            yield f"volume {volume.get('name')} ({kind})", _API
    empty = volume.get("emptyDir") or {}
    if empty.get("sizeLimit") and empty.get("medium") != "Memory":
        yield f"volume {volume.get('name')} (sizeLimit)", "it is not limited"


def _container(container: Object) -> Found:
    who = f"container {container.get('name')}"
    for probe in _PROBES:
        if "grpc" in (container.get(probe) or {}):
            yield f"{who} {probe} (grpc)", "it counts as passed"
    limits: Mapping[str, Any] = {**((container.get("resources") or {}).get("requests") or {}),
                                 **((container.get("resources") or {}).get("limits") or {})}
    for name in limits:
        if name not in ("cpu", "memory"):
            yield f"{who} {name}", _DEVICES if "/" in name else "it is not limited"
    yield from _without_effect(container, _CONTAINER, f"{who} ")
    for mount in container.get("volumeMounts") or ():
        yield from _without_effect(mount, _MOUNT, f"{who} {mount.get('mountPath')} ")
    yield from _security(container.get("securityContext") or {}, f"{who} ")


def _security(context: Object, who: str) -> Found:
    yield from _without_effect(context, _SECURITY, f"{who}securityContext.")
    for field in ("seccompProfile", "appArmorProfile"):
        if (context.get(field) or {}).get("type") == "Localhost":
            yield f"{who}securityContext.{field}", "the Engine's own profile is used"


def told(findings: Sequence[Finding]) -> str:
    """In one line, what has the same reason together."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        reasons.setdefault(finding.why, []).append(str(finding))
    return "; ".join(f"{', '.join(dict.fromkeys(names))} ({why})" for why, names in reasons.items())
