"""What the local target answers to requests and watches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from devloop.cancel import Cancel
from devloop.clients.kube import MERGE_PATCH, WatchEvent, lines
from devloop.errors import ApiError, Cancelled
from devloop.local.kinds import KINDS
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Object
from tests.unit.local.node import Node
from tests.unit.local.objects import apply, job, template, thing, workload


def test_every_kind_is_found_by_discovery(kube: LocalKube) -> None:
    assert {kube.resource(kind.api_version, kind.kind) for kind in KINDS} == set(KINDS)
    groups = kube.get("/apis")["groups"]
    assert {v["groupVersion"] for group in groups for v in group["versions"]} == {k.api_version for k in KINDS if "/" in k.api_version}
    assert kube.get("/version")["major"] == "1"
    with pytest.raises(ApiError, match="no kind Widget") as caught:
        kube.resource("example.com/v1", "Widget")
    assert caught.value.status == 404


def test_there_is_a_namespace_and_a_node_at_the_start(kube: LocalKube) -> None:
    assert kube.get("/api/v1/namespaces/default")["status"] == {"phase": "Active"}
    assert kube.get("/api/v1/nodes/docker")["status"]["nodeInfo"] == {"operatingSystem": "linux", "architecture": "amd64"}


def test_everything_is_allowed(kube: LocalKube) -> None:
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get"}}}
    assert kube.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=asked)["status"]["allowed"] is True


@pytest.mark.parametrize("path", [
    "/", "/api/v1/foos", "/apis/foo.io/v1", "/apis/apps/v1/namespaces/default/foos/x", "/api/v1/namespaces/a/b/c/d/e",
    "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default/pods/web/portforward"])
def test_a_path_that_leads_nowhere_is_told(kube: LocalKube, path: str) -> None:
    with pytest.raises(ApiError) as caught:
        kube.get(path)
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")


def test_lists_are_of_one_namespace_or_of_all_and_by_selectors(kube: LocalKube) -> None:
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "other"}})
    for namespace, name, tier in (("default", "a", "x"), ("default", "b", "y"), ("other", "a", "x")):
        kube.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body={"metadata": {"name": name, "labels": {"tier": tier}}})

    def names(path: str, **query: str) -> list[str]:
        return [item["metadata"]["namespace"] + "/" + item["metadata"]["name"] for item in kube.get(path, **query)["items"]]

    assert names("/api/v1/configmaps") == ["default/a", "default/b", "other/a"]
    assert names("/api/v1/namespaces/default/configmaps", labelSelector="tier=y") == ["default/b"]
    assert names("/api/v1/configmaps", fieldSelector="metadata.name=a,metadata.namespace!=other") == ["default/a"]


def test_a_merge_patch_sets_and_takes_away(kube: LocalKube) -> None:
    apply(kube, thing("ConfigMap", "a", data={"x": "1", "y": "2"}))
    made = kube.request("PATCH", "/api/v1/namespaces/default/configmaps/a", body={"data": {"x": None, "z": "3"}}, content_type=MERGE_PATCH)
    assert made["data"] == {"y": "2", "z": "3"}


def test_a_deleted_namespace_takes_everything_in_it_along(kube: LocalKube, node: Node, store: Store) -> None:
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "other"}})
    obj = workload("Deployment")
    apply(kube, {**obj, "metadata": {"name": "web", "namespace": "other"}})
    node.until(lambda: kube.get("/api/v1/namespaces/other/pods")["items"])
    node.linger = lambda pod: True
    kube.request("DELETE", "/api/v1/namespaces/other")
    pod = node.until(lambda: [p for p in kube.get("/api/v1/namespaces/other/pods")["items"] if "deletionTimestamp" in p["metadata"]])[0]
    with pytest.raises(ApiError, match="because it is being terminated") as caught:
        apply(kube, {**thing("ConfigMap", "a"), "metadata": {"name": "a", "namespace": "other"}})
    assert caught.value.status == 403
    node.end(pod)
    node.until(lambda: all(item["metadata"]["name"] != "other" for item in kube.get("/api/v1/namespaces")["items"]))


# --- watches

@contextmanager
def watching(kube: LocalKube, path: str, **query: str) -> Iterator[queue.SimpleQueue[WatchEvent]]:
    cancel, events = Cancel(), queue.SimpleQueue[WatchEvent]()
    ended: list[Exception] = []

    def run() -> None:
        try:
            with closing(kube.watch(path, cancel=cancel, query=query)) as watch:     # type: ignore[type-var]
                for event in watch:
                    events.put(event)
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield events
    finally:
        cancel.cancel()
        thread.join(30)
    assert not thread.is_alive()
    assert ended, "a watch ends by being cancelled"


def told(event: WatchEvent) -> tuple[str, list[str]]:
    return event.type, [obj["metadata"]["name"] for obj in event.objects]


def test_a_watch_tells_what_there_is_and_then_every_change(kube: LocalKube, store: Store) -> None:
    apply(kube, thing("ConfigMap", "a"))
    apply(kube, thing("ConfigMap", "b"))
    with watching(kube, "/api/v1/namespaces/default/configmaps") as events:
        assert told(events.get(timeout=30)) == ("SNAPSHOT", ["a", "b"])
        apply(kube, thing("ConfigMap", "c"))
        apply(kube, thing("ConfigMap", "c", data={"x": "y"}))
        apply(kube, thing("Secret", "s"))
        kube.request("DELETE", "/api/v1/namespaces/default/configmaps/a")
        assert [told(events.get(timeout=30)) for _ in range(3)] == [("ADDED", ["c"]), ("MODIFIED", ["c"]), ("DELETED", ["a"])]


def test_a_watch_with_a_selector_tells_what_comes_to_match_and_what_no_longer_does(kube: LocalKube) -> None:
    def labelled(tier: str) -> Object:
        return {**thing("ConfigMap", "a"), "metadata": {"name": "a", "namespace": "default", "labels": {"tier": tier}}}

    with watching(kube, "/api/v1/configmaps", labelSelector="tier=x") as events:
        assert told(events.get(timeout=30)) == ("SNAPSHOT", [])
        for tier in ("y", "x", "y", "x"):
            apply(kube, labelled(tier))
        assert [told(events.get(timeout=30)) for _ in range(3)] == [("ADDED", ["a"]), ("DELETED", ["a"]), ("ADDED", ["a"])]
        kube.request("DELETE", "/api/v1/namespaces/default/configmaps/a")
        assert told(events.get(timeout=30)) == ("DELETED", ["a"])


def test_a_watch_of_one_name_sees_nothing_else(kube: LocalKube) -> None:
    with watching(kube, "/api/v1/namespaces/default/configmaps", fieldSelector="metadata.name=b") as events:
        assert told(events.get(timeout=30)) == ("SNAPSHOT", [])
        apply(kube, thing("ConfigMap", "a"))
        apply(kube, thing("ConfigMap", "b"))
        assert told(events.get(timeout=30)) == ("ADDED", ["b"])


# --- what is refused

def refusal(kube: LocalKube, obj: Object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        apply(kube, obj)
    return caught.value


def causes(error: ApiError) -> dict[str, str]:
    return {cause["field"]: cause["message"] for cause in error.body["details"]["causes"]}


@pytest.mark.parametrize(("spec", "message"), [
    ({"containers": [{"name": "web", "image": "x", "imag": "y"}]},
     '.spec.template.spec.containers[name="web"].imag: field not declared in schema'),
    ({"containers": [{"name": "web", "image": 5}]},
     '.spec.template.spec.containers[name="web"].image: expected string, got &value.valueUnstructured{Value:5}'),
    ({"containers": "web"}, ".spec.template.spec.containers: expected list, got &{web}"),
    ({"containers": [{"name": "web", "image": "x"}] * 2}, '.spec.template.spec.containers: duplicate entries for key [name="web"]'),
])
def test_a_field_of_another_name_or_type_is_refused(kube: LocalKube, spec: dict[str, Any], message: str) -> None:
    error = refusal(kube, workload("Deployment", pod={"metadata": {"labels": {"app": "web"}}, "spec": spec}))
    assert (error.status, error.message) == (
        500, f"failed to create typed patch object (default/web; apps/v1, Kind=Deployment): {message}")


def test_everything_that_is_wrong_is_told_at_once(kube: LocalKube) -> None:
    error = refusal(kube, workload("Deployment", replicas=-1, pod=template({"name": "A_b", "volumeMounts": [{"name": "v"}]})))
    assert (error.status, error.reason) == (422, "Invalid")
    assert error.message.startswith('Deployment.apps "web" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal')
    assert set(causes(error)) == {"spec.replicas", *(f"spec.template.spec.containers[0].{field}" for field in (
        "name", "image", "volumeMounts[0].name", "volumeMounts[0].mountPath"))}


@pytest.mark.parametrize(("before", "after", "field"), [
    (workload("Deployment"), workload("Deployment", selector={"matchLabels": {"app": "web", "tier": "x"}}, pod={
        **template(), "metadata": {"labels": {"app": "web", "tier": "x"}}}), "spec.selector"),
    (workload("StatefulSet"), workload("StatefulSet", serviceName="other"), "spec"),
    (job(), job(completions=2), "spec.completions"),
    (thing("Secret", "s", type="a/b"), thing("Secret", "s", type="c/d"), "type"),
    (thing("ConfigMap", "c", immutable=True, data={"a": "1"}), thing("ConfigMap", "c", immutable=True, data={"a": "2"}), "data"),
    (thing("Service", "s", spec={"ports": [{"port": 80}]}), thing("Service", "s", spec={"ports": [{"port": 80}], "clusterIP": "None"}),
     "spec.clusterIPs[0]"),
])
def test_what_cannot_change_is_refused(kube: LocalKube, before: Object, after: Object, field: str) -> None:
    apply(kube, before)
    error = refusal(kube, after)
    assert error.status == 422
    assert list(causes(error)) == [field]


def test_a_second_one_of_a_name_is_refused_after_everything_else(kube: LocalKube) -> None:
    body = thing("ConfigMap", "a")
    kube.request("POST", "/api/v1/namespaces/default/configmaps", body=body)
    with pytest.raises(ApiError) as caught:
        kube.request("POST", "/api/v1/namespaces/default/configmaps", body=body, query={"dryRun": "All"})
    assert (caught.value.status, caught.value.reason, caught.value.message) == (409, "AlreadyExists", 'configmaps "a" already exists')
    with pytest.raises(ApiError) as caught:
        kube.request("POST", "/api/v1/namespaces/default/configmaps", body={**body, "data": {"a b": "c"}})
    assert caught.value.status == 422


@pytest.mark.parametrize("schedule", ["every day", "61 * * * *", "* * * *"])
def test_a_schedule_must_be_one(kube: LocalKube, schedule: str) -> None:
    error = refusal(kube, thing("CronJob", "c", "batch/v1", spec={"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}}))
    assert list(causes(error)) == ["spec.schedule"]


# --- logs

class Said:
    """A log of one line, which waits for its end where it is followed."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    @contextmanager
    def open(self, pod: Object, container: str, **how: Any) -> Iterator[Any]:
        cancel, done, told = how.pop("cancel"), threading.Event(), [b"hello\n"]
        self.asked.append({"container": container, **how})

        class Stream:
            def read1(self, amt: int | None = None) -> bytes:
                if told:
                    return told.pop()
                if how["follow"]:
                    done.wait(30)
                return b""

        with cancel.closing(done.set):
            yield Stream()


def test_a_log_is_asked_of_the_container_that_is_meant() -> None:
    store, said = Store(), Said()
    kube = LocalKube(store, said, engine="x")
    state = {"state": {"running": {"startedAt": "x"}}, "lastState": {"terminated": {"exitCode": 1}}}
    store.create(thing("Pod", "web", spec={"nodeName": "docker", "containers": [{"name": "a"}, {"name": "b"}]},
                       status={"containerStatuses": [{"name": "a", **state}, {"name": "b", "state": {"waiting": {"reason": "X"}}}]}))
    path = "/api/v1/namespaces/default/pods/web/log"
    try:
        with kube.open(path, query={"container": "a", "tailLines": 3, "previous": True}, cancel=Cancel()) as stream:
            assert list(lines(stream)) == [b"hello"]
        with kube.open(path, query={"container": "a", "timestamps": True, "sinceTime": "2026-01-02T03:04:05.5Z"}, cancel=Cancel()):
            pass
        assert said.asked == [
            {"container": "a", "follow": False, "previous": True, "timestamps": False, "since": None, "tail": 3},
            {"container": "a", "follow": False, "previous": False, "timestamps": True, "since": 1767323045.5, "tail": None}]
        for query, message in (({}, "a container name must be specified for pod web, choose one of: [a b]"),
                               ({"container": "c"}, "container c is not valid for pod web"),
                               ({"container": "b"}, 'container "b" in pod "web" is waiting to start: X'),
                               ({"container": "b", "previous": True}, 'previous terminated container "b" in pod "web" not found')):
            with pytest.raises(ApiError) as caught, kube.open(path, query=query, cancel=Cancel()):
                pass
            assert (caught.value.status, caught.value.message) == (400, message)
    finally:
        kube.close()
        store.close()


def test_a_followed_log_ends_when_it_is_cancelled() -> None:
    store, cancel = Store(), Cancel()
    kube = LocalKube(store, Said(), engine="x")
    store.create(thing("Pod", "web", spec={"nodeName": "docker", "containers": [{"name": "a"}]},
                       status={"containerStatuses": [{"name": "a", "state": {"running": {"startedAt": "x"}}}]}))
    try:
        path = "/api/v1/namespaces/default/pods/web/log"
        with pytest.raises(Cancelled), kube.open(path, query={"follow": True}, cancel=cancel) as stream:
            assert stream.read1() == b"hello\n"
            threading.Timer(0.05, cancel.cancel).start()
            stream.read1()
    finally:
        kube.close()
        store.close()
