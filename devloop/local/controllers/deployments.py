"""Deployments: a ReplicaSet for each version of the template, and the way from one to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from devloop.clients.kube import Resource
from devloop.local.controllers.making import child, controller_of, counted, digest, first_pod, owned, timestamp, with_condition
from devloop.local.controllers.rolling import Count, bounds, step
from devloop.local.kinds import DEPLOYMENTS, REPLICA_SETS
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS, condition, finished

COMPONENT = "deployment-controller"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_PROGRESS = ("updatedReplicas", "readyReplicas", "availableReplicas")

# A Deployment's uid, and the first pod that its next version will have, as far as one can tell; None: there will be none.
Expect = Callable[[str, Object | None], None]


class Deployments:
    kind = DEPLOYMENTS
    owns = (REPLICA_SETS,)

    def __init__(self, store: Store, expect: Expect) -> None:
        self._store, self._expect = store, expect

    def sync(self, obj: Object) -> float | None:
        sets = owned(self._store, REPLICA_SETS, obj)
        template = obj["spec"]["template"]
        new = next((r for r in sets if _bare(r["spec"]["template"]) == template), None)
        old = [r for r in sets if r is not new]
        if obj["spec"].get("paused"):
            self._resize(obj, new, old)
        else:
            recreate = obj["spec"]["strategy"]["type"] == "Recreate"
            if recreate and self._still_run(obj, old):
                return self._tell(obj, new, old)
            new = self._newest(obj, new, old)
            if recreate:
                self._scale(obj, new, obj["spec"]["replicas"])
            else:
                self._roll(obj, new, old)
            self._forget(obj, old)
        return self._tell(obj, new, old)

    def heard(self, change: str, obj: Object) -> Iterable[tuple[Resource, str, str]]:
        """A pod that has ended: Recreate waits for that. A Deployment that has gone: nothing more comes of it."""
        if obj["kind"] == DEPLOYMENTS.kind and change == "DELETED":
            self._expect(obj["metadata"]["uid"], None)
        if obj["kind"] == PODS.kind and (change == "DELETED" or finished(obj)) and (owner := controller_of(obj)):
            namespace = obj["metadata"]["namespace"]
            made = self._store.get(REPLICA_SETS, namespace, owner["name"])
            if made and (top := controller_of(made)) and top["kind"] == DEPLOYMENTS.kind:
                yield DEPLOYMENTS, namespace, top["name"]

    # --- ReplicaSets

    def _newest(self, obj: Object, new: Object | None, old: Sequence[Object]) -> Object:
        """The ReplicaSet of the template, made where there is none; it has the highest revision."""
        last = max((_revision(r) for r in old), default=0)
        revision = _revision(new) if new and _revision(new) > last else last + 1
        settle = obj["spec"].get("minReadySeconds", 0)
        if new is None:
            new = self._make(obj, revision)
        elif (_revision(new), new["spec"]["minReadySeconds"]) != (revision, settle):
            new = self._store.update(_annotated({**new, "spec": {**new["spec"], "minReadySeconds": settle}}, revision))
        if _revision(obj) != revision:
            self._store.update(_annotated(obj, revision))
        return new

    def _make(self, obj: Object, revision: int) -> Object:
        meta, spec = obj["metadata"], obj["spec"]
        name = _version(obj, revision)
        labels = {**(spec["template"]["metadata"].get("labels") or {}), HASH: name}
        template = {**spec["template"], "metadata": {**spec["template"]["metadata"], "labels": labels}}
        made = child(obj, f"{meta['name']}-{name}", {"metadata": {"labels": labels}, "spec": {
            "replicas": 0, "template": template, "selector": {**spec["selector"], "matchLabels": {
                **(spec["selector"].get("matchLabels") or {}), HASH: name}},
            "minReadySeconds": spec.get("minReadySeconds", 0)}})
        return self._store.create(_annotated({"apiVersion": "apps/v1", "kind": "ReplicaSet", **made}, revision))

    def _roll(self, obj: Object, new: Object, old: Sequence[Object]) -> None:
        surge, unavailable = bounds(obj["spec"])
        wanted, left = step(obj["spec"]["replicas"], surge, unavailable, _count(new), [_count(r) for r in old])
        self._scale(obj, new, wanted)
        for found, replicas in zip(old, left, strict=True):
            self._scale(obj, found, replicas)

    def _resize(self, obj: Object, new: Object | None, old: Sequence[Object]) -> None:
        """A paused Deployment still has as many pods as it says, where one ReplicaSet has them all."""
        sets = [r for r in (*old, *([new] if new else ())) if r["spec"]["replicas"]] or ([new] if new else [])
        if len(sets) == 1:
            self._scale(obj, sets[0], obj["spec"]["replicas"])

    def _scale(self, obj: Object, found: Object, replicas: int) -> None:
        before = found["spec"]["replicas"]
        if before == replicas:
            return
        self._store.update({**found, "spec": {**found["spec"], "replicas": replicas}})
        way = "up" if replicas > before else "down"
        self._store.event(obj, "Normal", "ScalingReplicaSet",
                          f"Scaled {way} replica set {found['metadata']['name']} from {before} to {replicas}", COMPONENT)

    def _still_run(self, obj: Object, old: Sequence[Object]) -> bool:
        """Whether pods of earlier versions are there, which are told to end."""
        for found in old:
            self._scale(obj, found, 0)
        return any(not finished(pod) for found in old for pod in owned(self._store, PODS, found))

    def _forget(self, obj: Object, old: Sequence[Object]) -> None:
        done = sorted((r for r in old if not r["spec"]["replicas"] and not (r.get("status") or {}).get("replicas")), key=_revision)
        for found in done[:max(0, len(done) - obj["spec"]["revisionHistoryLimit"])]:
            meta = found["metadata"]
            self._store.delete(REPLICA_SETS, meta["namespace"], meta["name"], uid=meta["uid"])

    # --- status

    def _tell(self, obj: Object, new: Object | None, old: Sequence[Object]) -> float | None:
        meta, spec, before = obj["metadata"], obj["spec"], obj.get("status") or {}
        sets = self._now([*old, *([new] if new else ())])
        statuses = [found.get("status") or {} for found in sets]
        newest = statuses[-1] if new else {}
        everything = {key: sum(status.get(key, 0) for status in statuses) for key in ("replicas", "readyReplicas", "availableReplicas")}
        numbers = counted(observedGeneration=meta["generation"], updatedReplicas=newest.get("replicas", 0), **everything,
                          unavailableReplicas=max(0, sum(found["spec"]["replicas"] for found in sets) - everything["availableReplicas"]))
        conditions = self._conditions(obj, new, numbers, before)
        self._store.set_status(DEPLOYMENTS, meta["namespace"], meta["name"], {**numbers, "conditions": conditions})
        progressing = next((c for c in conditions if c["type"] == "Progressing"), None)
        if progressing and progressing["reason"] == "NewReplicaSetAvailable":
            first = {"name": first_pod(f"{meta['name']}-{_version(obj, _revision(obj) + 1)}"), "namespace": meta["namespace"]}
            self._expect(meta["uid"], {"metadata": first, "spec": spec["template"]["spec"]} if spec["replicas"] else None)
        if spec.get("paused") or progressing is None or progressing["reason"] not in ("NewReplicaSetCreated", "ReplicaSetUpdated"):
            return None
        deadline: float = timestamp(progressing["lastUpdateTime"]) + spec["progressDeadlineSeconds"] + 1
        return max(0.1, deadline - time.time())

    def _now(self, sets: Sequence[Object]) -> list[Object]:
        """As they are after what was done to them."""
        return [self._store.get(REPLICA_SETS, r["metadata"]["namespace"], r["metadata"]["name"]) or r for r in sets]

    def _conditions(self, obj: Object, new: Object | None, numbers: Object, before: Object) -> list[Object]:
        spec, conditions = obj["spec"], list(before.get("conditions") or ())
        if numbers.get("availableReplicas", 0) >= spec["replicas"] - bounds(spec)[1]:
            conditions = with_condition(conditions, "Available", "True", "MinimumReplicasAvailable",
                                        "Deployment has minimum availability.")
        else:
            conditions = with_condition(conditions, "Available", "False", "MinimumReplicasUnavailable",
                                        "Deployment does not have minimum availability.")
        if spec.get("paused") or new is None:
            return conditions
        name, replicas = f'ReplicaSet "{new["metadata"]["name"]}"', spec["replicas"]
        last, started = condition(obj, "Progressing"), _revision(obj) != _revision(new) or not before
        if all(numbers.get(key, 0) == replicas for key in ("replicas", "updatedReplicas", "availableReplicas")) and not started:
            return with_condition(conditions, "Progressing", "True", "NewReplicaSetAvailable", f"{name} has successfully progressed.")
        if not started and last.get("reason") == "NewReplicaSetAvailable" and numbers.get("replicas") == numbers.get("updatedReplicas"):
            return conditions      # the rollout is over: a pod that fails now is not its business
        moved = any(numbers.get(key, 0) > before.get(key, 0) for key in _PROGRESS) or \
            before.get("replicas", 0) - before.get("updatedReplicas", 0) > numbers.get("replicas", 0) - numbers.get("updatedReplicas", 0)
        if started or last.get("reason") == "NewReplicaSetAvailable":
            return with_condition(conditions, "Progressing", "True", "NewReplicaSetCreated",
                                  f'Created new replica set "{new["metadata"]["name"]}"', updated=True)
        if moved:
            return with_condition(conditions, "Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.", updated=True)
        if last and timestamp(last["lastUpdateTime"]) + spec["progressDeadlineSeconds"] < time.time():
            return with_condition(conditions, "Progressing", "False", "ProgressDeadlineExceeded", f"{name} has timed out progressing.")
        return conditions


def _version(obj: Object, revision: int) -> str:
    """What the ReplicaSet of a version is called after its Deployment: known before its template is."""
    return digest([obj["metadata"]["uid"], revision])


def _bare(template: Object) -> Object:
    """A ReplicaSet's template without the label that only it has."""
    meta = template["metadata"]
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return {**template, "metadata": {**meta, "labels": labels}}


def _count(found: Object) -> Count:
    return Count(found["spec"]["replicas"], (found.get("status") or {}).get("availableReplicas", 0))


def _revision(obj: Object) -> int:
    return int((obj["metadata"].get("annotations") or {}).get(REVISION, 0))


def _annotated(obj: Object, revision: int) -> Object:
    meta = obj["metadata"]
    return {**obj, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), REVISION: str(revision)}}}
