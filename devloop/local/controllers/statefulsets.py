"""StatefulSets: pods with names that last, one after the other, each with volumes of its own."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.local.controllers.making import available, child, counted, digest, end_pod, make_pod, owned, soonest
from devloop.local.defaults import defaulted
from devloop.local.kinds import CLAIMS, CONTROLLER_REVISIONS, STATEFUL_SETS
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS, finished, ready, terminating

COMPONENT = "statefulset-controller"
HASH = "controller-revision-hash"


class StatefulSets:
    kind = STATEFUL_SETS
    owns = (PODS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> float | None:
        meta, spec, before = obj["metadata"], obj["spec"], obj.get("status") or {}
        update = self._revision(obj)
        current = before.get("currentRevision") or update
        first = (spec.get("ordinals") or {}).get("start", 0)
        pods = {_ordinal(pod): pod for pod in owned(self._store, PODS, obj)}
        self._step(obj, pods, range(first, first + spec["replicas"]), current, update)
        found = owned(self._store, PODS, obj)
        waits = {pod["metadata"]["name"]: available(pod, spec.get("minReadySeconds", 0)) for pod in found}
        up, new = sum(map(ready, found)), sum(_version(pod) == update and not terminating(pod) for pod in found)
        if spec["updateStrategy"]["type"] == "RollingUpdate" and new == len(found) == up == spec["replicas"]:
            current = update
        self._store.set_status(STATEFUL_SETS, meta["namespace"], meta["name"], {
            "replicas": len(found), "availableReplicas": sum(wait <= 0 for wait in waits.values()), "collisionCount": 0,
            "currentRevision": current, "updateRevision": update, **counted(
                observedGeneration=meta["generation"], readyReplicas=up, updatedReplicas=new,
                currentReplicas=sum(_version(pod) == current and not terminating(pod) for pod in found))})
        self._forget(obj, {current, update})
        return soonest(waits.values())

    # --- steps

    def _step(self, obj: Object, pods: Mapping[int, Object], wanted: range, current: str, update: str) -> None:
        spec = obj["spec"]
        ordered, settle = spec["podManagementPolicy"] != "Parallel", spec.get("minReadySeconds", 0)
        for ordinal in wanted:
            pod = pods.get(ordinal)
            if pod is not None and finished(pod) and not terminating(pod):
                end_pod(self._store, pod, obj, COMPONENT)
            if pod is None:
                self._make(obj, ordinal, wanted, current, update)
            if ordered and (pod is None or available(pod, settle) > 0):
                return      # each waits for those before it
        surplus = sorted((n for n in pods if n not in wanted), reverse=True)
        for ordinal in surplus[:1] if ordered else surplus:
            if not terminating(pods[ordinal]):
                end_pod(self._store, pods[ordinal], obj, COMPONENT)
        if not (ordered and surplus) and spec["updateStrategy"]["type"] == "RollingUpdate":
            self._replace(obj, pods, wanted, update)

    def _replace(self, obj: Object, pods: Mapping[int, Object], wanted: range, update: str) -> None:
        """End the last pod of another version; the others follow when its successor is up."""
        keep = wanted.start + _partition(obj["spec"])
        for ordinal in sorted((n for n in wanted if n >= keep), reverse=True):
            pod = pods.get(ordinal)
            if pod is None:
                return
            if _version(pod) != update and not terminating(pod):
                end_pod(self._store, pod, obj, COMPONENT)
                return
            if available(pod, obj["spec"].get("minReadySeconds", 0)) > 0:
                return

    def _make(self, obj: Object, ordinal: int, wanted: range, current: str, update: str) -> None:
        meta, spec, name = obj["metadata"], obj["spec"], f"{obj['metadata']['name']}-{ordinal}"
        version = current if ordinal < wanted.start + _partition(spec) else update
        revision = self._store.get(CONTROLLER_REVISIONS, meta["namespace"], version)
        template = revision["data"]["spec"]["template"] if revision else spec["template"]
        pod = child(obj, name, template, {HASH: version, "statefulset.kubernetes.io/pod-name": name,
                                          "apps.kubernetes.io/pod-index": str(ordinal)})
        claims = {claim["metadata"]["name"]: claim for claim in spec.get("volumeClaimTemplates") or ()}
        volumes = [volume for volume in template["spec"].get("volumes") or () if volume["name"] not in claims]
        for title, claim in claims.items():
            volumes.append({"name": title, "persistentVolumeClaim": {"claimName": self._claim(obj, claim, name)}})
        identity = {"hostname": name, **({"subdomain": spec["serviceName"]} if spec.get("serviceName") else {}),
                    **({"volumes": volumes} if volumes else {})}
        make_pod(self._store, {**pod, "spec": {**pod["spec"], **identity}}, obj, COMPONENT)

    def _claim(self, obj: Object, template: Object, pod: str) -> str:
        """The name of the pod's claim, made where it is not there: it outlives the pod."""
        meta, title = obj["metadata"], template["metadata"]
        name = f"{title['name']}-{pod}"
        if self._store.get(CLAIMS, meta["namespace"], name) is None:
            labels = {**(title.get("labels") or {}), **(obj["spec"]["selector"].get("matchLabels") or {})}
            self._store.create(defaulted({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": template["spec"], "metadata": {
                **title, "name": name, "namespace": meta["namespace"], "labels": labels}}))
        return name

    # --- versions

    def _revision(self, obj: Object) -> str:
        """The name of the template's version, which is remembered: pods of an earlier one may have to be made again."""
        meta, template = obj["metadata"], obj["spec"]["template"]
        name = f"{meta['name']}-{digest(template)}"
        if self._store.get(CONTROLLER_REVISIONS, meta["namespace"], name) is None:
            made = child(obj, name, {"spec": None})
            number = 1 + max((r["revision"] for r in owned(self._store, CONTROLLER_REVISIONS, obj)), default=0)
            self._store.create({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": made["metadata"],
                                "data": {"spec": {"template": template}}, "revision": number})
        return name

    def _forget(self, obj: Object, used: set[str]) -> None:
        for revision in owned(self._store, CONTROLLER_REVISIONS, obj):
            meta = revision["metadata"]
            if meta["name"] not in used:
                self._store.delete(CONTROLLER_REVISIONS, meta["namespace"], meta["name"], uid=meta["uid"])


def _ordinal(pod: Object) -> int:
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _version(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH, ""))


def _partition(spec: Object) -> int:
    return int((spec["updateStrategy"].get("rollingUpdate") or {}).get("partition", 0))
