"""Watches on a real API server, over a network that fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import yaml

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, WatchEvent
from devloop.errors import Cancelled, UnreachableError
from tests.cluster.cut import CuttableProxy

pytestmark = pytest.mark.cluster


class Watching:
    """The watch of a namespace's ConfigMaps, read step by step. `wrote` makes one, by another connection."""

    def __init__(self, kube: Kube, other: Kube, namespace: str) -> None:
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"
        self.cancel = Cancel()
        self.events = kube.watch(self.path, cancel=self.cancel, query={"labelSelector": "watched=yes"})
        self._other = other

    def write(self, name: str) -> None:
        self._other.request("POST", self.path, body={"metadata": {"name": name, "labels": {"watched": "yes"}}})

    def next(self) -> tuple[str, list[str]]:
        event: WatchEvent = next(self.events)
        return event.type, [o["metadata"]["name"] for o in event.objects]


def test_changes_are_told_in_order(kube: Kube, namespace: str) -> None:
    watch = Watching(kube, kube, namespace)
    watch.write("a")
    assert watch.next() == ("SNAPSHOT", ["a"])
    watch.write("b")
    kube.request("DELETE", f"{watch.path}/a")
    assert [watch.next(), watch.next()] == [("ADDED", ["b"]), ("DELETED", ["a"])]


def test_a_watch_that_the_server_ends_goes_on_without_a_new_snapshot(kubeconfig: str, kube: Kube, namespace: str) -> None:
    brief = Kube(kubeconfig=kubeconfig)
    brief.watch_seconds = 1
    watch = Watching(brief, kube, namespace)
    assert watch.next() == ("SNAPSHOT", [])
    for name in ("a", "b"):
        timer = threading.Timer(1.5, watch.write, [name])   # the server has ended the first watch by then
        timer.start()
        assert watch.next() == ("ADDED", [name])
        timer.join()
    watch.events.close()   # type: ignore[attr-defined]
    brief.close()


def test_a_cut_watch_goes_on_without_a_new_snapshot(proxied: tuple[Kube, CuttableProxy], kube: Kube, namespace: str) -> None:
    client, proxy = proxied
    watch = Watching(client, kube, namespace)
    assert watch.next() == ("SNAPSHOT", [])
    watch.write("a")
    assert watch.next() == ("ADDED", ["a"])
    proxy.cut()
    watch.write("b")
    assert watch.next() == ("ADDED", ["b"])
    watch.events.close()   # type: ignore[attr-defined]


def test_a_half_open_watch_is_noticed(proxied: tuple[Kube, CuttableProxy], kube: Kube, namespace: str) -> None:
    client, proxy = proxied
    client.watch_seconds, client.watch_grace = 1, 4      # as long the API server has to begin its answer, too
    watch = Watching(client, kube, namespace)
    assert watch.next() == ("SNAPSHOT", [])
    watch.write("a")
    assert watch.next() == ("ADDED", ["a"])
    proxy.silence()
    watch.write("b")
    assert watch.next() == ("ADDED", ["b"])
    watch.events.close()   # type: ignore[attr-defined]


def test_cancelling_ends_a_silent_watch(kube: Kube, namespace: str) -> None:
    watch = Watching(kube, kube, namespace)
    assert watch.next() == ("SNAPSHOT", [])
    timer = threading.Timer(0.3, watch.cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        watch.next()
    timer.join()


def test_cancelling_ends_a_watch_that_waits_for_a_silent_server(proxied: tuple[Kube, CuttableProxy], kube: Kube, namespace: str) -> None:
    client, proxy = proxied
    client.get("/version")
    proxy.silence()   # the connection in the pool is half-open now
    watch = Watching(client, kube, namespace)
    timer = threading.Timer(0.3, watch.cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        watch.next()
    timer.join()


def test_a_server_that_refuses_connections_is_unreachable(proxied: tuple[Kube, CuttableProxy], kube: Kube, namespace: str) -> None:
    client, proxy = proxied
    watch = Watching(client, kube, namespace)
    assert watch.next() == ("SNAPSHOT", [])
    proxy.refusing = True
    proxy.cut()
    with pytest.raises(UnreachableError, match="does not answer"):
        watch.next()


def test_a_certificate_of_somebody_else_is_told_as_such(kubeconfig: str, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["clusters"][0]["cluster"]["tls-server-name"] = "somewhere.else"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    client = Kube(kubeconfig=str(tmp_path / "kubeconfig"))
    with pytest.raises(UnreachableError, match="shows a certificate that cannot be trusted"):
        client.get("/version")
    client.close()
