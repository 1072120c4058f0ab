"""What devloop must be allowed to do in the cluster, and whether it is (SelfSubjectAccessReview)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, Resource
from devloop.deploy.standing import waited_for
from devloop.errors import ApiError
from devloop.model import Manifest

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
AT_ONCE = 8


@dataclass(frozen=True, order=True)
class Right:
    """One thing to do. `resource` is the plural, ``pods/log`` for a subresource; `namespace` is empty for all of the cluster."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""

    def __str__(self) -> str:
        """As ``kubectl auth can-i`` takes it."""
        name, _, sub = self.resource.partition("/")
        resource = f"{name}.{self.group}" if self.group else name
        return f"{self.verb} {resource}" + (f"/{sub}" if sub else "") + (f" -n {self.namespace}" if self.namespace else "")


def needed(kube: Kube, manifests: Iterable[Manifest], namespace: str, *, pull_secret: bool, forwards: Iterable[tuple[Resource, str]]
           ) -> list[Right]:
    """All that `dev` does, with these manifests. Kinds that the cluster does not have (yet) are left out.

    `forwards`: where ports lead to, and in which namespace (empty: `namespace`).
    """
    rights = {Right(verb, "configmaps", "", namespace) for verb in ("get", "create", "patch", "delete")}     # the inventory
    rights |= {Right(verb, "pods", "", namespace) for verb in ("list", "watch")} | {Right("get", "pods/log", "", namespace)}
    rights |= {Right(verb, resource, group, namespace) for verb in ("list", "watch")      # a rollout's diagnosis
               for resource, group in (("events", ""), ("replicasets", "apps"))}
    if pull_secret:
        rights |= {Right(verb, "secrets", "", namespace) for verb in ("get", "create", "patch", "delete")}
    for resource, place in forwards:
        where = place or namespace
        rights |= {Right(verb, plural, group, where) for verb in ("list", "watch")
                   for plural, group in (("pods", ""), (resource.plural, resource.api_version.rpartition("/")[0]))}
        rights |= {Right(verb, "pods/portforward", "", where) for verb in ("create", "get")}      # SPDY's, and websockets'
    return sorted(rights.union(*(_of(kube, manifest, namespace) for manifest in manifests)))


def _of(kube: Kube, manifest: Manifest, namespace: str) -> Iterator[Right]:
    ref = manifest.ref
    try:
        resource = kube.resource(ref.api_version, ref.kind)
    except ApiError as error:
        if error.status != 404:
            raise
        return
    verbs = ("get", "create", "patch", "delete", *(("list", "watch") if waited_for(ref) else ()))
    where = (ref.namespace or namespace) if resource.namespaced else ""
    yield from (Right(verb, resource.plural, ref.group, where) for verb in verbs)


def denied(kube: Kube, rights: Iterable[Right], cancel: Cancel) -> list[Right]:
    """Those that we do not have. Raises `ApiError`, `UnreachableError` or `Cancelled`."""
    def allowed(right: Right) -> bool:
        name, _, sub = right.resource.partition("/")
        attributes = {"verb": right.verb, "group": right.group, "resource": name, "subresource": sub, "namespace": right.namespace}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
        return bool(kube.request("POST", REVIEWS, body=review, cancel=cancel)["status"].get("allowed"))

    asked = list(rights)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rights") as pool:
        return [right for right, yes in zip(asked, pool.map(allowed, asked), strict=True) if not yes]
