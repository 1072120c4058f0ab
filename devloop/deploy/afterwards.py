"""What crashes after its rollout, when nobody waits for it any more: without a readiness probe, what runs is taken for well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from devloop.deploy.causes.crashes import crash
from devloop.deploy.causes.diagnosis import Diagnosis, Events
from devloop.events import Emit, Notice
from devloop.model import Object
from devloop.pods import Container, Pods, containers, terminating

Key = tuple[str, str]


class Afterwards:
    """Tells of each container that crashes while no generation runs: at its first crash, and when Kubernetes begins to hold it back."""

    def __init__(self, pods: Pods, selector: str, emit: Emit) -> None:
        self._shared, self._selector, self._emit = pods, selector, emit
        self._lock = threading.Lock()
        self._stops: dict[str, Callable[[], None]] = {}
        self._pods: dict[str, Mapping[str, Object]] = {}
        self._known: set[tuple[Key, bool]] | None = None      # crashes that were told, or that the rollout knew of; None: it is under way

    def follow(self, namespace: str) -> None:
        """Look at the project's pods in this namespace, too."""
        if namespace not in self._stops:
            self._stops[namespace] = self._shared.subscribe(namespace, self._selector, lambda pods: self._changed(namespace, pods))

    def pause(self) -> None:
        """A generation begins: its rollout tells."""
        with self._lock:
            self._known = None

    def resume(self) -> None:
        """The generation has ended. What has crashed until now is known."""
        with self._lock:
            self._known = {key for key, _ in self._crashes()}

    def stop(self) -> None:
        for stop in self._stops.values():
            stop()

    def _changed(self, namespace: str, pods: Mapping[str, Object]) -> None:
        with self._lock:
            self._pods[namespace] = pods
            if self._known is None:
                return
            new = {key: diagnosis for key, diagnosis in self._crashes() if key not in self._known}
            self._known |= set(new)
        for diagnosis in new.values():
            self._emit(Notice(diagnosis.message, diagnosis.hint, "warning"))

    def _crashes(self) -> Iterator[tuple[tuple[Key, bool], Diagnosis]]:
        for pods in self._pods.values():
            for uid, pod in pods.items():
                for container in () if terminating(pod) else containers(pod):
                    if container.lasting and (diagnosis := crash(pod, _as_it_ended(container), Events())):
                        yield ((uid, container.name), bool(container.waiting)), diagnosis


def _as_it_ended(container: Container) -> Container:
    """A container that runs again, as it was before: what is told is the state, and not every step to it."""
    if container.running and container.last_terminated:
        attempts = container.restarts - 1
        return replace(container, status={**container.status, "state": container.status["lastState"], "restartCount": attempts})
    return container
