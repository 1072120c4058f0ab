"""Server-side apply, as a current API server does it (tests/cluster/test_local_api.py compares with the real one)."""

from __future__ import annotations

from typing import Any

from devloop.local.kinds import DEPLOYMENTS, SERVICES
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.model import Object
from tests.unit.local.objects import apply, container, template, thing, workload

PROBE = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5}


def deployment(*containers: Object, **spec: Any) -> Object:
    return workload("Deployment", pod=template(*containers), **spec)


def web(applied: Object) -> Object:
    found: Object = applied["spec"]["template"]["spec"]["containers"][0]
    return found


def test_what_is_left_out_is_filled_in(kube: LocalKube) -> None:
    made = apply(kube, deployment(container(image="web", ports=[{"containerPort": 80}], readinessProbe={"httpGet": {"port": 80}})))
    assert made["spec"] | {"template": None, "selector": None} == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "template": None, "selector": None,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}
    assert web(made) == {
        "name": "web", "image": "web", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                           "successThreshold": 1, "failureThreshold": 3}}
    spec = made["spec"]["template"]["spec"]
    assert {key: spec[key] for key in spec if key != "containers"} == {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
        "schedulerName": "default-scheduler"}


def test_the_older_name_of_the_service_account_is_the_same(kube: LocalKube) -> None:
    made = apply(kube, workload("Deployment", pod=template(serviceAccount="reader")))
    assert made["spec"]["template"]["spec"]["serviceAccountName"] == "reader"


def test_the_same_again_changes_nothing(kube: LocalKube) -> None:
    service = thing("Service", "web", spec={"ports": [{"port": 80}], "selector": {"app": "web"}})
    first = apply(kube, service)
    assert apply(kube, service)["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    for _ in range(2):
        assert apply(kube, deployment())["metadata"]["generation"] == 1


def test_what_is_no_longer_said_goes_and_its_default_comes_back(kube: LocalKube) -> None:
    apply(kube, deployment(container(readinessProbe=PROBE, env=[{"name": "A", "value": "1"}]), replicas=3, paused=True))
    made = apply(kube, deployment())
    assert "readinessProbe" not in web(made)
    assert "env" not in web(made)
    assert made["spec"]["replicas"] == 1
    assert "paused" not in made["spec"]


def test_another_kind_of_probe_or_volume_leaves_nothing_of_the_one_before(kube: LocalKube) -> None:
    volume = {"name": "v", "configMap": {"name": "x"}}
    apply(kube, workload("Deployment", pod=template(container(livenessProbe=PROBE), volumes=[volume])))
    made = apply(kube, workload("Deployment", pod=template(container(livenessProbe={"tcpSocket": {"port": 80}}),
                                                           volumes=[{"name": "v", "emptyDir": {}}])))
    assert web(made)["livenessProbe"] == {"tcpSocket": {"port": 80}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                                          "failureThreshold": 3}
    assert made["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_items_are_known_by_their_keys_and_stand_as_they_were_applied(kube: LocalKube) -> None:
    apply(kube, deployment(container(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])))
    made = apply(kube, deployment(container(env=[{"name": "C", "value": "3"}, {"name": "B", "value": "4"}])))
    assert web(made)["env"] == [{"name": "C", "value": "3"}, {"name": "B", "value": "4"}]


def test_what_others_have_set_stays(kube: LocalKube, store: Store) -> None:
    live = apply(kube, thing("Service", "web", spec={"ports": [{"port": 80}], "selector": {"app": "web"}}))
    store.update({**live, "spec": {**live["spec"], "clusterIP": "10.0.0.1"},
                  "metadata": {**live["metadata"], "annotations": {"theirs": "1"}, "labels": {"theirs": "2"}}})
    other = thing("Service", "web", spec={"ports": [{"port": 81}], "selector": {"app": "api"}})
    made = apply(kube, {**other, "metadata": {**other["metadata"], "labels": {"ours": "3"}}})
    assert made["spec"]["clusterIP"] == "10.0.0.1"
    assert [port["port"] for port in made["spec"]["ports"]] == [81]
    assert made["spec"]["selector"] == {"app": "api"}
    made = apply(kube, other)
    assert made["metadata"]["annotations"] == {"theirs": "1"}
    assert made["metadata"]["labels"] == {"theirs": "2"}


def test_nothing_said_is_nothing(kube: LocalKube) -> None:
    made = apply(kube, workload("Deployment", pod=template(container(env=None), volumes=[{"name": "v", "emptyDir": None}])))
    assert made["spec"]["template"]["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert "env" not in web(made)


def test_a_dry_run_tells_what_would_be_and_changes_nothing(kube: LocalKube, store: Store) -> None:
    version = store.version
    assert apply(kube, deployment(replicas=5), dryRun="All")["spec"]["replicas"] == 5
    assert store.get(DEPLOYMENTS, "default", "web") is None
    assert store.version == version


def test_a_secrets_text_becomes_its_data(kube: LocalKube) -> None:
    made = apply(kube, thing("Secret", "s", stringData={"a": "ü"}, data={"b": "Yg=="}))
    assert (made["data"], made["type"]) == ({"a": "w7w=", "b": "Yg=="}, "Opaque")


def test_services_get_free_node_ports_and_keep_them(kube: LocalKube, store: Store) -> None:
    def service(name: str, kind: str, **port: int) -> Object:
        return apply(kube, thing("Service", name, spec={"type": kind, "ports": [{"port": 80, **port}]}))

    service("a", "NodePort", nodePort=30000)
    taken = service("b", "NodePort")["spec"]["ports"][0]["nodePort"]
    assert taken == 30001
    assert service("b", "LoadBalancer")["spec"]["ports"][0]["nodePort"] == taken
    assert "nodePort" not in service("b", "ClusterIP")["spec"]["ports"][0]
    live = store.get(SERVICES, "default", "b")
    assert live
    assert live["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
