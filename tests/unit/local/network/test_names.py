"""Endpoints, names, tables and sandboxes, as objects say."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from devloop.errors import ConfigError
from devloop.local.network import publishing
from devloop.local.network.endpoints import backends, endpoints, listeners
from devloop.local.network.names import records
from devloop.local.network.sandbox import configure, relay
from devloop.local.network.table import Listener, Record, Type, encode, wire
from devloop.model import Object


def service(name: str = "web", **spec: Any) -> Object:
    given = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec}
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": given}


def pod(name: str, ip: str, *, ready: bool = True, ending: bool = False, app: str = "web", phase: str = "Running", **spec: Any) -> Object:
    meta = {"name": name, "namespace": "hello", "uid": name, "labels": {"app": app}} | ({"deletionTimestamp": "now"} if ending else {})
    return {"metadata": meta, "spec": {"containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}], **spec},
            "status": {"podIP": ip, "phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}}


def serving(found: Object) -> list[str]:
    return [address["ip"] for subset in found["subsets"] for address in subset.get("addresses") or ()]


def named(found: list[Record], kind: Type = Type.A) -> list[tuple[str, str]]:
    return [(record.name, socket.inet_ntoa(record.data)) for record in found if record.type is kind]


def test_ready_pods_serve_and_those_that_end_only_where_there_are_no_others() -> None:
    old, new = pod("old", "10.0.0.1", ending=True), pod("new", "10.0.0.2")
    assert serving(endpoints(service(), [old, new])) == ["10.0.0.2"]
    assert serving(endpoints(service(), [old, pod("new", "10.0.0.2", ready=False)])) == ["10.0.0.1"]
    assert serving(endpoints(service(), [pod("other", "10.0.0.3", app="api"), pod("done", "10.0.0.4", phase="Succeeded")])) == []


def test_a_port_is_each_pods_own_by_its_name() -> None:
    other = pod("b", "10.0.0.2")
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = 9090
    found = endpoints(service(), [pod("a", "10.0.0.1"), other])
    assert backends(found, service()["spec"]["ports"][0]) == (("10.0.0.1", 8080), ("10.0.0.2", 9090))


def test_what_is_not_ready_is_served_where_the_service_wants_it() -> None:
    assert serving(endpoints(service(publishNotReadyAddresses=True), [pod("a", "10.0.0.1", ready=False)])) == ["10.0.0.1"]


def test_a_relay_carries_tcp_alone_and_keeps_clients_where_it_is_asked_to() -> None:
    both = service(ports=[{"port": 53, "protocol": "UDP"}, {"port": 80}], sessionAffinity="ClientIP")
    found = endpoints(both, [pod("a", "10.0.0.1")])
    assert listeners(both, found) == {80: Listener((("10.0.0.1", 80),), keeps=True)}


def test_services_have_the_names_of_a_cluster() -> None:
    headless = service("db", clusterIP="None")
    pods = [pod("db-0", "10.0.0.5", app="db", hostname="db-0", subdomain="db"), pod("db-x", "10.0.0.6", app="db")]
    found = records([service(), headless, service("new")], {("hello", "db"): endpoints(headless, pods)}, {("hello", "web"): "10.0.0.9"})
    assert named(found) == [
        ("web.hello.svc.cluster.local", "10.0.0.9"),
        ("db.hello.svc.cluster.local", "10.0.0.5"), ("db-0.db.hello.svc.cluster.local", "10.0.0.5"),
        ("db.hello.svc.cluster.local", "10.0.0.6"), ("10-0-0-6.db.hello.svc.cluster.local", "10.0.0.6")]
    assert [(record.name, struct.unpack(">HHH", record.data[:6])[2]) for record in found if record.type is Type.SRV] == [
        ("_http._tcp.web.hello.svc.cluster.local", 80), *[("_http._tcp.db.hello.svc.cluster.local", 8080)] * 2]


def test_an_external_name_is_an_alias_or_what_it_names_here() -> None:
    def alias(target: str) -> Object:
        return service("alias", type="ExternalName", externalName=target)

    outside = records([alias("db.example.com")], {}, {})
    assert [(record.type, record.data) for record in outside] == [(Type.CNAME, wire("db.example.com"))]
    inside = records([alias("web.hello.svc.cluster.local"), service()], {}, {("hello", "web"): "10.0.0.9"})
    assert ("alias.hello.svc.cluster.local", "10.0.0.9") in named(inside)


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a DNS name"):
        wire(name)


def test_a_table_is_what_the_relay_reads() -> None:
    table = encode({80: Listener((("10.0.0.1", 8080),), keeps=True), 81: Listener(())}, [Record("A.b", Type.A, b"\1\2\3\4")])
    listening = [b"\0\1", b"\0\x50\1\0\0\1", b"\n\0\0\1\x1f\x90"]
    assert table == b"".join([*listening, b"\0\1", b"\0\x0d", b"\0\5\1a\1b\0", b"\0\1\1\2\3\4"])


def test_a_sandbox_has_the_pods_names_and_resolver_and_publishes_on_this_machine_only() -> None:
    made = configure(pod("web-0", "", hostname="web-0", subdomain="web", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["far"]}],
                         dnsConfig={"searches": ["corp"], "options": [{"name": "ndots", "value": "2"}]},
                         containers=[{"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}]}]),
                     relay("image", "net", bytes(16), {"a": "b"}), dns="10.0.0.2")
    host = made["HostConfig"]
    assert (made["Hostname"], made["Domainname"]) == ("web-0", "web.hello.svc.cluster.local")
    assert (host["Dns"], host["DnsOptions"]) == (["10.0.0.2"], ["ndots:2"])
    assert host["DnsSearch"] == ["hello.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp"]
    assert host["ExtraHosts"] == ["far:10.1.1.1"]
    assert host["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}


def test_a_pod_may_do_without_the_projects_names() -> None:
    made = configure(pod("a", "", dnsPolicy="None", dnsConfig={"nameservers": ["9.9.9.9"]}), relay("i", "n", bytes(16), {}), dns="10.0.0.2")
    assert (made["HostConfig"]["Dns"], made["HostConfig"]["DnsSearch"]) == (["9.9.9.9"], [])


def test_ports_of_this_machine_are_a_load_balancers_own_or_the_node_ports() -> None:
    assert publishing.wanted(service()) == {}
    assert publishing.wanted(service(type="LoadBalancer")) == {80: 80}
    assert publishing.wanted(service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}, {"port": 81}])) == {80: 30080, 81: 0}
    assert publishing.bindings({80: 0}) == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
