"""The build pods of one session, watched: how far each is, and what keeps it from getting further."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from devloop.build.kaniko.diagnosis import made_out
from devloop.build.kaniko.pod import BUILDER
from devloop.cancel import Cancel
from devloop.clients.kube import WatchEvent
from devloop.deploy.causes.diagnosis import Diagnosis, Events
from devloop.deploy.causes.diagnosis import said as words
from devloop.deploy.causes.placement import not_created
from devloop.deploy.diagnose import diagnose, stage
from devloop.errors import ApiError
from devloop.model import Object
from devloop.pods import Pods, finished, terminating

JOB = "job-name"       # the label by which every version's controller marks a Job's pods


class Watching:
    """One watch for all pods of a session, and one for the namespace's events. `close` it. Safe from every thread."""

    def __init__(self, pods: Pods, namespace: str, session: str) -> None:
        self._news = threading.Condition()
        self._pods: Mapping[str, Object] = {}
        self._events = Events()
        self._since: dict[tuple[str, str], float] = {}
        self.version = 0       # counts the news
        self._stops = [pods.subscribe(namespace, f"{BUILDER}={session}", self._changed),
                       pods.watches.start(f"/api/v1/namespaces/{namespace}/events", {}, self._happened, self._unseen)]

    def close(self) -> None:
        for stop in self._stops:
            stop()

    def pod(self, job: str) -> Object | None:
        """The pod of this Job, as far as it is known."""
        with self._news:
            return next((pod for pod in self._pods.values() if pod["metadata"]["labels"].get(JOB) == job), None)

    def wait(self, seconds: float, version: int, cancel: Cancel) -> None:
        """For news since that `version`, but no longer than so many seconds."""
        with cancel.closing(self._tell), self._news:
            if self.version == version and not cancel.cancelled:
                self._news.wait(seconds)

    def trouble(self, job: Object) -> Diagnosis | None:
        """What is wrong for longer than it may last, or with no way back."""
        name, pod = job["metadata"]["name"], self.pod(job["metadata"]["name"])
        with self._news:
            found = diagnose(pod, self._events) if pod else self._uncreated(name, job["metadata"]["uid"])
            if not found:
                self._since = {key: moment for key, moment in self._since.items() if key[0] != name}
                return None
            found = made_out(found, job)
            since = self._since.setdefault((name, found.topic), time.monotonic())
        over = pod is not None and finished(pod)
        return found if over or time.monotonic() - since >= found.patience else None

    def stage(self, job: str) -> str:
        """How far it is, in a few words."""
        pod = self.pod(job)
        return stage(pod) if pod else "waiting for the pod to be created"

    def gone(self, job: str) -> bool:
        """Somebody has deleted the pod, or is about to."""
        pod = self.pod(job)
        return pod is None or terminating(pod)

    def _uncreated(self, job: str, uid: str) -> Diagnosis | None:
        refused = [event for event in self._events.about("Job", job, uid) if event.get("reason") == "FailedCreate"]
        return not_created(f"job/{job}", words(refused[0])) if refused else None

    def _changed(self, pods: Mapping[str, Object]) -> None:
        with self._news:
            self._pods = pods
        self._tell()

    def _happened(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            return
        with self._news:
            for obj in event.objects:
                self._events.put(obj)
        self._tell()

    def _unseen(self, error: ApiError) -> None:
        """Events may not be read: what the pods themselves say must do."""

    def _tell(self) -> None:
        with self._news:
            self.version += 1
            self._news.notify_all()
