"""What a project has deployed, remembered in the cluster: a ConfigMap ``devloop-NAME`` that lists the objects.

It is written before anything is created, so that nothing is orphaned by a session that is killed. What is known about each
object (what was applied, who created it) stands in the object's own annotations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from devloop.deploy.manifests import MANAGED_BY, NAME
from devloop.deploy.work import Work
from devloop.errors import DeployError
from devloop.model import ObjectRef


def inventory_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/devloop-{name}"


def load_inventory(work: Work, namespace: str) -> tuple[ObjectRef, ...] | None:
    """The objects deployed so far; None where there is no inventory. Raises `DeployError` where it is spoilt."""
    found = work.find(inventory_path(namespace, work.name))
    if found is None:
        return None
    try:
        listed = json.loads(found["data"]["objects"])
        return tuple(ObjectRef(o["apiVersion"], o["kind"], o.get("namespace", ""), o["name"]) for o in listed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DeployError(f"configmap/devloop-{work.name} in namespace {namespace}, which lists what devloop deployed, is bad: {error!r}",
                          hint=f"Remove it (kubectl delete -n {namespace} configmap devloop-{work.name}); objects that left the manifests "
                               f"meanwhile are found by: kubectl get all -A -l {NAME}={work.name}") from error


def save_inventory(work: Work, namespace: str, refs: Sequence[ObjectRef]) -> None:
    """Two sessions on one project write the same inventory: the last one wins."""
    listed = ",\n".join(json.dumps({"apiVersion": r.api_version, "kind": r.kind, "name": r.name}
                                   | ({"namespace": r.namespace} if r.namespace else {})) for r in refs)
    work.apply(inventory_path(namespace, work.name), force=True, body={
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": f"devloop-{work.name}", "labels": {MANAGED_BY: "devloop", NAME: work.name},
                     "annotations": {"devloop.dev/about": "What devloop has deployed; 'devloop delete' goes by it."}},
        "data": {"objects": f"[\n{listed}\n]"}})
