"""The local target's API says what the real one says: the same requests to both."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devloop.clients.kube import SSA, Kube
from devloop.deploy.objects import contains
from devloop.errors import ApiError
from devloop.local.kinds import kind_of
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Object
from tests.unit.local.node import NoLogs
from tests.unit.local.objects import container, job, template, thing, workload

pytestmark = pytest.mark.cluster

NEWER = {"completionMode", "podReplacementPolicy", "persistentVolumeClaimRetentionPolicy", "internalTrafficPolicy", "suspend", "maxSurge"}
"""Defaults that clusters older than the local target do not know."""

PORT = {"containerPort": 80, "protocol": "TCP"}
PROBE: Object = {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}


@pytest.fixture(scope="module")
def namespace(kube: Kube) -> Iterator[str]:
    """One for all of these tests: most of them only ask what would be."""
    name = f"devloop-test-{secrets.token_hex(4)}"
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    yield name
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def local(namespace: str) -> Iterator[LocalKube]:
    """The local target's API, with the namespace of the real one."""
    store = Store()
    kube = LocalKube(store, NoLogs(), engine="unix:///nowhere")
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
    yield kube
    kube.close()
    store.close()


Answer = tuple[int, str, Any]
Ask = Callable[[Kube], Object]


def answer(kube: Kube, ask: Ask) -> Answer:
    """Status, reason, and the fields with what is wrong with them, or the object."""
    try:
        return 200, "", ask(kube)
    except ApiError as error:
        causes = (error.body.get("details") or {}).get("causes") or ()
        return error.status, error.reason, sorted((cause["field"], cause["reason"]) for cause in causes)


def path(obj: Object, namespace: str) -> str:
    kind = kind_of(obj)
    return kind.path(namespace if kind.namespaced else "", obj["metadata"]["name"])


def apply(obj: Object, namespace: str, **query: str) -> Ask:
    placed = {**obj, "metadata": {**obj["metadata"], "namespace": namespace}} if kind_of(obj).namespaced else obj
    return lambda kube: kube.request("PATCH", path(obj, namespace), body=placed, content_type=SSA,
                                     query={"fieldManager": "devloop", "force": False, **query})


def deployment(*containers: Object, pod: dict[str, Any] | None = None, **spec: Any) -> Object:
    return workload("Deployment", pod=template(*containers, **(pod or {})), **{"replicas": 0, **spec})


def web(**more: Any) -> Object:
    return deployment(container(**more))


def without(obj: Object, key: str) -> Object:
    return {**obj, "spec": {k: v for k, v in obj["spec"].items() if k != key}}


def named(obj: Object, **meta: Any) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **meta}}


def service(**spec: Any) -> Object:
    return thing("Service", "web", spec={"ports": [{"port": 80, "protocol": "TCP"}], **spec})


def claim(**spec: Any) -> Object:
    return thing("PersistentVolumeClaim", "data", spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                                                        **spec})


def ingress(*paths: Object) -> Object:
    return thing("Ingress", "web", "networking.k8s.io/v1", spec={"rules": [{"http": {"paths": list(paths)}}]} if paths else {})


ROUTE = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
VOLUME = {"name": "v", "emptyDir": {}}

REQUESTS: dict[str, Object] = {
    # accepted
    "deployment": web(ports=[PORT], readinessProbe=PROBE, livenessProbe={"exec": {"command": ["x"]}}, env=[
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
    "image without a tag": web(image="web"), "image with a digest": web(image=f"web@sha256:{'0' * 64}"),
    "volumes": deployment(pod={"volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}},
                                           {"name": "c", "hostPath": {"path": "/"}}, {"name": "d", "secret": {"secretName": "x"}},
                                           {"name": "e", "downwardAPI": {}}]}),
    "limits": web(resources={"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "500m"}}),
    "recreate": deployment(strategy={"type": "Recreate"}), "surge": deployment(strategy={"rollingUpdate": {"maxSurge": 2}}),
    "stateful set": workload("StatefulSet", replicas=0), "daemon set": workload("DaemonSet"), "job": job(),
    "parallel job": job(parallelism=2),
    "service": service(), "headless": service(clusterIP="None"), "named target port": thing("Service", "web", spec={
        "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}),
    "secret": thing("Secret", "s", stringData={"a": "b"}), "claim": claim(), "ingress": ingress(ROUTE),
    # refused for its fields and types
    "unknown field": web(imag="x"), "number for text": web(image=5), "text for a number": deployment(replicas="three"),
    "list for a map": web(env={"A": "b"}), "map for a list": deployment(pod={"containers": "x"}), "fraction": deployment(replicas=1.5),
    "doubled item": web(env=[{"name": "A"}, {"name": "A"}]), "bad quantity": web(resources={"limits": {"memory": "12X"}}),
    "bad base64": thing("Secret", "s", data={"a": "%%%"}),
    # refused for what they say
    "no image": web(image=""), "bad name of a container": web(name="A_b"), "negative": deployment(replicas=-1),
    "no selector": without(deployment(), "selector"), "empty selector": deployment(selector={}),
    "no template": without(deployment(), "template"), "selector of others": deployment(selector={"matchLabels": {"x": "y"}}),
    "restart policy": deployment(pod={"restartPolicy": "Never"}), "no such policy": deployment(pod={"restartPolicy": "Foo"}),
    "pull policy": web(imagePullPolicy="Foo"),
    "no such volume": web(volumeMounts=[{"name": "v", "mountPath": "/v"}]), "no mount path": deployment(
        container(volumeMounts=[{"name": "v"}]), pod={"volumes": [VOLUME]}),
    "two sources": deployment(pod={"volumes": [{**VOLUME, "hostPath": {"path": "/"}}]}), "volume's name": deployment(pod={"volumes": [
        {"name": "V_", "emptyDir": {}}]}),
    "config map without a name": deployment(pod={"volumes": [{"name": "v", "configMap": {}}]}),
    "port 0": web(ports=[{"containerPort": 0, "protocol": "TCP"}]), "high port": web(ports=[{"containerPort": 70000, "protocol": "TCP"}]),
    "long port name": web(ports=[{**PORT, "name": "much-too-long-a-name"}]), "doubled port name": web(ports=[
        {**PORT, "name": "a"}, {"containerPort": 81, "protocol": "TCP", "name": "a"}]),
    "empty probe": web(readinessProbe={}), "two probes in one": web(readinessProbe={**PROBE, "tcpSocket": {"port": 1}}),
    "probe without a port": web(readinessProbe={"httpGet": {}}), "period": web(readinessProbe={**PROBE, "periodSeconds": -1}),
    "liveness twice": web(livenessProbe={**PROBE, "successThreshold": 2}), "no command": web(readinessProbe={"exec": {}}),
    "more than the limit": web(resources={"limits": {"memory": "1Mi"}, "requests": {"memory": "2Mi"}}),
    "label": named(deployment(), labels={"a": "b c"}), "label's key": named(deployment(), labels={"a b": "c"}),
    "annotation's key": named(deployment(), annotations={"a b": "c"}), "name": named(deployment(), name="Web"),
    "strategy": deployment(strategy={"type": "Foo"}), "strategy's parts": deployment(strategy={"type": "Recreate", "rollingUpdate": {
        "maxSurge": 1}}),
    "neither surge nor unavailable": deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
    "no percentage": deployment(strategy={"rollingUpdate": {"maxSurge": "x%"}}), "deadline": deployment(
        progressDeadlineSeconds=5, minReadySeconds=10),
    "value twice": web(env=[{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
    "no such field path": web(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.foo"}}}]),
    "variable's name": web(env=[{"name": "A=B", "value": "1"}]), "variable without a name": web(env=[{"value": "1"}]),
    "key reference": web(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x"}}}]), "envFrom": web(envFrom=[{}]),
    "init container": deployment(pod={"initContainers": [{"name": "i"}]}), "init container's name": deployment(pod={"initContainers": [
        container()]}),
    "no ports": service(ports=[]), "service type": service(type="Foo"), "ports without names": service(ports=[
        {"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]),
    "job that restarts": job(template={"spec": {"restartPolicy": "Always", "containers": [container()]}}),
    "config key": thing("ConfigMap", "c", data={"a b": "c"}), "no size": claim(resources={}), "no mode": claim(accessModes=[]),
    "path type": ingress({key: value for key, value in ROUTE.items() if key != "pathType"}), "path": ingress({**ROUTE, "path": "x"}),
    "no backend": ingress({**ROUTE, "backend": {}}), "no rules": ingress(), "namespace": thing("Namespace", "A_b"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_applied_is_accepted_or_refused_alike(kube: Kube, local: LocalKube, namespace: str, name: str) -> None:
    obj = REQUESTS[name]
    ask = apply(obj if kind_of(obj).namespaced else {**obj, "metadata": {"name": obj["metadata"]["name"]}}, namespace, dryRun="All")
    alike(answer(kube, ask), answer(local, ask))


def alike(real: Answer, ours: Answer) -> None:
    if real[0] != 200 or ours[0] != 200:
        assert ours == real
        return
    for part in ("spec", "data", "type"):
        assert contains(real[2].get(part), known(ours[2].get(part))), (part, ours[2].get(part), real[2].get(part))


def known(value: Any) -> Any:
    """Without what an older cluster does not fill in, and what is told to the Job's own pods under newer names."""
    if isinstance(value, dict):
        return {k: known(v) for k, v in value.items() if k not in NEWER and not str(k).startswith("batch.kubernetes.io/")
                and k not in ("controller-uid", "selector") and v is not None}
    return [known(item) for item in value] if isinstance(value, list) else value


TWICE: dict[str, tuple[Object, Object]] = {
    "strategy gone": (deployment(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}), deployment()),
    "volume gone": (deployment(pod={"volumes": [VOLUME, {"name": "w", "configMap": {"name": "x"}}]}),
                    deployment(pod={"volumes": [VOLUME]})),
    "port gone": (web(ports=[PORT, {"containerPort": 81, "protocol": "TCP"}]), web(ports=[PORT])),
    "arguments": (web(args=["a", "b"]), web(args=["c"])), "limits gone": (web(resources={"limits": {"memory": "1Mi"}}), web()),
    "security gone": (deployment(pod={"securityContext": {"runAsUser": 5}}), deployment()),
    "replicas gone": (deployment(replicas=0, paused=True), without(deployment(), "replicas")),
    "another container": (deployment(container(name="a"), container(name="b")), deployment(container(name="b"), container(name="c"))),
    "pull policy stays": (web(image="web:latest"), web(image="web:1")), "environment": (
        web(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]), web(env=[{"name": "B", "value": "3"}])),
    "value becomes a reference": (web(env=[{"name": "A", "value": "1"}]), web(env=[
        {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])),
    "recreate": (deployment(), deployment(strategy={"type": "Recreate"})),
    "selector": (deployment(), deployment(selector={"matchLabels": {"app": "web", "tier": "x"}})),
    "stateful set": (workload("StatefulSet", replicas=0), workload("StatefulSet", replicas=0, serviceName="other")),
    "job": (job(parallelism=0), job(parallelism=0, completions=2)), "secret's type": (
        thing("Secret", "s", type="a/b"), thing("Secret", "s", type="c/d")),
    "immutable": (thing("ConfigMap", "c", immutable=True, data={"a": "1"}), thing("ConfigMap", "c", immutable=True, data={"a": "2"})),
    "claim": (claim(), claim(accessModes=["ReadWriteMany"])), "labels": (
        named(deployment(), labels={"a": "1", "b": "2"}), named(deployment(), labels={"b": "3"})),
}


@pytest.mark.parametrize("name", TWICE)
def test_what_is_applied_again_is_merged_or_refused_alike(kube: Kube, local: LocalKube, namespace: str, name: str) -> None:
    first, second = TWICE[name]
    for client in (kube, local):
        apply(first, namespace)(client)
    real, ours = (answer(client, apply(second, namespace)) for client in (kube, local))
    kube.request("DELETE", path(first, namespace), body={"propagationPolicy": "Background"})
    alike(real, ours)
    if real[0] == 200:
        assert ours[2]["metadata"].get("labels") == real[2]["metadata"].get("labels")
        assert known(ours[2]["spec"]) == known(real[2]["spec"])


ASKED: dict[str, tuple[str, str, Object | None]] = {
    "no such object": ("GET", "/apis/apps/v1/namespaces/{}/deployments/x", None), "no such kind": ("GET", "/api/v1/foos", None),
    "no such namespace": ("GET", "/api/v1/namespaces/nonono", None), "nothing to delete": ("DELETE", "/api/v1/namespaces/{}/pods/x", None),
    "no field": ("GET", "/api/v1/namespaces/{}/pods?fieldSelector=foo=1", None),
    "no name": ("POST", "/api/v1/namespaces/{}/configmaps", {"metadata": {}}), "in no namespace": (
        "POST", "/api/v1/namespaces/nonono/configmaps", {"metadata": {"name": "a"}}),
    "there already": ("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}}), "another namespace": (
        "POST", "/api/v1/namespaces/{}/configmaps", {"metadata": {"name": "a", "namespace": "other"}}),
    "the default namespace": ("DELETE", "/api/v1/namespaces/default", None),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_cannot_be_is_refused_alike(kube: Kube, local: LocalKube, namespace: str, name: str) -> None:
    method, where, body = ASKED[name]
    where, _, query = where.format(namespace).partition("?")
    asked = dict([query.split("=", 1)]) if query else {}
    real, ours = (answer(client, lambda client: client.request(method, where, query=asked, body=body)) for client in (kube, local))
    assert real[0] >= 400
    assert ours == real


def test_only_the_very_object_that_was_meant_is_deleted(kube: Kube, local: LocalKube, namespace: str) -> None:
    where = f"/api/v1/namespaces/{namespace}/configmaps"
    answers = []
    for client in (kube, local):
        client.request("POST", where, body={"metadata": {"name": "a"}})
        answers.append(answer(client, lambda client: client.request("DELETE", f"{where}/a", body={"preconditions": {"uid": "another"}})))
        client.request("DELETE", f"{where}/a")
    assert answers[0] == answers[1] == (409, "Conflict", [])
