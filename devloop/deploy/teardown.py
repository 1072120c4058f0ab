"""Taking away what was deployed: what left the manifests, or everything.

Only what the project created goes, and still has: an object that was there before, or that another project took over, stays.
PersistentVolumeClaims stay, unless they are asked for. A namespace or a custom resource definition goes only while nothing of
somebody else is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devloop.clients.kube import Resource
from devloop.deploy.ending import claims, delete, end_pods, grace, names
from devloop.deploy.inventory import inventory_path
from devloop.deploy.manifests import MANAGED_BY, NAME
from devloop.deploy.objects import by_rank, delete_command, is_ending, is_ours, makes_pods, owner, uid
from devloop.deploy.work import Work
from devloop.errors import ApiError, DeployError
from devloop.events import Notice, ObjectApplied
from devloop.model import Object, ObjectRef

PATIENCE = 8.0
"""Seconds to wait for pods that end and for finalizers: whoever leaves a session does not want to wait longer."""


@dataclass(frozen=True)
class _Live:
    """An object of the inventory that is still there."""

    ref: ObjectRef
    resource: Resource
    object: Object


_HOLDERS = ("PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition")
"""What others' things, or data, would be lost with."""


def prune(work: Work, refs: Sequence[ObjectRef]) -> None:
    """Delete what left the manifests. Volumes, namespaces and definitions stay, and we say so."""
    going = []
    for found in _find(work, refs):
        if not is_ours(found.object, work.name):
            why = "was not created by devloop here"
        elif found.ref.kind in _HOLDERS:
            why = "its contents would be lost"
        else:
            going.append(found)
            continue
        work.emit(Notice(f"{found.ref} is no longer in the manifests, but stays: {why}", hint=f"To remove it: {delete_command(found.ref)}"))
    for batch in _last_first(going):
        work.each(lambda f: _delete(work, f, "no longer in the manifests"), batch)


def delete_all(work: Work, namespace: str, known: Sequence[ObjectRef] | None, *, volumes: bool = False) -> None:
    """Delete everything in the inventory, last applied first, wait for the pods, then delete the inventory. With `volumes` the claims
    that the project made go, too: its own, and those of its StatefulSets."""
    home = ObjectRef("v1", "Namespace", "", namespace)
    found = _find(work, tuple(dict.fromkeys((home, *(known or ())))))
    ours = [f for f in found if is_ours(f.object, work.name)]
    strange = [str(f.ref) for f in found if f not in ours and f.ref in (known or ())]
    kept = {f.ref for f in ours if f.ref.kind in ("PersistentVolumeClaim", "PersistentVolume")}
    makers = _makers(work, ours)
    mounted = _mounted(work, ours, makers)
    deleted: list[_Live] = []
    failed: list[DeployError] = []
    for batch in _last_first(f for f in ours if f.ref.kind not in _HOLDERS):
        try:
            work.each(lambda f: _delete(work, f), batch)
        except DeployError as error:
            failed.append(error)       # the others are to go nevertheless
        _await_finalizers(work, batch)
        deleted += batch
    claims = {ref for ref in kept if ref.kind == "PersistentVolumeClaim"} if volumes else set()
    for ref in mounted | _await_pods(work, deleted, makers):
        kept.add(ref)
        if volumes and any(_is_of_template(ref, f.object) for f in deleted if f.ref.kind == "StatefulSet"):
            claims.add(ref)
    for claim in _find(work, sorted(claims)):
        _delete(work, claim)
    if strange:
        work.emit(Notice(f"not created by devloop here, so it stays: {', '.join(strange)}"))
    for ref in sorted(kept - claims):
        work.emit(Notice(f"{ref} stays, with its data", hint=f"To remove it: {delete_command(ref)}"))
    if failed:
        raise failed[0]                # and the inventory stays, for another try
    for definition in (f for f in ours if f.ref.kind == "CustomResourceDefinition"):
        _delete_if_empty(work, definition, _instances(work, definition.object))
    if known is not None:
        delete(work, inventory_path(namespace, work.name), {})
    for place in (f for f in ours if f.ref.kind == "Namespace"):
        _delete_if_empty(work, place, _tenants(work, place.ref.name))


# --- single objects

def _last_first(found: Iterable[_Live]) -> list[list[_Live]]:
    """In groups whose members do not depend on each other, in the order to delete them."""
    by_ref = {f.ref: f for f in found}
    return [[by_ref[ref] for ref in group] for group in reversed(by_rank(by_ref))]


def _find(work: Work, refs: Sequence[ObjectRef]) -> list[_Live]:
    """Those that are there; a kind that is gone (its definition was deleted) has no objects."""
    def find(ref: ObjectRef) -> _Live | None:
        try:
            resource = work.kube.resource(ref.api_version, ref.kind)
            live = work.find(resource.path(ref.namespace, ref.name))
        except ApiError as error:
            if error.status == 404 or (error.status == 403 and ref.kind == "Namespace"):
                return None
            raise
        return _Live(ref, resource, live) if live else None

    return [found for found in work.each(find, refs) if found]


def _delete(work: Work, found: _Live, reason: str = "") -> None:
    options: Object = {"preconditions": {"uid": uid(found.object)}, "propagationPolicy": "Background"}
    if (found.ref.api_version, found.ref.kind) == ("v1", "Pod"):
        options |= grace(found.object)
    if delete(work, found.resource.path(found.ref.namespace, found.ref.name), options):
        work.emit(ObjectApplied("deleted", str(found.ref), found.ref.namespace, reason))


def _await_finalizers(work: Work, batch: Sequence[_Live]) -> None:
    """What cleans up after a custom resource is often in a lower rank: it must live until that is done."""
    waiting = [f for f in batch if f.object["metadata"].get("finalizers")]
    for found, gone in zip(waiting, work.each(lambda f: work.gone(f.resource, f.object, PATIENCE), waiting), strict=True):
        if not gone:
            held = ", ".join(found.object["metadata"]["finalizers"])
            work.emit(Notice(f"{found.ref} is deleted but held by the finalizers {held}", level="warning",
                             hint=f"It goes when whatever handles them is done. By force: kubectl patch {found.ref.kind.lower()} "
                                  f"{found.ref.name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"))


def _delete_if_empty(work: Work, found: _Live, tenants: str) -> None:
    if tenants:
        work.emit(Notice(f"{found.ref} stays, because {tenants}", hint=f"To remove it with all that: {delete_command(found.ref)}"))
    else:
        _delete(work, found)


def _instances(work: Work, definition: Object) -> str:
    """In words, whether there are objects of a custom kind that nobody has deleted."""
    spec = definition["spec"]
    served = next((v["name"] for v in spec["versions"] if v.get("served")), "")
    if not served:
        return ""
    try:
        left = [o for o in work.items(f"/apis/{spec['group']}/{served}/{spec['names']['plural']}") if not is_ending(o)]
    except ApiError as error:
        if error.status != 404:
            raise
        left = []
    return f"there are other objects of its kind ({left[0]['metadata']['name']} …)" if left else ""


def _tenants(work: Work, namespace: str) -> str:
    """In words, what somebody else has in a namespace, or what must not be lost."""
    root = f"/api/v1/namespaces/{namespace}"
    names = [o["metadata"]["name"] for o in work.items(f"{root}/persistentvolumeclaims")]
    if names:
        return f"it holds the PersistentVolumeClaims {', '.join(names)}"
    others = work.items(f"{root}/configmaps", f"{MANAGED_BY}=devloop,{NAME}!={work.name}")
    if others:
        return f"{', '.join(o['metadata']['labels'].get(NAME, '') for o in others)} is deployed in it, too"
    names = [o["metadata"]["name"] for o in work.items(f"{root}/pods", f"{NAME}!={work.name}")]
    return f"other pods run in it: {', '.join(names[:5])}" if names else ""


def _is_of_template(claim: ObjectRef, stateful_set: Object) -> bool:
    """Whether one of the StatefulSet's volumeClaimTemplates made the claim: ``TEMPLATE-SET-NUMBER``."""
    meta, templates = stateful_set["metadata"], stateful_set["spec"].get("volumeClaimTemplates") or ()
    base, _, number = claim.name.rpartition("-")
    return (claim.namespace == meta["namespace"] and number.isdigit()
            and base in {f"{template['metadata']['name']}-{meta['name']}" for template in templates})


# --- pods

def _makers(work: Work, going: Sequence[_Live]) -> set[str]:
    """The uids of all that pods of these objects are owned by: the objects, their ReplicaSets, their Jobs. To be asked before they go."""
    makers = {uid(f.object) for f in going}
    paths = {f"/apis/{api}/namespaces/{f.ref.namespace}/{children}" for f in going for kind, api, children in (
        ("Deployment", "apps/v1", "replicasets"), ("CronJob", "batch/v1", "jobs")) if f.ref.kind == kind}
    return makers.union(*(map(uid, filter(lambda o: owner(o) in makers, children)) for children in work.each(work.items, sorted(paths))))


def _places(found: Iterable[_Live]) -> list[str]:
    """The namespaces with pods of these objects."""
    return sorted({f.ref.namespace for f in found if makes_pods(f.ref)})


def _claimed(namespace: str, pods: Iterable[Object]) -> set[ObjectRef]:
    """The PersistentVolumeClaims that the pods mount."""
    return {ObjectRef("v1", "PersistentVolumeClaim", namespace, claim) for pod in pods for claim in claims(pod)}


def _mounted(work: Work, going: Sequence[_Live], makers: set[str]) -> set[ObjectRef]:
    """What the pods of these objects have mounted. To be asked before they go: a pod that no node has yet is gone at once."""
    def mounted(namespace: str) -> set[ObjectRef]:
        pods = work.items(f"/api/v1/namespaces/{namespace}/pods", f"{NAME}={work.name}")
        return _claimed(namespace, (pod for pod in pods if _is_of(pod, makers)))

    return set().union(*work.each(mounted, _places(going)))


def _is_of(pod: Object, makers: set[str]) -> bool:
    return owner(pod) in makers or uid(pod) in makers


def _await_pods(work: Work, deleted: Sequence[_Live], makers: set[str]) -> set[ObjectRef]:
    """Wait for the pods of deleted objects to end; returns the PersistentVolumeClaims that they had mounted."""
    mounted: set[ObjectRef] = set()
    for namespace in _places(deleted):
        pods, left = end_pods(work, namespace, lambda pod: _is_of(pod, makers),
                              selector=f"{NAME}={work.name}", seconds=PATIENCE, step="delete")
        mounted |= _claimed(namespace, pods)
        if left:
            longest = max(pod["metadata"].get("deletionGracePeriodSeconds") or 0 for pod in left)
            work.emit(Notice(f"still ending by themselves (up to {longest} s): {names(left)}", level="warning",
                             hint="That is the terminationGracePeriodSeconds of the pods; a process that handles SIGTERM ends sooner."))
    return mounted
