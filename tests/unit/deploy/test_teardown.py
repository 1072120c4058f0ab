"""What a delete knows of pods that are gone sooner than it can look: no node has them yet. The tests play the node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devloop.cancel import Cancel
from devloop.deploy.apply import Applier
from devloop.deploy.manifests import render
from devloop.events import Event, Notice, ObjectApplied
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Manifest, Object, ObjectRef
from devloop.pods import PODS
from tests.unit.local.node import Node, cluster


class Project:
    """One session; an object is deleted only when all its pods are gone."""

    def __init__(self, kube: LocalKube, store: Store, node: Node) -> None:
        self._store, self._node = store, node
        self._applier = Applier(kube, name="shop", namespace="default")
        self.deleted: list[str] = []
        self.notices: list[str] = []

    def deploy(self, *objects: Object) -> tuple[ObjectRef, ...]:
        rendered = render([Manifest(o, "k8s/app.yaml") for o in objects], [], name="shop")
        found = self._applier.deploy(rendered.manifests, lambda event: None, Cancel())
        self._node.until(lambda: self._store.list(PODS))
        return found

    def delete(self, *, volumes: bool = False) -> None:
        self._applier.delete(self._hear, Cancel(), volumes=volumes)

    def _hear(self, event: Event) -> None:
        if isinstance(event, ObjectApplied):
            self.deleted.append(event.resource)
            self._node.until(lambda: not self._store.list(PODS))
        elif isinstance(event, Notice):
            self.notices.append(event.message)


@pytest.fixture
def project() -> Iterator[Project]:
    with cluster() as (kube, store, node):
        yield Project(kube, store, node)


def claim(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}


def stateful(*templates: Object, mounts: str) -> Object:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": mounts}}]
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": list(templates), "template": {
            "metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "db:1"}], "volumes": volumes}}}}


def test_the_claims_of_a_pod_that_is_gone_at_once_go_where_they_are_the_projects_own(project: Project) -> None:
    project.deploy(stateful(claim("data"), mounts="theirs"))
    project.delete(volumes=True)
    assert project.deleted == ["statefulset/db", "persistentvolumeclaim/data-db-0"]
    assert project.notices == ["persistentvolumeclaim/theirs stays, with its data"]


def test_the_claims_of_a_pod_that_is_gone_at_once_are_told_where_they_stay(project: Project) -> None:
    project.deploy(stateful(claim("data"), mounts="theirs"))
    project.delete()
    assert project.notices == ["persistentvolumeclaim/data-db-0 stays, with its data", "persistentvolumeclaim/theirs stays, with its data"]
