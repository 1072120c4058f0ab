"""What is known about objects without asking the cluster."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from devloop.deploy.objects import by_rank, contains, delete_command, identity, is_applied, is_ours, is_workload, owner, prepare, with_marks
from devloop.model import Object, ObjectRef


def obj(kind: str = "ConfigMap", api: str = "v1", *, metadata: Object | None = None, **more: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "a", **(metadata or {})}, **more}


def labelled(name: str) -> Object:
    return obj(metadata={"labels": {"devloop.dev/name": name}})


def ref(api: str, kind: str) -> ObjectRef:
    return ObjectRef(api, kind, "", "a")


def test_what_others_need_comes_first_and_unknown_kinds_last() -> None:
    kinds = [("example.org/v1", "Service"), ("apps/v1", "Deployment"), ("v1", "Service"), ("networking.k8s.io/v1", "Ingress"),
             ("v1", "Secret"), ("rbac.authorization.k8s.io/v1", "RoleBinding"),
             ("rbac.authorization.k8s.io/v1", "Role"), ("batch/v1", "Job"),
             ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "Namespace"), ("v1", "PersistentVolumeClaim")]
    assert [[r.kind for r in group] for group in by_rank(ref(*k) for k in kinds)] == [
        ["Namespace"], ["CustomResourceDefinition"], ["Secret", "Role"], ["Service", "RoleBinding", "PersistentVolumeClaim"],
        ["Deployment", "Job"], ["Service", "Ingress"]]


@pytest.mark.parametrize(("api", "kind", "expected"), [
    ("apps/v1", "Deployment", True), ("apps/v1", "StatefulSet", True), ("apps/v1", "DaemonSet", True), ("apps/v1", "ReplicaSet", True),
    ("batch/v1", "Job", True), ("v1", "Pod", True), ("batch/v1", "CronJob", False), ("v1", "Service", False),
    ("example.org/v1", "Job", False)])
def test_workloads_are_what_rolls_out(api: str, kind: str, expected: bool) -> None:
    assert is_workload(ref(api, kind)) is expected


def test_what_only_the_server_sets_is_not_applied() -> None:
    exported = obj(status={}, metadata={
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"},
        "uid": "u", "resourceVersion": "1", "creationTimestamp": None, "managedFields": [], "namespace": "other"})
    assert prepare(exported, "ns") == obj(metadata={"namespace": "ns", "annotations": {"mine": "1"}})
    assert "namespace" not in prepare(exported, "")["metadata"]
    assert exported["metadata"]["uid"] == "u"


def test_a_secrets_texts_become_data_so_that_they_can_be_taken_away_again() -> None:
    secret = prepare(obj("Secret", stringData={"a": "ü", "b": 1}, data={"c": "Yw=="}), "ns")
    assert "stringData" not in secret
    assert secret["data"] == {"a": base64.b64encode("ü".encode()).decode(), "b": "MQ==", "c": "Yw=="}


def test_ports_have_the_protocol_that_old_servers_need_to_merge_them() -> None:
    service = prepare(obj("Service", spec={"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}), "ns")
    assert [p["protocol"] for p in service["spec"]["ports"]] == ["TCP", "UDP"]
    template = {"spec": {"containers": [{"ports": [{"containerPort": 80}]}, {}], "initContainers": [{"ports": [{"containerPort": 1}]}]}}
    spec = prepare(obj("Deployment", "apps/v1", spec={"template": template}), "ns")["spec"]["template"]["spec"]
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert spec["initContainers"][0]["ports"][0]["protocol"] == "TCP"


@pytest.mark.parametrize(("live", "wanted", "expected"), [
    ({"a": 1, "b": 2}, {"a": 1}, True), ({"a": 1}, {"a": 1, "b": 2}, False), ({"a": 1}, {"a": "1"}, False),
    ({"a": 1}, {"a": 1, "b": None}, True), ({"a": 1}, {"a": 1, "b": {}, "c": []}, True),
    ([1, 2], [1, 2], True), ([1, 2], [1], False), ([{"a": 1, "x": 2}], [{"a": 1}], True),
    ({"a": {"b": [{"c": 1}]}}, {"a": {"b": [{"c": 2}]}}, False), (None, {"a": 1}, False), ({"a": "1"}, {"a": "1000m"}, False)])
def test_contains(live: object, wanted: object, expected: bool) -> None:
    assert contains(live, wanted) is expected


def test_an_object_is_applied_until_it_its_manifest_or_somebody_changes_it() -> None:
    body = obj(data={"a": "1"})
    live = with_marks(body, None, "p")
    assert is_applied(live | {"extra": 1}, with_marks(body, live, "p"))
    assert not is_applied(live, with_marks(obj(data={}), live, "p"))            # a key left the manifest
    assert not is_applied(live | {"data": {"a": "2"}}, with_marks(body, live, "p"))
    assert not is_applied(body, with_marks(body, body, "p"))                    # never applied by us


def test_only_who_created_an_object_and_still_has_it_may_delete_it() -> None:
    created = with_marks(labelled("p"), None, "p")
    assert is_ours(created, "p")
    assert not is_ours(created, "other")
    assert is_ours(with_marks(labelled("p"), created, "p"), "p")
    assert not is_ours(with_marks(labelled("p"), labelled("p"), "p"), "p")      # it was there before
    assert not is_ours(with_marks(labelled("q"), created, "q"), "q")            # taken over
    assert not is_ours(with_marks(labelled("q"), created, "q"), "p")


def test_two_names_of_one_object_are_known_as_such() -> None:
    old, new = ref("extensions/v1beta1", "Ingress"), ref("networking.k8s.io/v1", "Ingress")
    assert identity(old) == identity(new)
    assert identity(ref("example.org/v1", "Service")) != identity(ref("v1", "Service"))
    assert identity(ref("example.org/v1", "Service")) == identity(ref("example.org/v2", "Service"))


def test_the_owner_is_the_controller() -> None:
    made = obj()
    made["metadata"]["ownerReferences"] = [{"uid": "a"}, {"uid": "b", "controller": True}]
    assert owner(made) == "b"
    assert owner(obj()) == ""


def test_the_command_to_delete_something() -> None:
    assert delete_command(ObjectRef("v1", "Pod", "ns", "a")) == "kubectl delete pod a -n ns"
    assert delete_command(ObjectRef("v1", "Namespace", "", "a")) == "kubectl delete namespace a"
