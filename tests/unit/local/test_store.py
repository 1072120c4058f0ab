"""Objects in memory: versions, labels, and what is told of them."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from devloop.errors import ApiError
from devloop.local.kinds import CONFIG_MAPS, DEPLOYMENTS, EVENTS
from devloop.local.selectors import field_matcher, matcher
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS
from tests.unit.local.objects import thing, workload


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def pod(**spec: str) -> Object:
    return thing("Pod", "web", spec={"nodeName": "docker", **spec})


def test_a_new_spec_raises_the_generation_and_anything_new_the_version(store: Store) -> None:
    first = store.create(workload("Deployment", replicas=1))
    labelled = store.update({**first, "metadata": {**first["metadata"], "labels": {"a": "b"}}})
    scaled = store.update({**labelled, "spec": {**labelled["spec"], "replicas": 2}})
    assert [o["metadata"]["generation"] for o in (first, labelled, scaled)] == [1, 1, 2]
    versions = [int(o["metadata"]["resourceVersion"]) for o in (first, labelled, scaled)]
    assert versions == sorted(set(versions))
    assert store.update(scaled) is store.get(DEPLOYMENTS, "default", "web")
    assert store.version == scaled["metadata"]["resourceVersion"]


def test_an_update_of_what_was_changed_meanwhile_is_refused(store: Store) -> None:
    first = store.create(workload("Deployment", replicas=1))
    store.update({**first, "spec": {**first["spec"], "replicas": 2}})
    with pytest.raises(ApiError, match="the object has been modified") as caught:
        store.update({**first, "spec": {**first["spec"], "replicas": 3}})
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")


def test_an_update_does_not_touch_the_status_and_a_status_not_the_generation(store: Store) -> None:
    first = store.create(workload("Deployment"))
    store.set_status(DEPLOYMENTS, "default", "web", {"replicas": 1})
    live = store.get(DEPLOYMENTS, "default", "web")
    assert live
    assert live["metadata"]["generation"] == 1
    store.set_status(DEPLOYMENTS, "default", "web", {"replicas": 1})
    assert store.get(DEPLOYMENTS, "default", "web") is live
    store.update({**live, "spec": {**first["spec"], "replicas": 5}, "status": {"replicas": 9}})
    live = store.get(DEPLOYMENTS, "default", "web")
    assert live
    assert live["status"] == {"replicas": 1}
    store.set_status(DEPLOYMENTS, "default", "gone", {"replicas": 1})


def test_a_pod_that_has_a_node_stays_until_it_has_ended_there(store: Store) -> None:
    made = store.create(pod())
    store.delete(PODS, "default", "web")
    ending = store.get(PODS, "default", "web")
    assert ending
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
    store.delete(PODS, "default", "web", grace=2)
    store.delete(PODS, "default", "web", grace=10)      # it is not given more time again
    ending = store.get(PODS, "default", "web")
    assert ending
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 2
    store.remove(PODS, "default", "web", "another's uid")
    assert store.get(PODS, "default", "web")
    store.remove(PODS, "default", "web", made["metadata"]["uid"])
    assert store.get(PODS, "default", "web") is None


def test_a_pod_without_a_node_goes_at_once(store: Store) -> None:
    store.create(thing("Pod", "web", spec={}))
    store.delete(PODS, "default", "web")
    assert store.get(PODS, "default", "web") is None


def test_only_the_very_object_that_was_meant_is_deleted(store: Store) -> None:
    store.create(thing("ConfigMap", "a"))
    with pytest.raises(ApiError) as caught:
        store.delete(CONFIG_MAPS, "default", "a", uid="another")
    assert caught.value.status == 409
    with pytest.raises(ApiError) as caught:
        store.delete(CONFIG_MAPS, "default", "b")
    assert (caught.value.status, caught.value.message) == (404, 'configmaps "b" not found')


def test_what_has_finalizers_goes_with_the_last_of_them(store: Store) -> None:
    made = store.create({**thing("ConfigMap", "a"), "metadata": {"name": "a", "namespace": "default", "finalizers": ["x/y"]}})
    store.delete(CONFIG_MAPS, "default", "a")
    live = store.get(CONFIG_MAPS, "default", "a")
    assert live
    assert "deletionTimestamp" in live["metadata"]
    store.update({**live, "metadata": {**made["metadata"], "resourceVersion": live["metadata"]["resourceVersion"], "finalizers": []}})
    assert store.get(CONFIG_MAPS, "default", "a") is None


def test_changes_are_told_in_order_after_what_there_was(store: Store) -> None:
    heard: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    store.create(thing("ConfigMap", "a"))
    store.create(thing("ConfigMap", "b"))
    end = store.subscribe(CONFIG_MAPS, lambda change, obj: heard.put((change, obj["metadata"]["name"])))
    made = store.create(thing("ConfigMap", "c"))
    store.update({**made, "data": {"x": "y"}})
    store.create(thing("Secret", "s"))
    store.delete(CONFIG_MAPS, "default", "a")
    told = [heard.get(timeout=30) for _ in range(5)]
    assert told == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("MODIFIED", "c"), ("DELETED", "a")]
    end()
    store.create(thing("ConfigMap", "d"))
    store.close()
    assert heard.empty()


def test_the_same_event_is_counted_and_another_is_not(store: Store) -> None:
    made = store.create(pod())
    for message in ("Back-off", "Back-off", "Pulled"):
        store.event(made, "Warning", "BackOff", message, field_path="spec.containers{web}")
    first, second = sorted(store.list(EVENTS), key=lambda e: str(e["message"]))
    assert (first["count"], second["count"]) == (2, 1)
    assert first["involvedObject"] == {"kind": "Pod", "namespace": "default", "name": "web", "uid": made["metadata"]["uid"],
                                       "apiVersion": "v1", "fieldPath": "spec.containers{web}"}
    assert first["source"] == {"component": "kubelet"}


LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(("text", "matches"), [
    ("", True), ("app=web", True), ("app==web,tier=front", True), ("app=web,tier=back", False), ("app!=api", True), ("app!=web", False),
    ("none!=web", True), ("app in (web, api)", True), ("app notin (web,api),tier", False), ("none notin (a)", True), ("tier", True),
    ("!tier", False), ("!none, app", True), ("none=", False), ("app in (a),tier", False),
])
def test_labels_are_selected_as_kubernetes_does(text: str, matches: bool) -> None:
    assert matcher(text)(LABELS) is matches


@pytest.mark.parametrize("text", ["a=b,,c", "=b", "a in b", "a b"])
def test_a_bad_selector_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        matcher(text)
    assert caught.value.status == 400


def test_fields_are_selected_by_their_paths() -> None:
    obj = thing("Pod", "web", status={"phase": "Running"})
    assert field_matcher("metadata.name=web,status.phase!=Failed")(obj)
    assert not field_matcher("metadata.name=api")(obj)
    with pytest.raises(ApiError, match="field label not supported"):
        field_matcher("spec.foo=1")
