"""Rollouts on a real cluster, with real failures planted."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.deploy.rollout import ClusterRollout
from devloop.errors import Cancelled, RolloutError
from devloop.events import Event, Notice, StepFinished, StepProgress, StepStarted
from devloop.model import Object, ObjectRef
from devloop.pods import Pods
from tests.cluster.workloads import change, container, create, deployment, job, pod, pod_spec, shell, workload

pytestmark = pytest.mark.cluster

SAFETY = 60.0   # seconds: no test is meant to get there
NEVER = {"exec": {"command": ["false"]}}
YOUNG = 60      # minReadySeconds: what crashes is not taken for available, however late the kubelet tells of it


class Rollouts:
    """Creates objects in a namespace and waits for them. `events`: what was told."""

    def __init__(self, kube: Kube, pods: Pods, namespace: str) -> None:
        self.kube, self.pods, self.namespace = kube, pods, namespace
        self.events: list[Event] = []

    def create(self, *objects: Object) -> list[ObjectRef]:
        return [create(self.kube, self.namespace, obj) for obj in objects]

    def wait(self, *refs: ObjectRef, timeout: float = SAFETY, cancel: Cancel | None = None) -> None:
        ClusterRollout(self.kube, self.pods, timeout=timeout).wait(refs, self.events.append, cancel or Cancel())

    def fails(self, *objects: Object, timeout: float = SAFETY) -> RolloutError:
        with pytest.raises(RolloutError) as failed:
            self.wait(*self.create(*objects), timeout=timeout)
        assert timeout < SAFETY or f"{SAFETY:g} s" not in failed.value.message, "only the deadline ended it"
        return failed.value

    def get(self, plural: str) -> list[Object]:
        return list(self.kube.get(f"/api/v1/namespaces/{self.namespace}/{plural}")["items"])

    def outcome(self, ref: ObjectRef) -> str:
        return next(e.detail for e in reversed(self.events) if isinstance(e, StepFinished) and e.subject == str(ref))

    def notices(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Notice)]

    def progress(self) -> list[str]:
        return [e.detail for e in self.events if isinstance(e, StepProgress)]


@pytest.fixture(scope="module")
def pods(kube: Kube) -> Iterator[Pods]:
    shared = Pods(kube, lambda event: None)
    yield shared
    shared.close()


@pytest.fixture
def rollouts(kube: Kube, pods: Pods, namespace: str) -> Rollouts:
    return Rollouts(kube, pods, namespace)


# --- what comes up


@pytest.mark.parametrize(("obj", "outcome"), [
    (deployment("web", replicas=2), "2 of 2 pods ready"),
    (deployment("web", replicas=0), "no pods wanted"),
    (deployment("web", minReadySeconds=2), "1 of 1 pods ready"),
    (workload("StatefulSet", "db", pod_spec()), "1 of 1 pods ready"),
    (workload("DaemonSet", "agent", pod_spec()), "1 of 1 pods ready"),
    (workload("DaemonSet", "agent", pod_spec(nodeSelector={"no": "where"})), "no pods wanted"),
    (workload("ReplicaSet", "web", pod_spec()), "1 of 1 pods ready"),
    (job("migrate", shell("exit 0")), "completed"),
    (pod("one", pod_spec()), "1 of 1 pods ready"),
    (pod("one", pod_spec(shell("exit 0", readinessProbe=NEVER), restartPolicy="Never")), "completed"),
], ids=lambda value: value["kind"] if isinstance(value, dict) else None)
def test_what_comes_up_is_told(rollouts: Rollouts, obj: Object, outcome: str) -> None:
    [ref] = rollouts.create(obj)

    rollouts.wait(ref)

    assert rollouts.outcome(ref) == outcome
    assert StepStarted("rollout", str(ref)) in rollouts.events


def test_a_rollout_that_is_over_is_told_as_such(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web"))
    rollouts.wait(ref)
    rollouts.events.clear()

    rollouts.wait(ref)

    assert [e.cached for e in rollouts.events if isinstance(e, StepFinished)] == [True]


def test_there_may_be_nothing_to_wait_for(rollouts: Rollouts) -> None:
    namespace = rollouts.namespace
    rollouts.wait(ObjectRef("v1", "ConfigMap", namespace, "config"), ObjectRef("batch/v1", "CronJob", namespace, "nightly"))
    assert rollouts.events == []


def test_a_paused_deployment_is_not_waited_for(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web", paused=True))
    rollouts.wait(ref)
    assert "deployment/web is paused" in rollouts.notices()[0]


@pytest.mark.parametrize(("strategy", "remark"), [
    ({"type": "OnDelete"}, "statefulset/db has updateStrategy OnDelete: 2 pods keep the old version until they are deleted"),
    ({"rollingUpdate": {"partition": 1}}, "statefulset/db keeps 1 of 2 pods at the old version (partition: 1)"),
], ids=["OnDelete", "partition"])
def test_a_stateful_set_that_keeps_old_pods_on_purpose_says_so(rollouts: Rollouts, strategy: Any, remark: str) -> None:
    [ref] = rollouts.create(workload("StatefulSet", "db", pod_spec(), replicas=2, podManagementPolicy="Parallel", updateStrategy=strategy))
    rollouts.wait(ref)
    change(rollouts.kube, ref, {"template": {"metadata": {"labels": {"version": "2"}}}})

    rollouts.wait(ref)

    assert rollouts.notices() == [remark]


def test_a_daemon_set_that_keeps_old_pods_on_purpose_says_so(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(workload("DaemonSet", "agent", pod_spec(), updateStrategy={"type": "OnDelete"}))
    rollouts.wait(ref)
    change(rollouts.kube, ref, {"template": {"metadata": {"labels": {"version": "2"}}}})

    rollouts.wait(ref)

    assert rollouts.notices() == ["daemonset/agent has updateStrategy OnDelete: 1 pod keeps the old version until it is deleted"]


def test_one_restart_while_a_database_comes_up_is_no_failure(rollouts: Rollouts) -> None:
    flag = {"name": "flag", "emptyDir": {}}
    script = "if [ -e /flag/seen ]; then exec sleep 100; fi; touch /flag/seen; echo no database; exit 1"
    spec = pod_spec(shell(script, volumeMounts=[{"name": "flag", "mountPath": "/flag"}]), volumes=[flag])

    rollouts.wait(*rollouts.create(workload("Deployment", "web", spec, minReadySeconds=1)))


def test_an_old_pod_that_crashes_is_not_the_new_ones_failure(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web", shell("exit 3"), minReadySeconds=5))
    with pytest.raises(RolloutError):
        rollouts.wait(ref)
    change(rollouts.kube, ref, {"template": {"spec": {"containers": [container(readinessProbe=_slow())]}}})

    rollouts.wait(ref)


def test_a_broken_stateful_set_can_be_mended(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(workload("StatefulSet", "db", pod_spec(container(readinessProbe=NEVER))))
    with pytest.raises(RolloutError):
        rollouts.wait(ref, timeout=2)
    eventually(lambda: rollouts.get("pods"))      # one of the broken version is there
    change(rollouts.kube, ref, {"template": {"spec": {"containers": [container()]}}})

    rollouts.wait(ref)

    assert any("pod db-0 of an earlier version was not ready" in n for n in rollouts.notices())


def test_what_takes_longer_says_what_it_waits_for(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web", container(readinessProbe=_slow(4))))
    rollouts.wait(ref)
    assert any(p.startswith("0 of 1 pods ready, web-") for p in rollouts.progress())      # the first may not know the pods yet


def test_a_rollout_can_be_called_off(rollouts: Rollouts) -> None:
    cancel = Cancel()
    [ref] = rollouts.create(deployment("web", container(readinessProbe=NEVER)))
    timer = threading.Timer(0.3, cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        rollouts.wait(ref, cancel=cancel)
    timer.join()


def _slow(seconds: int = 2) -> Any:
    return {"exec": {"command": ["true"]}, "initialDelaySeconds": seconds, "periodSeconds": 1}


# --- what does not come up

Failure = tuple[Callable[[str], Object], tuple[str, ...]]   # makes a workload of that name; what must be told of it

AT_ONCE: dict[str, Failure] = {
    "an image that is not on the node": (
        lambda name: deployment(name, container(image="nowhere:1", imagePullPolicy="Never")),
        ("deployment/{name} did not come up: pod {name}-", "(container web) cannot start: image 'nowhere:1' is not on node", "Never")),
    "an image reference that is none": (
        lambda name: deployment(name, container(image="Not/Valid:1")),
        ("'Not/Valid:1' is not a valid image reference", "must be lowercase")),
    "a ConfigMap that is missing": (
        lambda name: deployment(name, container(envFrom=[{"configMapRef": {"name": "hello-config"}}])),
        ("(container web) cannot start: ConfigMap 'hello-config' does not exist in namespace {namespace}",
         "Add the ConfigMap to the manifests")),
    "a Secret that is missing": (
        lambda name: deployment(name, container(env=[_from("secretKeyRef", "hello-secret", "token")])),
        ("Secret 'hello-secret' does not exist in namespace {namespace}", "kubectl create secret generic hello-secret")),
    "a key that is missing": (
        lambda name: deployment(name, container(env=[_from("configMapKeyRef", "present", "colour")])),
        ("ConfigMap 'present' in namespace {namespace} has no key 'colour'",)),
    "a mounted ConfigMap that is missing": (
        lambda name: _mounting(name, {"configMap": {"name": "hello-files"}}),
        ("cannot start: ConfigMap 'hello-files' does not exist in namespace {namespace}",)),
    "a mounted key that is missing": (
        lambda name: _mounting(name, {"configMap": {"name": "present", "items": [{"key": "page", "path": "x"}]}}),
        ("cannot start: ConfigMap 'present' in namespace {namespace} has no key 'page'",)),
    "a mounted Secret that is missing": (
        lambda name: _mounting(name, {"secret": {"secretName": "hello-certificate"}}),
        ("cannot start: Secret 'hello-certificate' does not exist in namespace {namespace}",)),
    "a host path that is missing": (
        lambda name: _mounting(name, {"hostPath": {"path": "/no/such/path", "type": "Directory"}}),
        ("hostPath type check failed: /no/such/path is not a directory", "on the node")),
    "a command that is not in the image": (
        lambda name: deployment(name, container("no-such-program", "--port")),
        ('cannot start: exec: "no-such-program": executable file not found', "The manifest's command (no-such-program --port)")),
    "a working directory that cannot be": (
        lambda name: deployment(name, container(workingDir="/etc/passwd")),
        ("(container web) cannot start: ", "mkdir", "/etc/passwd", "not a directory")),
    "an image that runs as root and must not": (
        lambda name: deployment(name, container(securityContext={"runAsNonRoot": True})),
        ("the manifest asks for runAsNonRoot, and the image runs as root", "USER 1000")),
    "a crash": (
        lambda name: deployment(name, shell("echo starting; echo cannot find the database >&2; exit 3"), minReadySeconds=YOUNG),
        ("(container web) crashes with exit code 3 (2 times so far)", "starting", "cannot find the database")),
    "a command that ends by itself": (
        lambda name: deployment(name, shell("echo all done"), minReadySeconds=YOUNG),
        ("ends by itself with exit code 0", "all done", "belongs into a Job")),
    "too little memory": (
        lambda name: deployment(name, container("tail", "/dev/zero", resources={"limits": {"memory": "16Mi"}}), minReadySeconds=YOUNG),
        ("OOMKilled", "it needs more memory than its limit of 16Mi", "resources.limits.memory")),
    "a crash of an init container": (
        lambda name: workload("Deployment", name, pod_spec(initContainers=[shell("echo no tables; exit 5", name="migrate")])),
        ("(init container migrate) crashes with exit code 5", "no tables")),
    "a readiness probe that can never pass": (
        lambda name: deployment(name, container(readinessProbe={"exec": {"command": ["no-such-probe"]}, "periodSeconds": 1})),
        ("its readiness probe (exec no-such-probe) does not pass", "executable file not found",
         "The readinessProbe's command is not in the image")),
    "a Job that fails": (
        lambda name: job(name, shell("echo cannot migrate; exit 4"), backoffLimit=0),
        ("job/{name} did not complete: pod {name}-", "crashes with exit code 4", "(Job has reached the specified backoff limit)",
         "cannot migrate")),
    "a pod that ends": (
        lambda name: pod(name, pod_spec(shell("echo oh no; exit 6", readinessProbe=NEVER), restartPolicy="Never")),
        ("pod/{name} did not come up: pod {name} (container web) crashes with exit code 6", "oh no")),
}

# these may heal by themselves and are given a few seconds: all at the same time here
PATIENTLY: dict[str, Failure] = {
    "a Deployment that makes no progress": (
        lambda name: deployment(name, container(readinessProbe=_probe("echo not yet; exit 1")), progressDeadlineSeconds=15),
        ("its readiness probe (exec sh -c echo not yet; exit 1) does not pass: not yet", "has timed out progressing")),
    "more CPU than there is": (
        lambda name: deployment(name, container(resources={"requests": {"cpu": "1k"}})),
        ("gets no node: 0/1 nodes are available: 1 Insufficient cpu (the nodes have", "Lower resources.requests.cpu")),
    "a node that does not exist": (
        lambda name: workload("Deployment", name, pod_spec(nodeSelector={"disk": "ssd"})),
        ("gets no node: 0/1 nodes are available", "No node has the labels the pod asks for (disk=ssd)")),
    "a claim that is missing": (
        lambda name: _mounting(name, {"persistentVolumeClaim": {"claimName": "data"}}),
        ("gets no node: PersistentVolumeClaim 'data' does not exist in namespace {namespace}",)),
    "a claim that nobody binds": (
        lambda name: _mounting(name, {"persistentVolumeClaim": {"claimName": "unbound"}}),
        ("gets no node", "unbound immediate PersistentVolumeClaims",
         "; claim 'unbound': storageclass.storage.k8s.io \"no-such\" not found")),
    "a service account that is missing": (
        lambda name: workload("Deployment", name, pod_spec(serviceAccountName="robot")),
        ("deployment/{name} cannot create its pods", "robot", "Add the ServiceAccount")),
    "an image whose registry does not answer": (
        lambda name: deployment(name, container(image="localhost:1/hello:1")),
        ("image 'localhost:1/hello:1' cannot be pulled", "connection refused", "Can the cluster's nodes reach localhost:1?")),
}

QUOTA: dict[str, Failure] = {
    "a quota that is used up": (
        lambda name: deployment(name, container(resources=_memory("2Gi"))),
        ("deployment/{name} cannot create its pods", "exceeded quota", "kubectl describe resourcequota")),
    "a quota that a StatefulSet exceeds": (
        lambda name: workload("StatefulSet", name, pod_spec(container(resources=_memory("2Gi")))),
        ("statefulset/{name} cannot create its pods", "exceeded quota")),
}

PRESENT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "present"}, "data": {"a": "b"}}
UNBOUND = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unbound"},
           "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "no-such", "resources": {"requests": {"storage": "1Gi"}}}}
SMALL = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "1Gi"}}}


def _await_quota(rollouts: Rollouts) -> None:
    """A new quota is in force a moment later."""
    path = f"/api/v1/namespaces/{rollouts.namespace}/resourcequotas"
    for event in rollouts.kube.watch(path, cancel=Cancel()):
        if any((quota.get("status") or {}).get("used") for quota in event.objects):
            return


def _from(kind: str, name: str, key: str) -> Any:
    return {"name": "VALUE", "valueFrom": {kind: {"name": name, "key": key}}}


def _memory(size: str) -> Any:
    return {"limits": {"memory": size}, "requests": {"memory": size}}


def _mounting(name: str, volume: Any) -> Object:
    mounts = [{"name": "files", "mountPath": "/files"}]
    return workload("Deployment", name, pod_spec(container(volumeMounts=mounts), volumes=[{"name": "files", **volume}]))


def _probe(script: str, **more: int) -> Any:
    return {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, **more}


def _assert_told(error: RolloutError, name: str, expected: tuple[str, ...], namespace: str) -> None:
    told = "\n".join((error.message, error.hint, *error.details))
    for text in expected:
        assert text.format(name=name, namespace=namespace) in told


@pytest.mark.parametrize("planted", AT_ONCE)
def test_what_cannot_come_up_is_explained_at_once(rollouts: Rollouts, planted: str) -> None:
    make, expected = AT_ONCE[planted]
    rollouts.create(PRESENT)
    _assert_told(rollouts.fails(make("web")), "web", expected, rollouts.namespace)


@pytest.mark.parametrize(("failures", "needed"), [(PATIENTLY, UNBOUND), (QUOTA, SMALL)], ids=["places", "quota"])
def test_what_might_heal_is_explained_after_a_few_seconds(rollouts: Rollouts, failures: dict[str, Failure], needed: Object) -> None:
    rollouts.create(needed)
    if needed is SMALL:
        _await_quota(rollouts)
    names = {f"w{number}": planted for number, planted in enumerate(failures)}
    with ThreadPoolExecutor(len(names)) as pool:
        errors = dict(zip(names, pool.map(lambda name: rollouts.fails(failures[names[name]][0](name)), names), strict=True))
    for name, planted in names.items():
        _assert_told(errors[name], name, failures[planted][1], rollouts.namespace)


def test_a_liveness_probe_that_kills_is_quoted(rollouts: Rollouts) -> None:
    """Alone: the kubelet sends five events a second, and those of many failing pods hold back the one that tells of the probe."""
    ill = container(livenessProbe=_probe("echo I am ill; exit 1", failureThreshold=1))
    error = rollouts.fails(deployment("web", ill, minReadySeconds=YOUNG))
    _assert_told(error, "web", ("is restarted because its liveness probe (exec sh -c echo I am ill; exit 1) fails: I am ill", "more time"),
                 rollouts.namespace)


def test_a_program_for_another_platform_is_told_as_such(rollouts: Rollouts) -> None:
    arm = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00\x01\x00\x00\x00" + bytes(200)   # the head of an arm64 program
    rollouts.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "arm"},
                     "binaryData": {"program": base64.b64encode(arm).decode()}})
    spec = pod_spec(container("/arm/program", volumeMounts=[{"name": "arm", "mountPath": "/arm"}]),
                    volumes=[{"name": "arm", "configMap": {"name": "arm", "defaultMode": 0o755}}])

    error = rollouts.fails(workload("Deployment", "web", spec, minReadySeconds=YOUNG))

    assert "(container web) cannot start: exec format error: its program was built for another platform than" in error.message
    assert "docker: {platform: linux/" in error.hint


def test_a_registry_that_does_not_have_the_image_is_quoted(rollouts: Rollouts, registry: str) -> None:
    image = f"{registry}/hello:1"
    error = rollouts.fails(deployment("web", container(image=image)))
    assert f"image '{image}' cannot be pulled: {registry} does not have it: " in error.message
    assert f"{image} not found" in error.message.replace(": not found", " not found")


def test_a_registry_that_refuses_us_and_a_pull_secret_that_is_missing_are_told(rollouts: Rollouts, refusing_registry: str) -> None:
    image = f"{refusing_registry}/hello:1"
    bare = rollouts.fails(deployment("bare", container(image=image)))
    named = rollouts.fails(workload("Deployment", "named", pod_spec(container(image=image), imagePullSecrets=[{"name": "credentials"}])))

    assert f"cannot be pulled: {refusing_registry} refuses it: " in bare.message
    assert "The pod has no pull secret" in bare.hint
    assert f"its pull secret 'credentials' does not exist in namespace {rollouts.namespace}" in named.message
    assert "kubectl create secret docker-registry credentials" in named.hint


@pytest.fixture
def refusing_registry() -> Iterator[str]:
    """Answers 401 to everything, as a private registry does."""
    class Refuse(BaseHTTPRequestHandler):
        default_request_version = "HTTP/1.0"       # containerd tries TLS first and must see that this is HTTP

        def do_GET(self) -> None:
            body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_readiness_probe_that_fails_is_told_in_progress_and_at_the_deadline(rollouts: Rollouts) -> None:
    probe = {"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1}
    [ref] = rollouts.create(deployment("web", container(readinessProbe=probe)))
    eventually(lambda: any(e["reason"] == "Unhealthy" for e in rollouts.get("events")))      # how long a start takes is the node's affair

    with pytest.raises(RolloutError) as failed:
        rollouts.wait(ref, timeout=10)

    told = failed.value.message
    assert told.startswith("deployment/web did not come up within 10 s: pod web-")
    assert "its readiness probe (GET :8080/healthz) does not pass: Get" in told
    assert "connection refused" in told
    assert any("readiness probe fails: Get" in p for p in rollouts.progress())


def test_what_was_mended_meanwhile_is_no_failure(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web", container(envFrom=[{"configMapRef": {"name": "late"}}])))
    with pytest.raises(RolloutError):
        rollouts.wait(ref)
    rollouts.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"a": "b"}})

    rollouts.wait(ref)


def test_what_is_deleted_meanwhile_is_told(rollouts: Rollouts) -> None:
    [ref] = rollouts.create(deployment("web", container(readinessProbe=_slow(30))))
    timer = threading.Timer(0.3, lambda: rollouts.kube.request("DELETE", rollouts.kube.path(ref)))
    timer.start()
    with pytest.raises(RolloutError, match="deployment/web is not in namespace"):
        rollouts.wait(ref)
    timer.join()


def test_the_first_failure_ends_the_wait_for_the_others(rollouts: Rollouts) -> None:
    error = rollouts.fails(deployment("slow", container(readinessProbe=_slow(50))),
                           deployment("web", container(image="nowhere:1", imagePullPolicy="Never")))
    assert "deployment/web did not come up" in error.message
