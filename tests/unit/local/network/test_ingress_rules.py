"""Which rule a request meets, in both versions of Ingress; and what leads nowhere says why."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from devloop.local.network.ingress.destinations import Destinations, NowhereError
from devloop.local.network.ingress.rules import match, rules
from devloop.model import Object


def ingress(*paths: tuple[str, str, str, str], default: str = "", name: str = "shop") -> Object:
    """Paths: host, path, type, Service."""
    spec: dict[str, Any] = {"rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend(service)}]}}
                                      for host, path, kind, service in paths]}
    if default:
        spec["defaultBackend"] = backend(default)
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": spec}


def backend(service: str, port: int | str = 80) -> Object:
    return {"service": {"name": service, "port": {"number": port} if isinstance(port, int) else {"name": port}}}


def met(found: Object, host: str, path: str) -> str:
    rule = match(rules([found]), host, path)
    return rule.backend.service if rule else "none"


@pytest.mark.parametrize(("path", "request_path", "meets"), [
    ("/", "/any/thing", True), ("/foo", "/foo", True), ("/foo", "/foo/", True), ("/foo", "/foo/bar", True), ("/foo", "/foobar", False),
    ("/foo/", "/foo", True), ("/foo/", "/foo/", True), ("/aaa/bb", "/aaa/bbb", False), ("/aaa/bbb", "/aaa/bbb/ccc", True),
    ("/foo", "/foo?x=/bar", True), ("/foo", "/Foo", False)])
def test_a_prefix_matches_whole_elements_of_the_path(path: str, request_path: str, meets: bool) -> None:
    assert met(ingress(("", path, "Prefix", "web")), "any", request_path) == ("web" if meets else "none")


@pytest.mark.parametrize(("request_path", "meets"), [("/foo", True), ("/foo?q", True), ("/foo/", False), ("/foo/bar", False)])
def test_an_exact_path_matches_itself_alone(request_path: str, meets: bool) -> None:
    assert met(ingress(("", "/foo", "Exact", "web")), "any", request_path) == ("web" if meets else "none")


def test_what_a_path_of_an_implementations_own_type_means_is_all_below_it() -> None:
    assert met(ingress(("", "/foo", "ImplementationSpecific", "web")), "any", "/foo/bar") == "web"


@pytest.mark.parametrize(("host", "meets"), [
    ("a.shop.test", True), ("A.Shop.Test:8000", True), ("a.shop.test.", True), ("shop.test", False), ("a.b.shop.test", False),
    (".shop.test", False)])
def test_a_wildcard_stands_for_one_label(host: str, meets: bool) -> None:
    assert met(ingress(("*.shop.test", "/", "Prefix", "web")), host, "/") == ("web" if meets else "none")


def test_the_longest_path_wins_whatever_the_order_and_an_exact_one_over_a_prefix() -> None:
    found = ingress(("", "/", "Prefix", "page"), ("", "/api", "Prefix", "api"), ("", "/api", "Exact", "root"),
                    ("", "/api/v2", "Prefix", "second"))
    assert [met(found, "any", path) for path in ("/x", "/api", "/api/v1", "/api/v2/z")] == ["page", "root", "api", "second"]


def test_a_host_wins_over_a_wildcard_and_that_over_all_hosts() -> None:
    found = ingress(("", "/", "Prefix", "any"), ("*.shop.test", "/", "Prefix", "wild"), ("a.shop.test", "/", "Prefix", "own"))
    assert [met(found, host, "/") for host in ("a.shop.test", "b.shop.test", "other")] == ["own", "wild", "any"]


def test_the_default_backend_gets_what_no_rule_is_for() -> None:
    found = ingress(("shop.test", "/api", "Prefix", "api"), default="page")
    assert [met(found, *request) for request in (("shop.test", "/api"), ("shop.test", "/"), ("other", "/api"))] == ["api", "page", "page"]


def test_an_address_in_brackets_is_a_host() -> None:
    assert met(ingress(("[::1]", "/", "Prefix", "web")), "[::1]:8000", "/") == "web"


def test_the_first_version_says_the_same_in_other_words() -> None:
    old = {"metadata": {"name": "shop", "namespace": "hello"}, "spec": {
        "backend": {"serviceName": "page", "servicePort": "http"},
        "rules": [{"http": {"paths": [{"path": "/api", "backend": {"serviceName": "api", "servicePort": 80}}]}}]}}
    assert [met(old, "any", path) for path in ("/api/x", "/")] == ["api", "page"]


# --- where it leads


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "hello"}, "spec": {"ports": [{"name": "http", "port": 80}], **spec}}


def serving(name: str, *ips: str) -> Object:
    return {"metadata": {"name": name, "namespace": "hello"},
            "subsets": [{"addresses": [{"ip": ip} for ip in ips], "ports": [{"name": "http", "port": 8080}]}]}


def nowhere(found: Object, services: list[Object], endpoints: tuple[Object, ...] = (), path: str = "/") -> tuple[int, str]:
    with pytest.raises(NowhereError) as caught:
        Destinations.of([found], services, endpoints, itertools.count()).find("shop.test", path)
    return caught.value.status, str(caught.value)


def test_pods_take_turns() -> None:
    found, endpoints = ingress(("", "/", "Prefix", "web")), serving("web", "10.0.0.1", "10.0.0.2")
    among = Destinations.of([found], [service("web")], [endpoints], itertools.count())
    assert [among.find("any", "/")[0] for _ in range(3)] == [("10.0.0.1", 8080), ("10.0.0.2", 8080), ("10.0.0.1", 8080)]


def test_no_rule_says_which_there_are() -> None:
    status, text = nowhere(ingress(("shop.test", "/api", "Prefix", "api")), [], path="/x?y")
    assert (status, text) == (
        404, "No Ingress rule is for host 'shop.test' and path '/x'. The rules:\n  shop.test /api (and below) -> service/api")


def test_a_missing_service_a_missing_port_and_no_ready_pod_are_told_apart() -> None:
    found = ingress(("", "/", "Prefix", "web"))
    assert nowhere(found, []) == (503, "Ingress shop (namespace hello) leads to service/web: there is no such Service.")
    assert nowhere(found, [service("web", ports=[{"port": 81, "name": "http"}])]) == (
        503, "Ingress shop (namespace hello) leads to port 80 of service/web, which has none such (it has 81 (http)).")
    assert nowhere(found, [service("web")], (serving("web"),)) == (
        503, "Ingress shop (namespace hello) leads to service/web: none of its pods is ready.")
    assert nowhere(found, [service("web", type="ExternalName")])[0] == 503


def test_a_port_may_be_named() -> None:
    found = ingress()
    found["spec"]["defaultBackend"] = backend("web", "http")
    among = Destinations.of([found], [service("web")], [serving("web", "10.0.0.1")], itertools.count())
    assert list(among.find("any", "/")) == [("10.0.0.1", 8080)]
