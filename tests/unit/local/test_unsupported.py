"""What has no effect on the Docker Engine alone is told, once, or is an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import devloop.local
from devloop.cancel import Cancel
from devloop.errors import DeployError
from devloop.events import Emit, Event, Notice, ObjectApplied
from devloop.local import schema
from devloop.local.deployer import LocalDeployer
from devloop.local.kinds import KINDS
from devloop.local.schema.make import NOT_APPLIED
from devloop.local.unsupported import NEEDLESS, skipped, unsupported
from devloop.model import Manifest, Object, ObjectRef
from tests.unit.local.objects import container, job, template, thing, workload


def manifest(obj: Object) -> Manifest:
    return Manifest(obj, "k8s/app.yaml")


def found(obj: Object) -> list[str]:
    return [finding.what for finding in unsupported([manifest(obj)])]


@pytest.mark.parametrize("obj", [
    workload("Deployment", pod=template(container(
        env=[{"name": "A", "value": "1"}], resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        readinessProbe={"httpGet": {"port": 80}}, securityContext={"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}),
        volumes=[{"name": "a", "configMap": {"name": "a"}}, {"name": "b", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
        serviceAccountName="default", schedulerName="default-scheduler", tolerations=[{"operator": "Exists"}], hostUsers=True)),
    # what says no more than what is so anyway
    workload("Deployment", pod=template(container(
        volumeMounts=[{"name": "a", "mountPath": "/a", "mountPropagation": "None", "recursiveReadOnly": "Disabled"}]),
        initContainers=[container(restartPolicy="Always")], hostIPC=False, setHostnameAsFQDN=False, schedulingGates=[],
        securityContext={"supplementalGroupsPolicy": "Merge"}, os={"name": "linux"},
        volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])),
    thing("Service", "a", spec={"externalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
    workload("StatefulSet"), workload("DaemonSet"), job(), thing("ConfigMap", "a"), thing("Secret", "a"), thing("ServiceAccount", "a"),
    thing("Service", "a", spec={"type": "LoadBalancer", "ports": [{"port": 80}]}),
    thing("Service", "a", spec={"clusterIP": "None", "ports": [{"port": 53, "protocol": "UDP"}]}),
    thing("PersistentVolumeClaim", "a", spec={"storageClassName": "fast"}),
    thing("Ingress", "a", "networking.k8s.io/v1", spec={"ingressClassName": "nginx"}),
    # not known to any Kubernetes: that is for the API to say
    thing("Deploymnt", "a", "apps/v1"), thing("Deployment", "a", "apps/v1beta1"),
])
def test_nothing_is_said_of_what_works(obj: Object) -> None:
    assert found(obj) == []
    assert skipped(manifest(obj).ref) == ""


@pytest.mark.parametrize(("api_version", "kind"), [
    ("rbac.authorization.k8s.io/v1", "Role"), ("networking.k8s.io/v1", "NetworkPolicy"), ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "ResourceQuota"),
    ("cert-manager.io/v1", "Certificate"), ("gateway.networking.k8s.io/v1", "HTTPRoute"), ("v1", "PersistentVolume"),
])
def test_objects_that_nothing_here_handles_are_found_as_a_whole(api_version: str, kind: str) -> None:
    obj = thing(kind, "a", api_version)
    assert found(obj) == [""]
    assert skipped(manifest(obj).ref)


@pytest.mark.parametrize(("spec", "what"), [
    ({"nodeSelector": {"disk": "ssd"}}, "nodeSelector"), ({"affinity": {"nodeAffinity": {}}}, "affinity"),
    ({"runtimeClassName": "gvisor"}, "runtimeClassName"), ({"hostNetwork": True}, "hostNetwork"),
    ({"serviceAccountName": "reader"}, "serviceAccountName"), ({"serviceAccount": "reader"}, "serviceAccount"),
    ({"hostIPC": True}, "hostIPC"), ({"setHostnameAsFQDN": True}, "setHostnameAsFQDN"), ({"hostnameOverride": "a"}, "hostnameOverride"),
    ({"schedulingGates": [{"name": "a"}]}, "schedulingGates"), ({"hostUsers": False}, "hostUsers"),
    ({"securityContext": {"supplementalGroupsPolicy": "Strict"}}, "securityContext.supplementalGroupsPolicy"),
    ({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]}, "volume v (sizeLimit)"),
    ({"volumes": [{"name": "v", "nfs": {"server": "x", "path": "/"}}]}, "volume v (nfs)"),
    ({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}, "volume v (serviceAccountToken)"),
    ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "securityContext.seccompProfile"),
])
def test_fields_of_pods_without_effect_are_found(spec: dict[str, Any], what: str) -> None:
    assert found(workload("Deployment", pod=template(**spec))) == [what]
    cron = thing("CronJob", "a", "batch/v1", spec={"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template(**spec)}}})
    assert found(cron) == [what]


@pytest.mark.parametrize(("more", "what"), [
    ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "nvidia.com/gpu"),
    ({"livenessProbe": {"grpc": {"port": 1}}}, "livenessProbe (grpc)"),
    ({"resources": {"requests": {"ephemeral-storage": "1Gi"}}}, "ephemeral-storage"),
    ({"volumeDevices": [{"name": "v", "devicePath": "/x"}]}, "volumeDevices"),
    ({"securityContext": {"procMount": "Unmasked"}}, "securityContext.procMount"),
    ({"restartPolicyRules": [{"action": "Restart"}]}, "restartPolicyRules"), ({"restartPolicy": "Never"}, "restartPolicy"),
    ({"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]}, "/v mountPropagation"),
    ({"volumeMounts": [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}]}, "/v recursiveReadOnly"),
])
def test_fields_of_containers_without_effect_are_found(more: dict[str, Any], what: str) -> None:
    assert found(workload("Deployment", pod=template(container(**more)))) == [f"container web {what}"]
    assert found(workload("Deployment", pod=template(initContainers=[container(**more)]))) == [f"container web {what}"]


@pytest.mark.parametrize(("obj", "what"), [
    (job(podFailurePolicy={"rules": []}), "spec.podFailurePolicy"), (job(maxFailedIndexes=1), "spec.maxFailedIndexes"),
    (thing("Service", "a", spec={"loadBalancerIP": "10.0.0.1"}), "spec.loadBalancerIP"),
    (thing("Service", "a", spec={"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}), "spec.sessionAffinityConfig"),
    (thing("Service", "a", spec={"externalTrafficPolicy": "Local"}), "spec.externalTrafficPolicy"),
    (thing("Service", "a", spec={"ipFamilies": ["IPv6"]}), "spec.ipFamilies"),
    (thing("Service", "a", spec={"ports": [{"port": 53, "protocol": "UDP"}]}), "spec.ports UDP 53"),
    (thing("PersistentVolumeClaim", "a", spec={"volumeMode": "Block"}), "spec.volumeMode Block"),
    (thing("Ingress", "a", "networking.k8s.io/v1", spec={"tls": [{}]}), "spec.tls"),
    (thing("Ingress", "a", "networking.k8s.io/v1", spec={"defaultBackend": {"resource": {"kind": "Bucket", "name": "a"}}}),
     "backend resource"),
    (workload("StatefulSet", persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete"}),
     "spec.persistentVolumeClaimRetentionPolicy"),
])
def test_fields_of_other_kinds_without_effect_are_found(obj: Object, what: str) -> None:
    assert found(obj) == [what]


def test_an_ingress_controllers_annotations_are_found() -> None:
    obj = thing("Ingress", "a", "networking.k8s.io/v1", spec={})
    obj["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/rewrite-target": "/", "kubernetes.io/ingress.class": "x", "mine": "1"}
    assert found(obj) == ["annotation nginx.ingress.kubernetes.io/rewrite-target"]


_SOURCE = Path(devloop.local.__file__).parent
_AS_A_WHOLE = {"Volume", "VolumeProjection",      # whatever source of files is not known is found
               "ClusterTrustBundleProjection", "EphemeralContainer", "ImageVolumeSource", "ServiceAccountTokenProjection",
               "TypedLocalObjectReference"}
_ELSEWHERE = {"LabelSelectorRequirement.operator",      # devloop.pods reads selectors
              "AppArmorProfile.localhostProfile", "SeccompProfile.localhostProfile"}      # found by the type that it goes with


def test_no_field_is_dropped_in_silence() -> None:
    """Every field of every kind has a name that devloop's own source knows, or stands among those that nobody misses. What is in a field
    that `unsupported` alone knows needs no look."""
    words = {file: set(re.findall(r"\w+", file.read_text())) for file in _SOURCE.rglob("*.py")}
    handled = set().union(*(found for file, found in words.items() if file.name != "unsupported.py"))
    known = handled | words[_SOURCE / "unsupported.py"]
    due = [schema.type_of({"apiVersion": kind.api_version, "kind": kind.kind}) for kind in KINDS if kind.kind not in NOT_APPLIED]
    seen, silent = set[str](), set[str]()
    while due:
        type = due.pop()
        while type.items:
            type = type.items
        if type.what != "struct" or type.name in seen:
            continue
        seen.add(type.name)
        due += [each for name, each in type.fields.items() if name in handled - NEEDLESS]
        silent |= {f"{type.name}.{name}" for name in type.fields.keys() - known if type.name not in _AS_A_WHOLE}
    assert silent == _ELSEWHERE


class Recorder:
    """A `Deployer` that remembers what it was to deploy."""

    def __init__(self) -> None:
        self.deployed: list[str] = []

    def deploy(self, manifests: Sequence[Manifest], emit: Emit, cancel: Cancel) -> tuple[ObjectRef, ...]:
        self.deployed += [str(manifest.ref) for manifest in manifests]
        return tuple(manifest.ref for manifest in manifests)

    def delete(self, emit: Emit, cancel: Cancel, *, volumes: bool = False) -> None:
        self.deployed.append(f"delete {volumes}")


class Target:
    """What is deployed to: `log` tells what was asked of it."""

    def __init__(self, *, started: bool = True) -> None:
        self.started, self.log = started, list[str]()

    def start(self, cancel: Cancel) -> None:
        self.log.append("start")

    def purge(self, *, volumes: bool) -> tuple[list[str], list[str]]:
        self.log.append(f"purge {volumes}")
        return ["default/web-1"], ["default/data"]


WEB = manifest(workload("Deployment", pod=template(nodeSelector={"disk": "ssd"})))
ROLES = [manifest(thing(kind, "reader", "rbac.authorization.k8s.io/v1")) for kind in ("Role", "RoleBinding")]


def test_what_is_left_out_is_told_once_and_the_rest_is_deployed() -> None:
    events: list[Event] = []
    recorder = Recorder()
    target = Target()
    deployer = LocalDeployer(recorder, target, strict=False)
    for _ in range(2):
        assert deployer.deploy([WEB, *ROLES], events.append, Cancel()) == (WEB.ref,)
    assert recorder.deployed == ["deployment/web", "deployment/web"]
    notice, = events
    assert isinstance(notice, Notice)
    assert notice.message == ("3 things in the manifests have no effect on the Docker Engine alone: deployment/web nodeSelector "
                              "(there is one node, for every pod); role/reader, rolebinding/reader (nobody's rights are checked)")
    deployer.deploy([WEB, manifest(thing("Widget", "a", "example.com/v1"))], events.append, Cancel())
    assert [event.message for event in events[1:] if isinstance(event, Notice)] == [
        "one thing in the manifests has no effect on the Docker Engine alone: widget/a (nothing here handles objects of its kind)"]
    deployer.delete(events.append, Cancel(), volumes=True)
    assert recorder.deployed[-1] == "delete True"


def test_strict_deploys_nothing_and_names_everything() -> None:
    recorder, target = Recorder(), Target()
    strict = LocalDeployer(recorder, target, strict=True)
    with pytest.raises(DeployError) as caught:
        strict.deploy([WEB, *ROLES], lambda event: None, Cancel())
    assert recorder.deployed == target.log == []
    assert caught.value.details == ("deployment/web nodeSelector: there is one node, for every pod", *(
        f"{name}/reader: nobody's rights are checked" for name in ("role", "rolebinding")))
    strict.deploy([manifest(workload("Deployment"))], lambda event: None, Cancel())
    assert (recorder.deployed, target.log) == (["deployment/web"], ["start"])


def test_what_another_session_has_left_is_removed_without_being_deployed_first() -> None:
    events: list[Event] = []
    recorder, target = Recorder(), Target(started=False)
    deployer = LocalDeployer(recorder, target, strict=False)
    deployer.delete(events.append, Cancel())
    deployer.delete(events.append, Cancel(), volumes=True)
    assert (recorder.deployed, target.log) == ([], ["purge False", "purge True"])
    pod, kept, *rest = events
    assert pod == ObjectApplied("deleted", "pod/web-1", "default")
    assert isinstance(kept, Notice)
    assert kept.message == "persistentvolumeclaim/data stays, with its data"
    assert rest == [pod, ObjectApplied("deleted", "persistentvolumeclaim/data", "default")]
