"""Server-side apply: bring the cluster to what the manifests say, with as few requests as that takes.

Whether an object changed is asked of the object itself (one GET): it carries the digest of what was applied. So what was
deleted or edited by hand comes back, in this session or a later one, and a new image is one PATCH per workload.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, Resource
from devloop.deploy import teardown
from devloop.deploy.inventory import load_inventory, save_inventory
from devloop.deploy.manifests import MANAGED_BY, NAME
from devloop.deploy.objects import (
    APPLIED,
    CREATED_BY,
    Target,
    annotation,
    by_rank,
    identity,
    is_applied,
    is_ending,
    is_workload,
    prepare,
    with_marks,
)
from devloop.deploy.refusals import kind_is_missing, refusal
from devloop.deploy.replace import GONE_SECONDS, await_gone, changed, replace, wants_replacing
from devloop.deploy.work import Work, working
from devloop.errors import ApiError, DeployError
from devloop.events import Action, Emit, ObjectApplied, StepProgress
from devloop.model import Manifest, Object, ObjectRef

ESTABLISHED_SECONDS = 30.0
LISTED_SECONDS, LISTED_PAUSE = 10.0, 0.1
CRDS = Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False)
NAMESPACES = Resource("v1", "Namespace", "namespaces", False)


class Applier:
    """A `Deployer` by server-side apply, for project `name`. `namespace` is for objects that name none; it is created where it
    does not exist. `force`: take fields over that another manager has set."""

    def __init__(self, kube: Kube, *, name: str, namespace: str, force: bool = False) -> None:
        self._kube = kube
        self._name = name
        self._namespace = namespace or kube.namespace
        self._force = force
        self._jobs: dict[ObjectRef, str] = {}      # Jobs that are deleted when they have finished: the digest that has run

    def deploy(self, manifests: Sequence[Manifest], emit: Emit, cancel: Cancel) -> tuple[ObjectRef, ...]:
        """See `Deployer`. Objects that do not depend on each other are applied in parallel; after an error the later ones are left
        as they are."""
        with working(self._kube, self._name, emit, cancel) as work:
            home, known = self._home(work)
            if home is not None and is_ending(home):
                self._await_home_gone(work, home)
                home, known = None, None
            targets = self._targets(work, [*self._home_manifest(home, manifests), *manifests])
            live = dict(zip(targets, work.each(lambda target: _live(work, target), targets.values()), strict=True))
            first = [ref for ref in targets if ref == self._home_ref and home is None]      # the inventory lives in it
            for ref in first:
                self._apply(work, targets[ref], None)
            both = tuple(dict.fromkeys((*(known or ()), *targets)))
            if both != known:
                save_inventory(work, self._namespace, both)
            over: set[ObjectRef] = set()
            for group in by_rank(ref for ref in targets if ref not in first):
                there = work.each(lambda ref: self._apply(work, targets[ref], live[ref]), group)
                over |= {ref for ref, is_there in zip(group, there, strict=True) if not is_there}
            if set(both) != set(targets):
                present = set(map(identity, targets))
                teardown.prune(work, [ref for ref in both if identity(ref) not in present])
                save_inventory(work, self._namespace, tuple(targets))
            return tuple(ref for ref in targets if is_workload(ref) and ref not in over)

    def delete(self, emit: Emit, cancel: Cancel, *, volumes: bool = False) -> None:
        """See `Deployer`. Waits for the pods a few seconds, then says which ones still end by themselves."""
        self._jobs.clear()
        with working(self._kube, self._name, emit, cancel) as work:
            home, known = self._home(work)
            if home is not None and not is_ending(home):
                teardown.delete_all(work, self._namespace, known, volumes=volumes)

    # --- the namespace

    @property
    def _home_ref(self) -> ObjectRef:
        return ObjectRef("v1", "Namespace", "", self._namespace)

    def _home(self, work: Work) -> tuple[Object | None, tuple[ObjectRef, ...] | None]:
        """The namespace deployed to, and the inventory in it; None where it is not there."""
        path = NAMESPACES.path(name=self._namespace)

        def namespace() -> Object | None:
            try:
                return work.find(path)
            except ApiError as error:
                if error.status != 403:
                    raise
                return {"metadata": {}}       # not ours to see: then it is not ours to make

        future = work.pool.submit(load_inventory, work, self._namespace)
        return namespace(), future.result()

    def _await_home_gone(self, work: Work, home: Object) -> None:
        work.emit(StepProgress("deploy", str(self._home_ref), "waiting until the old one is gone"))
        if not work.gone(NAMESPACES, home, GONE_SECONDS):
            raise DeployError(f"namespace {self._namespace} is being deleted and does not go away",
                              hint=f"'kubectl get namespace {self._namespace} -o yaml' says what it waits for.")

    def _home_manifest(self, home: Object | None, manifests: Sequence[Manifest]) -> list[Manifest]:
        """A manifest for the namespace, where nobody else has made it."""
        named = any(m.ref == self._home_ref for m in manifests)
        if named or (home is not None and annotation(home, CREATED_BY) != self._name):
            return []
        labels = {MANAGED_BY: "devloop", NAME: self._name}
        return [Manifest({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace, "labels": labels}}, "")]

    # --- what to apply

    def _targets(self, work: Work, manifests: Sequence[Manifest]) -> dict[ObjectRef, Target]:
        """Every object with its API resource and namespace. Raises `DeployError` for a kind that the cluster lacks."""
        announced = _announced(manifests)

        def resource(manifest: Manifest) -> Resource:
            ref = manifest.ref
            try:
                return work.kube.resource(ref.api_version, ref.kind)
            except ApiError as error:
                if error.status != 404:
                    raise
                if found := announced.get((ref.api_version, ref.kind)):
                    return found
                raise kind_is_missing(work, manifest, error) from error

        one_of_each = {(m.ref.api_version, m.ref.kind): m for m in manifests}
        resources = dict(zip(one_of_each, work.each(resource, one_of_each.values()), strict=True))
        targets: dict[tuple[str, str, str, str], Target] = {}
        for manifest in manifests:
            ref = manifest.ref
            found = resources[ref.api_version, ref.kind]
            namespace = (ref.namespace or self._namespace) if found.namespaced else ""
            target = Target(manifest, ObjectRef(ref.api_version, ref.kind, namespace, ref.name), found, prepare(manifest.object, namespace))
            if twin := targets.get(identity(target.ref)):
                raise DeployError(f"{target.place} is there already, in {twin.manifest.source}:{twin.manifest.line}: "
                                  f"both are for namespace {namespace}", hint="Remove one of the two, or rename it.")
            targets[identity(target.ref)] = target
        return {target.ref: target for target in targets.values()}

    # --- one object

    def _apply(self, work: Work, target: Target, live: Object | None) -> bool:
        """False where the object is not there afterwards: a Job that has run."""
        work.cancel.check()
        if live is not None and is_ending(live):
            await_gone(work, target, live)
            live = None
        body = with_marks(target.body, live, self._name)
        has_run = self._has_run(target, live)
        if has_run or (live is not None and is_applied(live, body)):
            self._tell(work, target, "unchanged")
            return not has_run
        reason = ""
        try:
            applied = work.apply(target.path, body, force=self._force)
            action: Action = "created" if live is None else "configured"
            if live is not None and applied["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
                action = "unchanged"
        except ApiError as error:
            if live is None or not wants_replacing(work, target, error):
                raise refusal(target, error) from error
            applied = replace(work, target, live, error)
            action, reason = "replaced", f"Kubernetes cannot change {changed(error)} of a {target.ref.kind}"
        if target.resource == CRDS:
            self._await_established(work, target, applied)
        if target.ref.kind == "Job" and "ttlSecondsAfterFinished" in (target.body.get("spec") or {}):
            self._jobs[target.ref] = annotation(with_marks(target.body, None, self._name), APPLIED)
        self._tell(work, target, action, reason)
        return True

    def _has_run(self, target: Target, live: Object | None) -> bool:
        """Whether this is a Job that has run in this session and was deleted by its own ``ttlSecondsAfterFinished``."""
        return live is None and self._jobs.get(target.ref) == annotation(with_marks(target.body, None, self._name), APPLIED)

    def _tell(self, work: Work, target: Target, action: Action, reason: str = "") -> None:
        work.emit(ObjectApplied(action, str(target.ref), target.ref.namespace, reason))

    def _await_established(self, work: Work, target: Target, applied: Object) -> None:
        """Custom resources can be applied only when their definition serves; and be found again, to be deleted, only when the API
        server lists their kind, which is a moment later."""
        if not _established((applied,)) and not work.until(
                CRDS.path(), {"fieldSelector": f"metadata.name={target.ref.name}"}, _established, ESTABLISHED_SECONDS):
            conditions = ((work.find(target.path) or {}).get("status") or {}).get("conditions") or ()
            told = "; ".join(f"{c['type']} {c['status']}: {c.get('message', '')}" for c in conditions)
            raise DeployError(f"{target.place} is not served after {ESTABLISHED_SECONDS:.0f} s ({told})",
                              hint="Does another definition use the same names?")
        deadline = time.monotonic() + LISTED_SECONDS
        while not _listed(work, target) and time.monotonic() < deadline:
            work.cancel.wait(LISTED_PAUSE)     # nothing tells of it


def _live(work: Work, target: Target) -> Object | None:
    try:
        return work.find(target.path)
    except ApiError as error:
        raise refusal(target, error) from error


def _listed(work: Work, definition: Target) -> bool:
    """Whether the API server's list of kinds has what is defined."""
    for api_version, kind in _announced([definition.manifest]):
        try:
            work.kube.resource(api_version, kind)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
    return True


def _established(crds: Sequence[Object]) -> bool:
    conditions = [c for crd in crds for c in (crd.get("status") or {}).get("conditions") or ()]
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def _announced(manifests: Sequence[Manifest]) -> Mapping[tuple[str, str], Resource]:
    """The kinds that the manifests themselves define."""
    found: dict[tuple[str, str], Resource] = {}
    for manifest in manifests:
        spec = manifest.object.get("spec")
        if manifest.ref.kind != CRDS.kind or not isinstance(spec, dict):
            continue
        names = spec.get("names") or {}
        for version in (version for version in spec.get("versions") or () if version.get("served", True)):
            api_version, kind = f"{spec.get('group')}/{version.get('name')}", names.get("kind", "")
            found[api_version, kind] = Resource(api_version, kind, names.get("plural", ""), spec.get("scope") == "Namespaced")
    return found
