"""What becomes of an object on its way into the store: checked, filled in, and refused where Kubernetes would refuse it."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from devloop.clients.kube import Resource
from devloop.local import ssa
from devloop.local.defaults import defaulted
from devloop.local.kinds import CLAIMS, NAMESPACES, SERVICES, qualified
from devloop.local.refusals import already_exists, invalid, not_found, refused
from devloop.local.store import NODE, Store
from devloop.local.typed import check, without_nulls
from devloop.local.validation import validate
from devloop.local.validation.words import invalid as invalid_value
from devloop.model import Object
from devloop.pods import PODS

DAEMON_GENERATION = "deprecated.daemonset.template.generation"
_SERVERS_OWN = ("resourceVersion", "generation", "creationTimestamp", "managedFields", "uid")
_NODE_PORTS = range(30000, 32768)


class Writes:
    """Creating, applying and patching, for everyone but the controllers. Raises `ApiError` for what is refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._applied: dict[str, Object] = {}       # by uid: what was applied last
        self._stop = store.listen(None, self._changed)

    def close(self) -> None:
        self._stop()

    def _changed(self, change: str, obj: Object) -> None:
        if change == "DELETED":
            self._applied.pop(obj["metadata"]["uid"], None)

    def create(self, kind: Resource, body: Object, *, dry: bool) -> Object:
        with self._store.lock:
            return self._create(kind, without_nulls(body), dry)

    def apply(self, kind: Resource, body: Object, *, dry: bool) -> Object:
        """Server-side apply of `body`, whose metadata is in place."""
        body = without_nulls(body)
        check(body)
        meta = body["metadata"]
        with self._store.lock:
            live = self._store.get(kind, meta.get("namespace", ""), meta["name"])
            if live is None:
                made = self._create(kind, body, dry)
            else:
                made = self._update(live, ssa.apply(live, self._applied.get(live["metadata"]["uid"], {}), body), dry)
            if not dry:
                self._applied[made["metadata"]["uid"]] = body
            return made

    def patch(self, kind: Resource, namespace: str, name: str, changes: Object, *, dry: bool) -> Object:
        """A merge patch (RFC 7386)."""
        with self._store.lock:
            live = self._store.get(kind, namespace, name)
            if live is None:
                raise not_found(kind, name)
            return self._update(live, without_nulls(_merged(live, changes)), dry)

    # --- inside the lock

    def _create(self, kind: Resource, body: Object, dry: bool) -> Object:
        meta = {key: value for key, value in body["metadata"].items() if key not in _SERVERS_OWN}
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + secrets.token_hex(3)[:5]
        obj = {**body, "metadata": meta}
        if kind.namespaced:
            self._enter(kind, meta)
        obj = born(defaulted({key: value for key, value in obj.items() if key != "status"}))
        if kind == SERVICES:
            obj = self._with_node_ports(obj, None)
        validate(obj)
        if self._store.get(kind, meta.get("namespace", ""), meta["name"]):
            raise already_exists(kind, meta["name"])
        if kind == PODS:
            obj = scheduled(self._store, obj)
        return obj if dry else self._store.create(obj)

    def _update(self, live: Object, wanted: Object, dry: bool) -> Object:
        new = defaulted(wanted)
        if new["kind"] == "Service":
            new = self._with_node_ports(new, live)
        validate(new, live)
        if new["kind"] == "DaemonSet" and new["spec"]["template"] != live["spec"]["template"]:
            generation = int((live["metadata"].get("annotations") or {}).get(DAEMON_GENERATION, 0)) + 1
            new = _annotated(new, DAEMON_GENERATION, str(generation))
        return new if dry else self._store.update(new)

    def _enter(self, kind: Resource, meta: Mapping[str, Any]) -> None:
        """That the namespace takes new objects."""
        namespace = self._store.get(NAMESPACES, "", meta["namespace"])
        if namespace is None:
            raise not_found(NAMESPACES, meta["namespace"])
        if "deletionTimestamp" in namespace["metadata"]:
            why = f"unable to create new content in namespace {meta['namespace']} because it is being terminated"
            raise refused(403, "Forbidden", f'{qualified(kind)} "{meta.get("name", "")}" is forbidden: {why}')

    def _with_node_ports(self, service: Object, live: Object | None) -> Object:
        """A NodePort or LoadBalancer with a free port for each that has none; other types have none."""
        spec = service["spec"]
        if spec["type"] not in ("NodePort", "LoadBalancer"):
            ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec["ports"]]
            return {**service, "spec": {**spec, "ports": ports}}
        own = live["metadata"]["uid"] if live else ""
        taken = {port.get("nodePort") for other in self._store.list(SERVICES) if other["metadata"]["uid"] != own
                 for port in other["spec"]["ports"]}
        for index, port in enumerate(spec["ports"]):
            if port.get("nodePort") in taken and port.get("nodePort"):
                raise invalid(SERVICES, service["metadata"]["name"], [invalid_value(
                    f"spec.ports[{index}].nodePort", port["nodePort"], "provided port is already allocated")])
            taken.add(port.get("nodePort"))
        free = (number for number in _NODE_PORTS if number not in taken)
        return {**service, "spec": {**spec, "ports": [port if port.get("nodePort") else {**port, "nodePort": next(free)}
                                                      for port in spec["ports"]]}}


def scheduled(store: Store, pod: Object) -> Object:
    """The pod with its node, where all claims that it mounts are there, else as it is."""
    namespace = pod["metadata"]["namespace"]
    if pod["spec"].get("nodeName") or next(missing_claims(store, namespace, pod["spec"]), None):
        return pod
    return {**pod, "spec": {**pod["spec"], "nodeName": NODE}}


def missing_claims(store: Store, namespace: str, spec: Object) -> Any:
    """The names of the PersistentVolumeClaims that a pod mounts and that are not there."""
    names = (volume["persistentVolumeClaim"]["claimName"] for volume in spec.get("volumes") or () if "persistentVolumeClaim" in volume)
    return (name for name in names if store.get(CLAIMS, namespace, name) is None)


def born(obj: Object) -> Object:
    """What an object gets once, when it is made."""
    if obj["kind"] == "DaemonSet":
        return _annotated(obj, DAEMON_GENERATION, "1")
    if obj["kind"] != "Job":
        return obj
    uid = str(uuid.uuid4())
    spec, template = obj["spec"], obj["spec"]["template"]
    if spec.get("manualSelector"):
        return obj
    labels = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": obj["metadata"].get("name", ""),
              "controller-uid": uid, "job-name": obj["metadata"].get("name", "")}
    meta = {**template["metadata"], "labels": {**(template["metadata"].get("labels") or {}), **labels}}
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    return {**obj, "metadata": {**obj["metadata"], "uid": uid},
            "spec": {**spec, "selector": selector, "template": {**template, "metadata": meta}}}


def _annotated(obj: Object, key: str, value: str) -> Object:
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), key: value}}}


def _merged(live: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    base = live if isinstance(live, dict) else {}
    return {**base, **{key: None if value is None else _merged(base.get(key), value) for key, value in changes.items()}}
