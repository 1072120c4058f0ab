"""Pods watched for several followers at once, on a real cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from devloop.clients.kube import Kube
from devloop.events import Event, Notice
from devloop.model import Object
from devloop.pods import PODS, Pods
from tests.cluster.cut import CuttableProxy
from tests.cluster.workloads import create, pod, pod_spec

pytestmark = pytest.mark.cluster

PATIENCE = 30.0


class Follower:
    """Remembers every call; `wait` returns as soon as the pods' names are as wanted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.calls: list[list[str]] = []
        self.threads: set[str] = set()

    def __call__(self, pods: Mapping[str, Object]) -> None:
        with self._changed:
            self.calls.append(sorted(p["metadata"]["name"] for p in pods.values()))
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()

    def wait(self, *names: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.calls) and self.calls[-1] == sorted(names), PATIENCE), self.calls


class Told:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[str]], bool]) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.messages()), PATIENCE), self.events
        return self.messages()

    def messages(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Notice)]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def pods(kube: Kube, told: Told) -> Iterator[Pods]:
    shared = Pods(kube, told)
    yield shared
    shared.close()


def make(kube: Kube, namespace: str, name: str, app: str = "web") -> None:
    """A pod that no node takes: it is there at once, and stays."""
    create(kube, namespace, pod(name, pod_spec(nodeSelector={"no": "where"}), {"app": app}))


def remove(kube: Kube, namespace: str, name: str) -> None:
    kube.request("DELETE", PODS.path(namespace, name), body={"gracePeriodSeconds": 0})


def test_followers_get_the_pods_that_match_and_their_changes(kube: Kube, pods: Pods, namespace: str) -> None:
    make(kube, namespace, "a")
    make(kube, namespace, "other", app="db")
    web, everything = Follower(), Follower()
    pods.subscribe(namespace, "app=web", web)
    pods.subscribe(namespace, "", everything)
    web.wait("a")
    everything.wait("a", "other")
    make(kube, namespace, "b")
    web.wait("a", "b")
    remove(kube, namespace, "a")
    web.wait("b")
    everything.wait("b", "other")


def test_a_late_follower_gets_the_state_at_once_and_no_watch_of_its_own(kube: Kube, pods: Pods, namespace: str) -> None:
    first, second = Follower(), Follower()
    pods.subscribe(namespace, "app=web", first)
    first.wait()
    watches = _watch_threads(namespace)
    pods.subscribe(namespace, "app=web", second)
    second.wait()
    assert _watch_threads(namespace) == watches == 1
    make(kube, namespace, "a")
    first.wait("a")
    second.wait("a")
    assert first.threads == second.threads == {"pods"}


def test_unsubscribing_from_within_the_call_is_possible(kube: Kube, pods: Pods, namespace: str) -> None:
    calls: list[int] = []
    other = Follower()
    leave: list[Callable[[], None]] = []
    registered = threading.Event()

    def once(current: Mapping[str, Object]) -> None:
        registered.wait(PATIENCE)
        calls.append(len(current))
        leave[0]()

    leave.append(pods.subscribe(namespace, "app=web", once))
    registered.set()
    pods.subscribe(namespace, "app=web", other)
    other.wait()
    make(kube, namespace, "a")
    other.wait("a")
    assert calls == [0]


def test_the_last_to_leave_ends_the_watch_and_the_next_starts_another(kube: Kube, pods: Pods, namespace: str) -> None:
    follower = Follower()
    leave = pods.subscribe(namespace, "app=web", follower)
    follower.wait()
    [watch] = [t for t in threading.enumerate() if t.name == f"watch {PODS.path(namespace)}"]
    leave()
    leave()
    watch.join(PATIENCE)
    assert not watch.is_alive()
    make(kube, namespace, "a")
    again = Follower()
    pods.subscribe(namespace, "app=web", again)
    again.wait("a")
    assert follower.calls == [[]]


def test_closing_ends_every_thread(kube: Kube, namespace: str) -> None:
    shared = Pods(kube, lambda event: None)
    follower = Follower()
    shared.subscribe(namespace, "app=web", follower)
    follower.wait()
    shared.close()
    assert f"watch {PODS.path(namespace)}" not in {t.name for t in threading.enumerate()}


def test_a_lost_connection_is_told_once_and_its_return_once(proxied: tuple[Kube, CuttableProxy], kube: Kube, namespace: str,
                                                            told: Told) -> None:
    client, proxy = proxied
    shared = Pods(client, told)
    web, everything = Follower(), Follower()
    shared.subscribe(namespace, "app=web", web)
    shared.subscribe(namespace, "", everything)
    web.wait()
    everything.wait()

    proxy.refusing = True
    proxy.cut()
    told.wait(lambda messages: len(messages) == 1)
    make(kube, namespace, "a")
    proxy.refusing = False
    web.wait("a")
    everything.wait("a")
    messages = told.wait(lambda messages: len(messages) == 2)
    shared.close()
    assert f"the connection to the cluster of context '{client.context}' is lost" in messages[0]
    assert messages[1] == f"the connection to the cluster of context '{client.context}' is back"


def test_a_missing_right_is_told_and_ends_the_watch(powerless: str, namespace: str, told: Told) -> None:
    client = Kube(kubeconfig=powerless)
    shared = Pods(client, told)

    shared.subscribe(namespace, "app=web", Follower())

    [message] = told.wait(bool)
    shared.close()
    client.close()
    assert "refuses a watch" in message
    assert f'cannot list resource "pods" in API group "" in the namespace "{namespace}"' in message


def _watch_threads(namespace: str) -> int:
    """Those of this namespace alone: others' come and go."""
    return sum(t.name == f"watch {PODS.path(namespace)}" for t in threading.enumerate())
