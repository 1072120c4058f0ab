from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from devloop.local.pods.environment import environment, service_variables
from devloop.local.pods.expansion import expand
from devloop.local.pods.fields import Facts, field, resource_field
from devloop.local.pods.references import References, Unmet, named
from devloop.local.store import Store
from devloop.model import Object

FACTS = Facts("10.1.2.3", "127.0.0.1", lambda: (4, 8 << 30))


def pod(*containers: Object, **meta: Any) -> Object:
    return {"metadata": {"name": "web-0", "namespace": "shop", "uid": "u", **meta},
            "spec": {"nodeName": "docker", "containers": list(containers)}}


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    meta = {"namespace": "shop"}
    store.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": "c"}, "data": {"a": "1", "not=valid": "2"},
                  "binaryData": {"raw": base64.b64encode(b"\xff").decode()}})
    store.create({"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "name": "s"}, "data": {"p": base64.b64encode(b"pw").decode()}})
    yield store
    store.close()


@pytest.mark.parametrize(("text", "expanded"), [
    ("$(A)", "1"), ("$$(A)", "$(A)"), ("$(NONE)", "$(NONE)"), ("$A", "$A"), ("x$(A)y$(B)", "x1y2"), ("$", "$"), ("$(A", "$(A"), ("$$", "$"),
    ("$()", "$()"), ("$$$(A)", "$1")])
def test_references_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@pytest.mark.parametrize(("path", "value"), [
    ("metadata.name", "web-0"), ("metadata.namespace", "shop"), ("metadata.uid", "u"), ("metadata.labels['app.k8s.io/x']", "y"),
    ("metadata.annotations['none']", ""), ("metadata.labels", 'app.k8s.io/x="y"'), ("spec.nodeName", "docker"),
    ("spec.serviceAccountName", "default"), ("status.podIP", "10.1.2.3"), ("status.hostIP", "127.0.0.1")])
def test_fields_of_a_pod(path: str, value: str) -> None:
    assert field(pod(labels={"app.k8s.io/x": "y"}), path, FACTS) == value


def test_a_field_that_pods_do_not_have_is_told() -> None:
    with pytest.raises(ValueError, match=r"unsupported fieldPath: spec\.nothing"):
        field(pod(), "spec.nothing", FACTS)


@pytest.mark.parametrize(("reference", "value"), [
    ({"resource": "limits.cpu"}, "1"), ({"resource": "limits.cpu", "divisor": "1m"}, "250"),
    ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
    ({"resource": "limits.memory"}, str(8 << 30)), ({"resource": "limits.cpu", "containerName": "other"}, "4"),
    ({"resource": "limits.ephemeral-storage"}, "0")])
def test_resources_of_a_container(reference: Object, value: str) -> None:
    main = {"name": "main", "resources": {"limits": {"cpu": "250m"}}}
    assert resource_field(pod(main, {"name": "other"}), reference, main, FACTS) == value


def test_a_later_source_wins_and_values_refer_to_earlier_ones(store: Store) -> None:
    container = {"name": "main", "envFrom": [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}],
                 "env": [{"name": "a", "value": "own"}, {"name": "b", "value": "$(a) $(S_p) $(later)"}, {"name": "later", "value": "x"},
                         {"name": "empty"}]}
    found = environment(pod(container), container, References(store, "shop"), FACTS)
    assert found == {"a": "own", "raw": "\N{REPLACEMENT CHARACTER}", "S_p": "pw", "b": "own pw $(later)", "later": "x", "empty": ""}


@pytest.mark.parametrize(("entry", "told"), [
    ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
    ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
    ({"configMapKeyRef": {"name": "c", "key": "k"}}, "couldn't find key k in ConfigMap shop/c"),
    ({"secretKeyRef": {"name": "s", "key": "k"}}, "couldn't find key k in Secret shop/s")])
def test_what_is_not_there_is_told_as_a_kubelet_does_unless_it_is_optional(store: Store, entry: Object, told: str) -> None:
    container: Object = {"name": "main", "env": [{"name": "X", "valueFrom": entry}]}
    with pytest.raises(Unmet) as error:
        environment(pod(container), container, References(store, "shop"), FACTS)
    assert str(error.value) == told
    [reference] = entry.values()
    container["env"][0]["valueFrom"] = {next(iter(entry)): {**reference, "optional": True}}
    assert environment(pod(container), container, References(store, "shop"), FACTS) == {}


def test_services_are_told_by_their_addresses() -> None:
    ports = [{"name": "http-web", "port": 80}, {"port": 53, "protocol": "UDP"}]
    found = service_variables([{"metadata": {"name": "my-api"}, "spec": {"clusterIP": "10.0.0.1", "ports": ports}},
                               {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": ports}}])
    assert found == {
        "MY_API_SERVICE_HOST": "10.0.0.1", "MY_API_SERVICE_PORT": "80", "MY_API_SERVICE_PORT_HTTP_WEB": "80",
        "MY_API_PORT": "tcp://10.0.0.1:80",
        "MY_API_PORT_80_TCP": "tcp://10.0.0.1:80", "MY_API_PORT_80_TCP_PROTO": "tcp", "MY_API_PORT_80_TCP_PORT": "80",
        "MY_API_PORT_80_TCP_ADDR": "10.0.0.1", "MY_API_PORT_53_UDP": "udp://10.0.0.1:53", "MY_API_PORT_53_UDP_PROTO": "udp",
        "MY_API_PORT_53_UDP_PORT": "53", "MY_API_PORT_53_UDP_ADDR": "10.0.0.1"}


def test_all_objects_that_a_pod_names_are_known() -> None:
    container = {"name": "main", "envFrom": [{"secretRef": {"name": "a"}}],
                 "env": [{"name": "x", "valueFrom": {"configMapKeyRef": {"name": "b"}}}]}
    spec = pod(container)
    spec["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "c"}},
                               {"name": "w", "projected": {"sources": [{"configMap": {"name": "d"}}]}}]
    assert named(spec) == {("Secret", "a"), ("ConfigMap", "b"), ("Secret", "c"), ("ConfigMap", "d")}
