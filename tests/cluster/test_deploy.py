"""Deploying to a real Kubernetes: what is applied, replaced, removed, refused, and what stays."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from project import eventually

from devloop.cancel import Cancel
from devloop.clients.kube import MERGE_PATCH, Kube
from devloop.config.models import ImagePaths
from devloop.deploy.apply import Applier
from devloop.deploy.inventory import inventory_path
from devloop.deploy.manifests import NAME, render
from devloop.errors import ApiError, Cancelled, DeployError
from devloop.events import Event, Notice, ObjectApplied, StepProgress
from devloop.model import ImageRef, Manifest, Object, ObjectRef, PublishedImage
from tests.cluster.workloads import await_service_account

pytestmark = pytest.mark.cluster

PROJECT = "hello"
IMAGE = "busybox:1.36"
STUBBORN = "trap '' TERM; while :; do sleep 1; done"


@dataclass
class Deployed:
    """A project in a namespace, as one session after the other sees it."""

    kube: Kube
    namespace: str
    name: str = PROJECT
    force: bool = False
    events: list[Event] = field(default_factory=list)
    workloads: tuple[ObjectRef, ...] = ()

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new session, which knows nothing."""
        self.applier = Applier(self.kube, name=self.name, namespace=self.namespace, force=self.force)

    def deploy(self, *objects: Object, image: str = "", image_paths: list[ImagePaths] | None = None,
               hear: Callable[[Event], None] = lambda event: None) -> list[str]:
        """What was done: ``created deployment/web`` … `hear` is told of it while it is."""
        def emit(event: Event) -> None:
            self.events.append(event)
            hear(event)

        images = [PublishedImage("busybox", ImageRef("busybox", image), local_only=True)] if image else []
        manifests = [Manifest(o, "k8s/all.yaml", i + 1) for i, o in enumerate(objects)]
        rendered = render(manifests, images, name=self.name, image_paths=image_paths or []).manifests
        self.events = []
        self.workloads = self.applier.deploy(rendered, emit, Cancel())
        return self.done

    def delete(self, *, volumes: bool = False) -> list[str]:
        self.events = []
        self.applier.delete(self.events.append, Cancel(), volumes=volumes)
        return self.done

    def error(self, *objects: Object) -> DeployError:
        with pytest.raises(DeployError) as caught:
            self.deploy(*objects)
        return caught.value

    @property
    def done(self) -> list[str]:
        return sorted(f"{e.action} {e.resource}" for e in self.events if isinstance(e, ObjectApplied))

    @property
    def notices(self) -> str:
        return "\n".join(e.message for e in self.events if isinstance(e, Notice))

    @property
    def pods(self) -> list[Object]:
        return list(self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods")["items"])

    @property
    def phases(self) -> list[str]:
        return [pod["status"]["phase"] for pod in self.pods]

    def live(self, api: str, kind: str, name: str) -> Object | None:
        try:
            return self.kube.get(self.path(api, kind, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def path(self, api: str, kind: str, name: str) -> str:
        return self.kube.path(ObjectRef(api, kind, self.namespace, name))

    def patch(self, api: str, kind: str, name: str, body: Object, manager: str = "kubectl-edit") -> Object:
        return self.kube.request("PATCH", self.path(api, kind, name), query={"fieldManager": manager}, body=body, content_type=MERGE_PATCH)

    def make(self, obj: Object, manager: str = "kubectl-create") -> Object:
        resource = self.kube.resource(obj["apiVersion"], obj["kind"])
        return self.kube.request("POST", resource.path(self.namespace), query={"fieldManager": manager}, body=obj)


@pytest.fixture
def project(kube: Kube, namespace: str) -> Deployed:
    return Deployed(kube, namespace)


@pytest.fixture
def spare(kube: Kube) -> Iterator[str]:
    """The name of a namespace that is not there."""
    name = f"devloop-test-{secrets.token_hex(4)}"
    yield name
    try:
        kube.request("DELETE", f"/api/v1/namespaces/{name}")
    except ApiError as error:
        if error.status not in (404, 409):
            raise


def pod_spec(command: str = "exec sleep 600", **more: Any) -> Object:
    return {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", command]}], **more}


def deployment(name: str = "web", *, replicas: int = 0, label: str = "web", **more: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": label}},
        "template": {"metadata": {"labels": {"app": label}}, "spec": pod_spec(**more)}}}


def job(name: str = "once", command: str = "true", **more: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "backoffLimit": 0, "template": {"spec": {**pod_spec(command), "restartPolicy": "Never"}}, **more}}


def secret(**texts: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": texts}


def pod(command: str = "exec sleep 600", name: str = "bare") -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(command)}


def config(name: str = "settings", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def service(name: str = "web", **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "name": "http"}, {"port": 81, "name": "more"}], **spec}}


def claim(name: str = "data", **more: Any) -> Object:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **more}}


def has(kube: Kube, api_version: str, kind: str) -> bool:
    try:
        kube.resource(api_version, kind)
    except ApiError:
        return False
    return True


# --- applying

def test_the_first_deploy_creates_everything_and_the_next_one_changes_nothing(project: Deployed) -> None:
    objects = [deployment(), config(a="1"), service(), job(), secret(k="v")]
    names = ["configmap/settings", "deployment/web", "job/once", "secret/s", "service/web"]
    assert project.deploy(*objects) == [f"created {name}" for name in names]
    assert [str(w) for w in project.workloads] == ["deployment/web", "job/once"]
    assert {w.namespace for w in project.workloads} == {project.namespace}
    live = project.live("apps/v1", "Deployment", "web")
    assert live
    assert live["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "devloop", "devloop.dev/name": PROJECT}
    assert live["spec"]["template"]["metadata"]["labels"] == {"app": "web", "devloop.dev/name": PROJECT}
    assert [m["manager"] for m in live["metadata"]["managedFields"] if m["operation"] == "Apply"] == ["devloop"]
    before = project.kube.get(inventory_path(project.namespace, PROJECT))["metadata"]["resourceVersion"]
    assert project.deploy(*objects) == [f"unchanged {name}" for name in names]
    project.restart()
    assert project.deploy(*objects) == [f"unchanged {name}" for name in names]
    assert [str(w) for w in project.workloads] == ["deployment/web", "job/once"]
    assert project.kube.get(inventory_path(project.namespace, PROJECT))["metadata"]["resourceVersion"] == before


def test_a_new_image_changes_the_workload_alone(project: Deployed) -> None:
    project.deploy(deployment(), config(a="1"), image="one")
    assert project.deploy(deployment(), config(a="1"), image="two") == ["configured deployment/web", "unchanged configmap/settings"]
    live = project.live("apps/v1", "Deployment", "web")
    assert live
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "busybox:two"


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_deleted_by_hand_comes_back(project: Deployed, restart: bool) -> None:
    project.deploy(deployment(), config(a="1"))
    project.kube.request("DELETE", project.path("v1", "ConfigMap", "settings"))
    if restart:
        project.restart()
    assert project.deploy(deployment(), config(a="1")) == ["created configmap/settings", "unchanged deployment/web"]


def test_what_was_edited_by_hand_is_noticed_though_the_manifest_is_the_same(project: Deployed) -> None:
    project.deploy(config(a="1", b="1"))
    project.patch("v1", "ConfigMap", "settings", {"data": {"c": "theirs"}})
    assert project.deploy(config(a="1", b="1")) == ["unchanged configmap/settings"]
    project.patch("v1", "ConfigMap", "settings", {"data": {"a": "2", "b": None}})
    assert "'kubectl-edit' (kubectl edit) has set .data.a" in project.error(config(a="1", b="1")).message
    project.force = True
    project.restart()
    assert project.deploy(config(a="1", b="1")) == ["configured configmap/settings"]
    assert (project.live("v1", "ConfigMap", "settings") or {})["data"] == {"a": "1", "b": "1", "c": "theirs"}


def test_a_key_that_left_the_manifest_leaves_the_object(project: Deployed) -> None:
    project.deploy(config(a="1", b="2"), secret(a="1", b="2"))
    assert project.deploy(config(a="1"), secret(a="ü")) == ["configured configmap/settings", "configured secret/s"]
    settings, live = project.live("v1", "ConfigMap", "settings"), project.live("v1", "Secret", "s")
    assert settings
    assert live
    assert settings["data"] == {"a": "1"}
    assert {k: base64.b64decode(v).decode() for k, v in live["data"].items()} == {"a": "ü"}


def test_exported_manifests_with_the_servers_own_fields_are_taken(project: Deployed) -> None:
    project.deploy(deployment(), service())
    exported = [project.live("apps/v1", "Deployment", "web"), project.live("v1", "Service", "web")]
    assert all(exported)
    assert project.deploy(*(o for o in exported if o)) == ["configured deployment/web", "configured service/web"]


def test_the_namespace_in_a_manifest_wins_and_one_that_is_missing_is_an_error(project: Deployed, spare: str) -> None:
    elsewhere = {**config(a="1"), "metadata": {"name": "settings", "namespace": spare}}
    error = project.error(elsewhere, config("here"))
    assert f'namespaces "{spare}" not found' in error.message
    assert "configmap/settings (k8s/all.yaml:1)" in error.message
    assert f"kubectl create namespace {spare}" in error.hint
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spare}}
    assert project.deploy(elsewhere, namespace) == ["created configmap/settings", f"created namespace/{spare}", "deleted configmap/here"]


def test_two_manifests_for_the_same_object_are_an_error(project: Deployed) -> None:
    error = project.error(config(), {**config(), "metadata": {"name": "settings", "namespace": project.namespace}})
    assert "configmap/settings (k8s/all.yaml:2) is there already, in k8s/all.yaml:1" in error.message


# --- replacing what cannot be changed

def test_a_job_with_another_template_runs_again_and_a_finished_one_does_not(project: Deployed) -> None:
    def finished() -> bool:
        return bool(((project.live("batch/v1", "Job", "once") or {}).get("status") or {}).get("succeeded"))

    project.deploy(job())
    eventually(finished)
    assert project.deploy(job()) == ["unchanged job/once"]
    assert finished()
    assert project.deploy(job(command="echo again")) == ["replaced job/once"]
    assert [e.reason for e in project.events if isinstance(e, ObjectApplied)] == ["Kubernetes cannot change spec.template of a Job"]
    eventually(finished)


def test_a_running_job_is_replaced_without_waiting_for_a_process_that_ignores_the_signal(project: Deployed) -> None:
    stubborn = job(command=STUBBORN)
    del stubborn["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    project.deploy(stubborn)
    eventually(lambda: project.phases == ["Running"])
    old = project.live("batch/v1", "Job", "once")
    assert project.deploy(job(command="true")) == ["replaced job/once"]
    new = project.live("batch/v1", "Job", "once")
    assert old
    assert new
    assert old["metadata"]["uid"] != new["metadata"]["uid"]
    assert any(isinstance(e, StepProgress) and e.subject == "job/once" for e in project.events)


def test_a_job_that_cleans_itself_up_runs_once_in_a_session(project: Deployed) -> None:
    vanishing = job(command="exec sleep 600", ttlSecondsAfterFinished=0)
    project.deploy(vanishing)
    assert [str(w) for w in project.workloads] == ["job/once"]
    # as its clean-up does, which Kubernetes before 1.21 may have switched off: that of a Job that ends might come first, or be under way
    project.kube.request("DELETE", project.path("batch/v1", "Job", "once"), body={"propagationPolicy": "Background"})
    assert project.deploy(vanishing) == ["unchanged job/once"]
    assert project.workloads == ()
    assert project.deploy(job(command="echo", ttlSecondsAfterFinished=0)) == ["created job/once"]


def test_a_job_that_has_run_and_is_just_being_cleaned_up_is_not_waited_for(project: Deployed) -> None:
    held = job(command="exec sleep 600", ttlSecondsAfterFinished=0)
    held["metadata"]["finalizers"] = ["example.org/held"]
    project.deploy(held)
    project.kube.request("DELETE", project.path("batch/v1", "Job", "once"), body={"propagationPolicy": "Background"})

    def let_go(event: Event) -> None:
        if isinstance(event, StepProgress) and "waiting until the old Job is gone" in event.detail:
            project.patch("batch/v1", "Job", "once", {"metadata": {"finalizers": None}})

    assert project.deploy(held, hear=let_go) == ["unchanged job/once"]
    assert project.workloads == ()


def test_immutable_configs_a_pod_a_selector_and_a_cluster_ip_are_replaced(project: Deployed) -> None:
    sealed = {"immutable": True}
    names = ["configmap/settings", "deployment/web", "pod/bare", "secret/s", "service/web"]
    project.deploy(pod(), config(a="1") | sealed, secret(a="1") | sealed, deployment(), service(type="NodePort"))
    others = [pod("exec sleep 700"), config(a="2") | sealed, secret(a="2") | sealed, deployment(label="other"), service(clusterIP="None")]
    assert project.deploy(*others) == [f"replaced {name}" for name in names]
    live = project.live("v1", "ConfigMap", "settings")
    assert live
    assert live["data"] == {"a": "2"}
    reasons = {e.resource: e.reason for e in project.events if isinstance(e, ObjectApplied)}
    assert reasons["deployment/web"] == "Kubernetes cannot change spec.selector of a Deployment"
    assert reasons["configmap/settings"] == "Kubernetes cannot change data of a ConfigMap"
    assert project.delete() == [f"deleted {name}" for name in names]


def test_a_statefulset_with_another_selector_or_volume_template_is_replaced(project: Deployed) -> None:
    def stateful(label: str, storage: str) -> Object:
        return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
            "replicas": 0, "serviceName": "db", "selector": {"matchLabels": {"app": label}}, "volumeClaimTemplates": [claim(
                "v", resources={"requests": {"storage": storage}})],
            "template": {"metadata": {"labels": {"app": label}}, "spec": pod_spec()}}}

    project.deploy(stateful("a", "1Mi"))
    assert project.deploy(stateful("a", "1Mi")) == ["unchanged statefulset/db"]
    assert project.deploy(stateful("a", "2Mi")) == ["replaced statefulset/db"]
    assert project.deploy(stateful("b", "2Mi")) == ["replaced statefulset/db"]


def test_a_manifest_that_is_wrong_besides_does_not_cost_the_running_object(project: Deployed) -> None:
    project.deploy(job())
    before = project.live("batch/v1", "Job", "once")
    wrong = job(command="other")
    wrong["spec"]["template"]["spec"]["containers"][0]["name"] = "NOT VALID"
    error = project.error(wrong)
    assert "containers[0].name" in error.message
    assert before
    assert (project.live("batch/v1", "Job", "once") or {})["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_claim_is_never_replaced(project: Deployed) -> None:
    project.deploy(claim())
    before = project.live("v1", "PersistentVolumeClaim", "data")
    error = project.error(claim(accessModes=["ReadWriteMany"]))
    assert "the data in it would be lost" in error.message
    assert f"kubectl delete persistentvolumeclaim data -n {project.namespace}" in error.hint
    assert before
    assert (project.live("v1", "PersistentVolumeClaim", "data") or {})["metadata"]["uid"] == before["metadata"]["uid"]


# --- other managers

@pytest.mark.parametrize("manager", ["kubectl-client-side-apply", "kubectl-create", "argocd"])
def test_another_managers_field_is_named_and_taken_only_by_force(project: Deployed, manager: str) -> None:
    project.make(deployment(), manager)
    theirs = deployment()
    theirs["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:ours"
    error = project.error(theirs)
    assert "deployment/web (k8s/all.yaml:1)" in error.message
    assert f"'{manager}'" in error.message
    assert '.spec.template.spec.containers[name="c"].image' in error.message
    assert "--force" in error.hint
    project.force = True
    project.restart()
    assert project.deploy(theirs) == ["configured deployment/web"]
    project.force = False
    project.restart()
    theirs["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:ours-again"
    assert project.deploy(theirs) == ["configured deployment/web"]


def test_scaling_by_hand_is_a_conflict_that_says_what_else_to_do(project: Deployed) -> None:
    project.deploy(deployment())
    project.patch("apps/v1", "Deployment", "web", {"spec": {"replicas": 1}}, "kubectl-scale")
    error = project.error(deployment())
    assert "'kubectl-scale' (kubectl scale) has set .spec.replicas" in error.message
    assert "remove replicas" in error.hint


# --- refusals

def test_a_misspelt_field_an_invalid_value_and_an_unknown_kind_are_told_with_their_place(project: Deployed) -> None:
    misspelt = deployment()
    misspelt["spec"]["replica"] = 1
    error = project.error(misspelt)
    assert ".spec.replica: field not declared in schema" in error.message
    assert "deployment/web (k8s/all.yaml:1)" in error.message
    assert "kubectl explain deployment" in error.hint
    invalid = project.error(deployment(restartPolicy="Sometimes"))
    assert "spec.template.spec.restartPolicy" in invalid.message
    unknown = project.error({"apiVersion": "apps/v1", "kind": "Job", "metadata": {"name": "j"}})
    assert "job/j (k8s/all.yaml:1): the cluster has no kind Job in apps/v1" in unknown.message
    assert "batch/v1" in unknown.hint


def test_several_refusals_are_told_together_and_workloads_wait(project: Deployed) -> None:
    bad = {**config("a"), "data": {"no good": "1"}}
    error = project.error(bad, {**bad, "metadata": {"name": "b"}}, deployment())
    assert "configmap/a" in error.message + "".join(error.details)
    assert "configmap/b" in error.message + "".join(error.details)
    assert project.live("apps/v1", "Deployment", "web") is None
    assert project.deploy(config("a"), deployment()) == ["created configmap/a", "created deployment/web"]


def test_a_quota_is_named(project: Deployed) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"services": "0"}}}
    project.deploy(quota)

    def in_force() -> bool:
        try:
            project.kube.request("POST", f"/api/v1/namespaces/{project.namespace}/services", query={"dryRun": "All"}, body=service("probe"))
        except ApiError as error:
            return "exceeded quota" in error.message
        return False

    eventually(in_force)      # what the API server checks it by is a moment behind the quota's status
    error = project.error(quota, service())
    assert "exceeded quota: q" in error.message
    assert f"kubectl describe quota -n {project.namespace}" in error.hint


def test_a_webhook_that_does_not_answer_is_explained(project: Deployed) -> None:
    name = f"{project.namespace}.example.org"
    hook = {"metadata": {"name": name}, "webhooks": [{
        "name": name, "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"hooked": project.namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"]}]}]}
    project.kube.request("PATCH", f"/api/v1/namespaces/{project.namespace}", body={"metadata": {"labels": {"hooked": project.namespace}}},
                         content_type=MERGE_PATCH)
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    project.kube.request("POST", path, body=hook)
    try:
        def refused() -> str:
            try:
                project.deploy(service())
            except DeployError as error:
                return error.message + error.hint
            project.delete()
            return ""

        eventually(refused)       # the API server takes a moment to notice a new webhook
        assert f'failed calling webhook "{name}"' in refused()
        assert "does its pod run?" in refused()
    finally:
        project.kube.request("DELETE", f"{path}/{name}")


@pytest.fixture
def developer(kube: Kube, powerless: str, namespace: str) -> Iterator[Kube]:
    """Somebody who may edit what is in the namespace, and nothing else: no namespaces, no roles."""
    kube.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", body={
        "metadata": {"name": "edit"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]})
    client = Kube(kubeconfig=powerless)

    def may_edit() -> bool:
        try:
            return bool(client.get(f"/api/v1/namespaces/{namespace}/configmaps"))
        except ApiError:
            return False

    eventually(may_edit)
    yield client
    client.close()


def test_rights_to_the_namespaces_contents_are_enough_and_a_missing_right_is_named(developer: Kube, namespace: str) -> None:
    project = Deployed(developer, namespace)
    assert project.deploy(config(a="1"), deployment()) == ["created configmap/settings", "created deployment/web"]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": []}
    error = project.error(config(a="1"), role)
    assert "role/r (k8s/all.yaml:2)" in error.message
    assert 'cannot get resource "roles"' in error.message
    assert f"kubectl auth can-i --list -n {namespace}" in error.hint
    assert project.delete() == ["deleted configmap/settings", "deleted deployment/web"]


def test_an_inventory_that_was_tampered_with_is_an_error_that_says_what_to_do(project: Deployed) -> None:
    project.deploy(config(a="1"))
    project.patch("v1", "ConfigMap", f"devloop-{PROJECT}", {"data": {"objects": "oops"}})
    error = project.error(config(a="1"))
    assert f"configmap/devloop-{PROJECT} in namespace {project.namespace}" in error.message
    assert f"kubectl delete -n {project.namespace} configmap devloop-{PROJECT}" in error.hint


def test_two_sessions_at_once_do_not_harm_each_other(kube: Kube, spare: str) -> None:
    sessions = [Deployed(kube, spare) for _ in range(4)]
    objects = [config(a="1"), service(), deployment(), secret(a="1")]
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(session.deploy, *objects) for session in sessions]:
            future.result()
        assert sessions[0].deploy(*objects) == ["unchanged configmap/settings", "unchanged deployment/web", f"unchanged namespace/{spare}",
                                                "unchanged secret/s", "unchanged service/web"]
        for future in [pool.submit(session.delete) for session in sessions]:
            future.result()
    assert {done for session in sessions for done in session.done} == {
        "deleted configmap/settings", "deleted deployment/web", f"deleted namespace/{spare}", "deleted secret/s", "deleted service/web"}


# --- what left the manifests

@pytest.mark.parametrize("restart", [False, True])
def test_what_left_the_manifests_is_removed_but_volumes_stay(project: Deployed, restart: bool) -> None:
    project.deploy(deployment(), config(a="1"), service(), claim())
    if restart:
        project.restart()
    assert project.deploy(deployment()) == ["deleted configmap/settings", "deleted service/web", "unchanged deployment/web"]
    assert "persistentvolumeclaim/data is no longer in the manifests, but stays" in project.notices
    assert project.live("v1", "PersistentVolumeClaim", "data")
    assert project.deploy(deployment()) == ["unchanged deployment/web"]
    assert project.notices == ""


def test_another_api_version_of_the_same_object_is_not_taken_for_its_removal(project: Deployed) -> None:
    def ingress(api: str, backend: Object) -> Object:
        return {"apiVersion": api, "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [
            {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}

    def autoscaler(api: str, **cpu: Any) -> Object:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        return {"apiVersion": api, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
            "scaleTargetRef": target, "maxReplicas": 3, **cpu}}

    if has(project.kube, "extensions/v1beta1", "Ingress"):      # before Kubernetes 1.22: in two API groups
        old = ingress("extensions/v1beta1", {"serviceName": "web", "servicePort": 80})
        new = ingress("networking.k8s.io/v1", {"service": {"name": "web", "port": {"number": 80}}})
    else:
        old = autoscaler("autoscaling/v1", targetCPUUtilizationPercentage=50)
        new = autoscaler("autoscaling/v2", metrics=[
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}])
    name = str(ObjectRef.of(new))
    project.deploy(old)
    assert project.deploy(new) == [f"configured {name}"]
    assert project.deploy(new) == [f"unchanged {name}"]
    assert project.delete() == [f"deleted {name}"]


def test_an_object_that_was_there_before_stays_when_it_leaves_and_at_delete(project: Deployed) -> None:
    project.make(config("before", a="1"))
    project.make(config("also", a="1"))
    assert project.deploy(config("before", a="1"), config("also", a="1")) == ["configured configmap/also", "configured configmap/before"]
    assert project.deploy(config("before", a="1")) == ["unchanged configmap/before"]
    assert "configmap/also is no longer in the manifests, but stays: was not created by devloop" in project.notices
    assert project.delete() == []
    assert "configmap/before" in project.notices
    assert project.live("v1", "ConfigMap", "before")


def test_an_object_that_another_project_has_taken_over_stays(project: Deployed) -> None:
    other = Deployed(project.kube, project.namespace, "other")
    project.deploy(config(a="1"))
    other.deploy(config(a="1"))
    assert project.delete() == []
    assert project.live("v1", "ConfigMap", "settings")


def test_nothing_is_orphaned_by_a_session_that_dies_in_the_middle(project: Deployed) -> None:
    cancel = Cancel()

    def die(event: Event) -> None:
        if isinstance(event, ObjectApplied):
            cancel.cancel("killed")

    manifests = render([Manifest(o, "a.yaml") for o in (config(a="1"), service(), deployment())], [], name=PROJECT).manifests
    with pytest.raises(Cancelled):
        project.applier.deploy(manifests, die, cancel)
    project.restart()
    assert project.delete() == ["deleted configmap/settings"]
    assert project.live("v1", "ConfigMap", f"devloop-{PROJECT}") is None


# --- delete

def test_delete_removes_everything_but_volumes_and_namespaces_that_were_there(project: Deployed) -> None:
    mounted = deployment(replicas=2, volumes=[{"name": "v", "configMap": {"name": "settings"}}])
    batch = "batch/v1" if has(project.kube, "batch/v1", "CronJob") else "batch/v1beta1"      # before Kubernetes 1.21
    cron = {"apiVersion": batch, "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {**pod_spec(), "restartPolicy": "Never"}}}}}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": project.namespace}}
    project.deploy(mounted, config(a="1"), service(), claim(), cron, namespace)
    eventually(lambda: len(project.phases) == 2)
    project.restart()
    assert project.delete() == ["deleted configmap/settings", "deleted cronjob/c", "deleted deployment/web", "deleted service/web"]
    assert project.phases == []
    assert f"namespace/{project.namespace}" in project.notices
    assert "persistentvolumeclaim/data stays" in project.notices
    assert project.live("v1", "PersistentVolumeClaim", "data")
    assert project.live("v1", "ConfigMap", f"devloop-{PROJECT}") is None
    assert project.delete() == []


def test_delete_takes_the_projects_own_claims_where_it_is_told_to(project: Deployed) -> None:
    project.make(claim("theirs"), "kubectl-create")
    mounted = pod_spec(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "theirs"}}])
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": [claim("v1")],
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": mounted}}}
    project.deploy(claim(), stateful)
    eventually(lambda: project.pods)      # running or not: their claims are known
    assert project.delete(volumes=True) == ["deleted persistentvolumeclaim/data", "deleted persistentvolumeclaim/v1-db-0",
                                            "deleted statefulset/db"]
    assert "persistentvolumeclaim/theirs stays, with its data" in project.notices
    eventually(lambda: not project.live("v1", "PersistentVolumeClaim", "data"))
    assert project.live("v1", "PersistentVolumeClaim", "theirs")


def test_delete_is_quick_for_pods_that_ignore_the_signal_and_says_what_takes_longer(project: Deployed) -> None:
    slow, web = pod(STUBBORN, "slow"), deployment(replicas=1)
    slow["spec"]["terminationGracePeriodSeconds"] = 20
    web["spec"]["template"]["spec"] = pod_spec(STUBBORN)
    del web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    project.deploy(web, slow)
    eventually(lambda: project.phases == ["Running", "Running"])
    assert project.delete() == ["deleted deployment/web", "deleted pod/slow"]
    assert [p["metadata"]["name"] for p in project.pods] == ["slow"]
    assert "still ending by themselves (up to 20 s): pod/slow" in project.notices
    project.kube.request("DELETE", project.path("v1", "Pod", "slow"), body={"gracePeriodSeconds": 0})


def test_delete_can_be_cancelled_while_it_waits_for_pods(project: Deployed) -> None:
    slow = pod(STUBBORN, "slow")
    slow["spec"]["terminationGracePeriodSeconds"] = 15
    project.deploy(slow)
    eventually(lambda: project.phases == ["Running"])
    cancel = Cancel()
    with pytest.raises(Cancelled):
        project.applier.delete(lambda event: cancel.cancel() if isinstance(event, StepProgress) else None, cancel)
    assert project.phases
    project.kube.request("DELETE", project.path("v1", "Pod", "slow"), body={"gracePeriodSeconds": 0})


def test_delete_without_anything_there_is_no_error(project: Deployed, spare: str) -> None:
    assert project.delete() == []
    assert Deployed(project.kube, spare).delete() == []


def test_a_namespace_that_is_missing_is_made_and_goes_with_what_is_in_it(kube: Kube, spare: str) -> None:
    project = Deployed(kube, spare)
    assert project.deploy(config(a="1")) == ["created configmap/settings", f"created namespace/{spare}"]
    project.restart()
    assert project.deploy(config(a="1")) == ["unchanged configmap/settings", f"unchanged namespace/{spare}"]
    assert project.delete() == ["deleted configmap/settings", f"deleted namespace/{spare}"]
    project.restart()
    assert project.deploy(config(a="2")) == ["created configmap/settings", f"created namespace/{spare}"]


def test_a_bare_pod_can_be_the_first_thing_in_a_new_namespace(kube: Kube, spare: str) -> None:
    project = Deployed(kube, spare)
    assert project.deploy(pod()) == [f"created namespace/{spare}", "created pod/bare"]
    assert project.delete() == [f"deleted namespace/{spare}", "deleted pod/bare"]


@pytest.mark.parametrize("tenant", ["claim", "pod", "project"])
def test_a_namespace_with_something_else_in_it_stays(kube: Kube, spare: str, tenant: str) -> None:
    project = Deployed(kube, spare)
    project.deploy(config(a="1"))
    if tenant == "claim":
        project.make(claim("theirs"))
    elif tenant == "pod":
        await_service_account(kube, spare)
        project.make(pod(name="theirs"))
    else:
        Deployed(kube, spare, "theirs").deploy(config("b"))
    assert project.delete() == ["deleted configmap/settings"]
    assert f"namespace/{spare} stays, because" in project.notices
    assert "theirs" in project.notices


# --- custom resources

@pytest.fixture
def crd(kube: Kube) -> Iterator[Object]:
    group = f"t{secrets.token_hex(4)}.example.org"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    names = {"kind": "Rollout", "plural": "rollouts", "singular": "rollout", "listKind": "RolloutList"}
    yield {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"rollouts.{group}"}, "spec": {
        "group": group, "scope": "Namespaced", "names": names,
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}}
    try:
        kube.request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rollouts.{group}")
    except ApiError as error:
        if error.status != 404:
            raise


def rollout(crd: Object, name: str = "r") -> Object:
    return {"apiVersion": f"{crd['spec']['group']}/v1", "kind": "Rollout", "metadata": {"name": name}, "spec": {
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec()}}}


PATHS = [ImagePaths(kind="Rollout", paths=[".spec.template.spec.containers[*].image"])]


def test_a_definition_and_its_objects_deploy_in_one_go_with_their_images(project: Deployed, crd: Object) -> None:
    assert project.deploy(rollout(crd), crd, image="two", image_paths=PATHS) == [
        f"created customresourcedefinition/{crd['metadata']['name']}", "created rollout/r"]
    live = project.live(f"{crd['spec']['group']}/v1", "Rollout", "r")
    assert live
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "busybox:two"
    assert live["spec"]["template"]["metadata"]["labels"] == {"a": "b", NAME: PROJECT}
    project.restart()
    assert project.deploy(rollout(crd), crd, image="three", image_paths=PATHS) == [
        "configured rollout/r", f"unchanged customresourcedefinition/{crd['metadata']['name']}"]
    assert project.delete() == [f"deleted customresourcedefinition/{crd['metadata']['name']}", "deleted rollout/r"]


def test_a_definition_stays_while_others_have_objects_of_it(project: Deployed, crd: Object) -> None:
    project.deploy(crd, rollout(crd))
    project.make(rollout(crd, "theirs"))
    assert project.delete() == ["deleted rollout/r"]
    assert f"{crd['metadata']['name']} stays, because there are other objects of its kind (theirs" in project.notices


def test_a_finalizer_that_nobody_handles_is_told_and_holds_nothing_else_up(project: Deployed, crd: Object) -> None:
    held = rollout(crd)
    held["metadata"]["finalizers"] = ["example.org/never"]
    project.deploy(crd, held, config(a="1"))
    assert project.delete() == [
        "deleted configmap/settings", f"deleted customresourcedefinition/{crd['metadata']['name']}", "deleted rollout/r"]
    assert "rollout/r is deleted but held by the finalizers example.org/never" in project.notices
    project.patch(f"{crd['spec']['group']}/v1", "Rollout", "r", {"metadata": {"finalizers": None}})
