from __future__ import annotations

from typing import Any

import pytest

from devloop.forward.target import Unresolved, candidates, local_number, parse, selector


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "name": "http", "targetPort": "web"}, {"port": 443, "targetPort": 8443},
             {"port": 53, "name": "dns", "protocol": "UDP"}, {"port": 9090, "name": "metrics"}]
    return {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}}


def pod(name: str, *, created: str = "2026-01-01T00:00:00Z", revision: str = "a", ready: bool = True, ending: bool = False,
        phase: str = "Running", node: str = "n1", web: int = 8080) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "creationTimestamp": created, "labels": {"pod-template-hash": revision}}
    if ending:
        meta["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    return {"metadata": meta, "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": web, "name": "web"}]}]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}}


def names(*pods: dict[str, Any], port: int | str = "http") -> list[str]:
    by_uid = {p["metadata"]["uid"]: p for p in pods}
    seen = {uid: number for number, uid in enumerate(by_uid)}
    return [c.pod.name for c in candidates(parse("service/web"), service(), port, by_uid, seen)]


def port_of(resource: str, obj: dict[str, Any], port: int | str, the_pod: dict[str, Any] | None = None) -> int:
    the_pod = the_pod or pod("p")
    return candidates(parse(resource), obj, port, {"uid-p": the_pod}, {})[0].port


@pytest.mark.parametrize(("port", "number"), [(80, 8080), ("http", 8080), (443, 8443), ("metrics", 9090)])
def test_a_services_port_leads_to_its_target_port(port: int | str, number: int) -> None:
    assert port_of("service/web", service(), port) == number


def test_a_named_target_port_is_each_pods_own() -> None:
    pods = {"uid-p": pod("p", web=1111), "uid-q": pod("q", web=2222)}
    assert {c.pod.name: c.port for c in candidates(parse("service/web"), service(), "http", pods, {})} == {"p": 1111, "q": 2222}


def test_an_unknown_service_port_names_those_there_are() -> None:
    with pytest.raises(Unresolved, match=r"no port 81 \(it has 80 \(http\), 443, 9090 \(metrics\)\)"):
        port_of("service/web", service(), 81)


def test_udp_ports_cannot_be_forwarded() -> None:
    with pytest.raises(Unresolved):
        port_of("service/web", service(), "dns")


def test_a_headless_service_translates_no_ports() -> None:
    assert port_of("service/web", service(clusterIP="None"), 8080) == 8080


def test_a_workloads_port_is_its_pods() -> None:
    assert port_of("deployment/web", {}, 5005) == 5005
    assert port_of("deployment/web", {}, "web") == 8080


def test_an_unknown_port_name_names_the_containers_ports() -> None:
    with pytest.raises(Unresolved, match=r"no container of pod p has a port named 'debug' \(it has 8080 \(web\)\)"):
        port_of("deployment/web", {}, "debug")


def test_a_service_without_selector_leads_nowhere() -> None:
    with pytest.raises(Unresolved, match="selects no pods"):
        selector(parse("service/web"), {"spec": {"type": "ExternalName"}})


def test_selectors() -> None:
    assert selector(parse("service/web"), service()) == "app=web"
    expression = {"key": "a", "operator": "In", "values": ["b"]}
    assert selector(parse("deployment/web"), {"spec": {"selector": {"matchExpressions": [expression]}}}) == "a in (b)"


def test_the_local_port_of_a_named_port() -> None:
    assert local_number(parse("service/web"), service(), "http") == 80
    assert local_number(parse("deployment/web"), {"spec": {"template": {"spec": pod("p")["spec"]}}}, "web") == 8080
    assert local_number(parse("pod/p"), pod("p"), "nope") == 0


def test_a_pod_counts_from_the_moment_it_has_a_node_and_until_it_has_finished() -> None:
    assert names(pod("pending", phase="Pending", ready=False)) == ["pending"]
    assert names(pod("unscheduled", node=""), pod("done", phase="Succeeded")) == []


def test_the_newest_revision_comes_first_even_before_it_is_ready() -> None:
    old = pod("old", revision="a", created="2026-01-01T00:00:00Z")
    new = pod("new", revision="b", created="2026-01-01T00:05:00Z", ready=False)
    assert names(old, new) == ["new", "old"]


def test_a_late_replica_of_an_old_revision_is_still_old() -> None:
    old, new = pod("old", revision="a", created="2026-01-01T00:00:00Z"), pod("new", revision="b", created="2026-01-01T00:05:00Z")
    late = pod("late", revision="a", created="2026-01-01T00:06:00Z")
    assert names(old, new, late)[0] == "new"


def test_of_one_revision_the_ready_come_first_then_the_newest() -> None:
    a, b = pod("a", created="2026-01-01T00:00:00Z"), pod("b", created="2026-01-01T00:00:01Z")
    c = pod("c", created="2026-01-01T00:00:02Z", ready=False)
    assert names(a, b, c) == ["b", "a", "c"]


def test_ending_pods_come_last() -> None:
    ending = pod("ending", revision="b", created="2026-01-01T00:05:00Z", ending=True)
    assert names(ending, pod("old", revision="a")) == ["old", "ending"]


def test_two_saves_within_a_second_are_told_apart_by_their_coming() -> None:
    assert names(pod("first", revision="a"), pod("second", revision="b")) == ["second", "first"]


@pytest.mark.parametrize(("made_by", "half_closes"), [("docker://1", True), ("containerd://1", False), ("cri-o://1", False), ("", False)])
def test_the_runtime_that_made_the_containers_decides_about_half_closes(made_by: str, half_closes: bool) -> None:
    made = pod("p")
    made["status"]["containerStatuses"] = [{"name": "c", "containerID": made_by}]
    [candidate] = candidates(parse("service/web"), service(), "http", {"uid-p": made}, {})
    assert candidate.pod.half_closes == half_closes
