"""The logs of every container of the deployed pods, whatever comes, restarts or goes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from functools import partial

from devloop.clients.kube import Kube
from devloop.config.models import Logs, parse_duration
from devloop.errors import DevloopError
from devloop.events import Emit, Notice
from devloop.logs.names import Source, all_containers, sources
from devloop.logs.tail import Tail
from devloop.model import Object
from devloop.pods import Container, Pods, assigned, finished

STOP_SECONDS = 2.0

Key = tuple[str, str]      # pod uid, container name


class LogTailer:
    """Emits a `LogLine` for every line, each container's in order. Slow readers slow it down; nothing is dropped."""

    def __init__(self, kube: Kube, pods: Pods, *, namespaces: Collection[str], selector: str, config: Logs, emit: Emit) -> None:
        self._kube = kube
        self._pods = pods
        self._namespaces = frozenset(namespaces)
        self._selector = selector
        self._config = config
        self._emit = emit
        self._lock = threading.Lock()
        self._subscriptions: dict[str, Callable[[], None]] = {}
        self._present: dict[str, Mapping[str, Object]] = {}     # namespace → its pods, once it was listed
        self._tails: dict[Key, Tail] = {}
        self._leaving: list[Tail] = []                          # they are about to end: their pods are gone, or nobody wants them
        self._refused: set[str] = set()
        self._started = 0.0

    def start(self) -> None:
        """Follow the pods from now on; returns at once."""
        self._started = time.monotonic()
        with self._lock:
            self._subscribe(self._namespaces)

    def update(self, *, namespaces: Collection[str], config: Logs) -> None:
        """Put an edited config in force; containers that stay wanted are followed without a break."""
        with self._lock:
            self._config = config
            for namespace in [n for n in self._subscriptions if n not in namespaces]:
                self._subscriptions.pop(namespace)()
                self._present.pop(namespace, None)
            self._subscribe(namespaces)
            self._follow(frozenset())

    def stop(self) -> None:
        """End every tail."""
        with self._lock:
            for unsubscribe in self._subscriptions.values():
                unsubscribe()
            self._subscriptions.clear()
            tails = [*self._tails.values(), *self._leaving]
            self._tails.clear()
            self._leaving.clear()
        deadline = time.monotonic() + STOP_SECONDS
        for tail in tails:
            tail.stop()
        for tail in tails:
            tail.join(max(0.0, deadline - time.monotonic()))

    def _subscribe(self, namespaces: Collection[str]) -> None:
        for namespace in namespaces:
            if namespace not in self._subscriptions:
                self._subscriptions[namespace] = self._pods.subscribe(namespace, self._selector, partial(self._changed, namespace))

    def _changed(self, namespace: str, pods: Mapping[str, Object]) -> None:
        with self._lock:
            if namespace not in self._subscriptions:
                return
            existing = frozenset() if namespace in self._present else frozenset(pods)
            self._present[namespace] = pods
            self._follow(existing)

    def _follow(self, existing: Collection[str]) -> None:
        """Bring the tails to what is there. Pods that were there before us (`existing`) begin with their present instance."""
        present = {uid: pod for pods in self._present.values() for uid, pod in pods.items()}
        named = sources(present)
        wanted: set[Key] = set()
        for uid, pod in present.items():
            for container in all_containers(pod) if assigned(pod) else ():
                source = named[uid, container.name]
                if self._excluded(source) or (finished(pod) and not container.status):   # the kubelet would not have the pod
                    continue
                wanted.add((uid, container.name))
                self._tail(uid, container, source, uid in existing).update(container, source)
        self._leaving = [tail for tail in self._leaving if tail.reading]
        for key in self._tails.keys() - wanted:
            tail = self._tails.pop(key)
            if key[0] in present or tail.source.namespace not in self._present:
                tail.stop()                # no longer wanted
            else:
                tail.gone()
            self._leaving.append(tail)

    def _tail(self, uid: str, container: Container, source: Source, existed: bool) -> Tail:
        key = (uid, container.name)
        if key not in self._tails:
            since = None if self._config.since == "start" else partial(self._seconds_back, self._config.since)
            self._tails[key] = Tail(self._kube, source, self._emit, self._forbid, since=since, backlog=existed,
                                    restarts=container.restarts if existed else 0)
        return self._tails[key]

    def _excluded(self, source: Source) -> bool:
        return any(fnmatchcase(f"{source.pod}/{source.container}" if "/" in pattern else source.container, pattern)
                   for pattern in self._config.exclude)

    def _seconds_back(self, since: str) -> int:
        """Counted by the node's clock, from this session's start."""
        back = 0.0 if since == "now" else parse_duration(since)
        return max(1, math.ceil(back + time.monotonic() - self._started))

    def _forbid(self, source: Source, error: DevloopError) -> None:
        with self._lock:
            told = source.namespace in self._refused
            self._refused.add(source.namespace)
        if not told:
            self._emit(Notice(f"logs in namespace {source.namespace} cannot be read: {error.message}", error.hint, "warning"))

