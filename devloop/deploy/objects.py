"""What is known about Kubernetes objects without asking the cluster: their order, their form for an apply, whether they changed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from devloop.clients.kube import Resource
from devloop.deploy import fields
from devloop.deploy.manifests import NAME
from devloop.model import Manifest, Object, ObjectRef

MANAGER = "devloop"
APPLIED = "devloop.dev/applied"
"""Annotation: the digest of what was applied. It is written with the object itself, so the two cannot disagree."""
CREATED_BY = "devloop.dev/created-by"
"""Annotation: the project that created the object. Without it the object was there before, and is not ours to delete."""

_RANKS: tuple[frozenset[str], ...] = tuple(map(frozenset, (
    ("Namespace",),
    ("CustomResourceDefinition",),
    # what others are checked against when they are created, or refer to
    ("ResourceQuota", "LimitRange", "PriorityClass", "StorageClass", "RuntimeClass", "IngressClass", "PodSecurityPolicy", "ServiceAccount",
     "Secret", "ConfigMap", "Role", "ClusterRole", "PersistentVolume", "NetworkPolicy"),
    ("RoleBinding", "ClusterRoleBinding", "Service", "PersistentVolumeClaim", "PodDisruptionBudget", "PodTemplate"),
    ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod"),
)))
_ROLLED_OUT = {"apps": ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"), "batch": ("Job",), "": ("Pod",)}
_SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink")


@dataclass(frozen=True)
class Target:
    """One object to apply: `body` as it is sent, `ref` with the namespace it goes to, `manifest` where it comes from."""

    manifest: Manifest
    ref: ObjectRef
    resource: Resource
    body: Object = field(repr=False)      # may hold secrets

    @property
    def path(self) -> str:
        return self.resource.path(self.ref.namespace, self.ref.name)

    @property
    def place(self) -> str:
        """The object and its manifest, for messages."""
        where = f" ({self.manifest.source}:{self.manifest.line})" if self.manifest.source else ""
        return f"{self.ref}{where}"


def rank(ref: ObjectRef) -> int:
    """Objects of a lower rank are applied first and deleted last. Custom resources, webhooks and the like come at the end."""
    if _is_kubernetes_own(ref):
        return next((i for i, kinds in enumerate(_RANKS) if ref.kind in kinds), len(_RANKS))
    return len(_RANKS)


def _is_kubernetes_own(ref: ObjectRef) -> bool:
    return ref.group in ("", "apps", "batch", "policy", "autoscaling", "extensions") or ref.group.endswith(".k8s.io")


def identity(ref: ObjectRef) -> tuple[str, str, str, str]:
    """The same for two names of one object: Kubernetes serves it in several versions, and some kinds in several of its groups."""
    return "" if _is_kubernetes_own(ref) else ref.group, ref.kind, ref.namespace, ref.name


def delete_command(ref: ObjectRef) -> str:
    """For hints."""
    return f"kubectl delete {ref.kind.lower()} {ref.name}" + (f" -n {ref.namespace}" if ref.namespace else "")


def by_rank(refs: Iterable[ObjectRef]) -> list[list[ObjectRef]]:
    """In groups whose members do not depend on each other, in the order to apply them."""
    groups: dict[int, list[ObjectRef]] = {}
    for ref in refs:
        groups.setdefault(rank(ref), []).append(ref)
    return [groups[r] for r in sorted(groups)]


def is_workload(ref: ObjectRef) -> bool:
    """Whether there is a rollout to wait for."""
    return ref.kind in _ROLLED_OUT.get(ref.group, ())


def makes_pods(ref: ObjectRef) -> bool:
    """Whether an object of this kind is a pod or makes pods."""
    return rank(ref) == len(_RANKS) - 1


def prepare(obj: Object, namespace: str) -> Object:
    """The object as server-side apply takes it: in `namespace` (empty: cluster-scoped), without what only the server sets."""
    body: Object = json.loads(json.dumps(obj))
    body.pop("status", None)
    metadata = body["metadata"]
    for key in (*_SERVERS_OWN, "namespace"):
        metadata.pop(key, None)
    if namespace:
        metadata["namespace"] = namespace
    metadata["annotations"] = dict(metadata.get("annotations") or {})
    metadata["annotations"].pop("kubectl.kubernetes.io/last-applied-configuration", None)
    if (body["apiVersion"], body["kind"]) == ("v1", "Secret"):
        # stringData is write-only: a key removed from it would stay in data for ever
        texts = body.pop("stringData", None) or {}
        body["data"] = {**(body.get("data") or {}), **{k: base64.b64encode(str(v).encode()).decode() for k, v in texts.items()}}
    for port in fields.ports(body):
        port.setdefault("protocol", "TCP")     # a key of the list, which servers before 1.21 do not default when applying
    return body


def with_marks(body: Object, live: Object | None, name: str) -> Object:
    """`body` with the annotations that say what was applied, and by whom the object was created."""
    annotations = dict(body["metadata"].get("annotations") or {})
    creator = name if live is None else annotation(live, CREATED_BY)
    if creator:
        annotations[CREATED_BY] = creator
    marked = {**body, "metadata": {**body["metadata"], "annotations": annotations}}
    annotations[APPLIED] = hashlib.sha256(json.dumps(marked, sort_keys=True).encode()).hexdigest()[:16]
    return marked


def is_applied(live: Object, body: Object) -> bool:
    """Whether the live object is what applying `body` (with its marks) would make: it was applied, and nobody changed it since."""
    return annotation(live, APPLIED) == annotation(body, APPLIED) and contains(live, body)


def contains(live: Any, wanted: Any) -> bool:
    """Whether `live` says everything that `wanted` says. What the server spells differently (``1000m``, ``1``) counts as missing."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(v is None or (k in live and contains(live[k], v)) or v in ({}, []) for k, v in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(contains, live, wanted))
    return bool(live == wanted)


def is_ours(live: Object, name: str) -> bool:
    """Whether project `name` created the object and still has it: only then may it be deleted."""
    labels = live["metadata"].get("labels") or {}
    return labels.get(NAME) == name and annotation(live, CREATED_BY) == name


def annotation(obj: Object, key: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(key, ""))


def uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def owner(obj: Object) -> str:
    """The uid of the controller that made the object; empty where nothing did."""
    owners: Sequence[Object] = obj["metadata"].get("ownerReferences") or ()
    return next((str(o["uid"]) for o in owners if o.get("controller")), "")


def is_ending(obj: Object) -> bool:
    """Whether the object is deleted already and only waits for its pods, children or finalizers."""
    return "deletionTimestamp" in obj["metadata"]
