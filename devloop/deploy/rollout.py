"""Waits until workloads run what was applied, and says why one does not.

Watches only: the workloads, their pods, and, for rollouts that take longer than a moment, ReplicaSets and events. Their threads
put what they hear into one inbox; the caller's thread takes it out, and it alone decides.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, WatchEvent
from devloop.deploy.causes.diagnosis import Events
from devloop.deploy.evidence import Evidence
from devloop.deploy.following import Followed, Trouble
from devloop.deploy.standing import waited_for
from devloop.errors import ApiError, DevloopError, RolloutError, UnreachableError
from devloop.events import Emit, Notice, StepFinished, StepProgress, StepStarted
from devloop.model import Object, ObjectRef
from devloop.pods import PODS, Pods

LOOK_AFTER = 0.8    # seconds: what is up by then needs no watch of events
TELL_AFTER = 1.0    # and what is not up by then is explained

Clock = Callable[[], float]
News = Callable[[], None]


class ClusterRollout:
    """A `Rollout` on a cluster. `timeout` in seconds; `clock` as ``time.monotonic``."""

    def __init__(self, kube: Kube, pods: Pods, *, timeout: float, clock: Clock = time.monotonic) -> None:
        self.kube = kube
        self.pods = pods
        self.timeout = timeout
        self.clock = clock

    def wait(self, workloads: Sequence[ObjectRef], emit: Emit, cancel: Cancel) -> None:
        followed = [Followed(ref) for ref in dict.fromkeys(workloads) if waited_for(ref)]
        if not followed:
            return
        with ExitStack() as stack:
            _Wait(self, followed, emit, cancel, stack).run()


class _Wait:
    """One call of `ClusterRollout.wait`."""

    def __init__(self, rollout: ClusterRollout, followed: list[Followed], emit: Emit, cancel: Cancel, stack: ExitStack) -> None:
        self._kube, self._pods, self._clock, self._timeout = rollout.kube, rollout.pods, rollout.clock, rollout.timeout
        self._followed, self._emit, self._cancel, self._stack = followed, emit, cancel, stack
        self._evidence = Evidence(self._kube, cancel)
        self._inbox: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._events = Events()
        self._replica_sets: dict[str, Object] = {}
        self._started = self._clock()
        self._looking = False

    def run(self) -> None:
        deadline = self._started + self._timeout
        for followed in self._followed:
            self._emit(StepStarted("rollout", str(followed.ref)))
        with self._cancel.closing(lambda: self._inbox.put(lambda: None)):
            self._watch_workloads()
            while pending := [f for f in self._followed if not f.done]:
                now = self._clock()
                if now >= deadline:
                    raise self._late(pending)
                self._take(min(deadline, self._next_look(now)) - now)
                self._cancel.check()
                self._judge()

    # --- what is heard

    def _take(self, seconds: float) -> None:
        """Wait for news at most so long; then take all there is."""
        try:
            self._inbox.get(timeout=max(0.0, seconds))()
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            pass

    def _watch(self, path: str, hear: Callable[[WatchEvent], None], *, selector: str = "", needed: bool = True) -> None:
        def refused(error: ApiError) -> None:
            self._inbox.put(lambda: _raise(error))

        stop = self._pods.watches.start(path, {"fieldSelector": selector} if selector else {},
                                        lambda event: self._inbox.put(lambda: hear(event)), refused if needed else None)
        self._stack.callback(stop)

    def _watch_workloads(self) -> None:
        """One watch for each kind and namespace."""
        groups: dict[str, list[Followed]] = {}
        for followed in self._followed:
            ref = followed.ref
            groups.setdefault(self._kube.resource(ref.api_version, ref.kind).path(ref.namespace), []).append(followed)
        for path, group in groups.items():
            selector = f"metadata.name={group[0].ref.name}" if len(group) == 1 else ""
            self._watch(path, partial(self._hear_workloads, group), selector=selector)

    def _hear_workloads(self, group: Iterable[Followed], event: WatchEvent) -> None:
        named = {obj["metadata"]["name"]: obj for obj in event.objects}
        for followed in group:
            obj = named.get(followed.ref.name)
            if obj is not None:
                followed.hear(None if event.type == "DELETED" else obj, self._clock())
                if followed.selector and followed.subscribed != followed.selector:
                    self._subscribe(followed)
            elif event.type == "SNAPSHOT":
                followed.hear(None, self._clock())

    def _subscribe(self, followed: Followed) -> None:
        followed.subscribed = followed.selector
        stop = self._pods.subscribe(followed.ref.namespace, followed.selector,
                                    lambda pods: self._inbox.put(lambda: followed.hear_pods(pods)))
        self._stack.callback(stop)

    def _look_closer(self) -> None:
        """It takes longer than a moment: find out what the events say, and which pods are the new ones."""
        self._looking = True
        for namespace in {f.ref.namespace for f in self._followed if not f.done}:
            self._watch(f"/api/v1/namespaces/{namespace}/events", self._hear_events, needed=False)
        for namespace in {f.ref.namespace for f in self._followed if not f.done and f.ref.kind == "Deployment"}:
            self._watch(f"/apis/apps/v1/namespaces/{namespace}/replicasets", self._hear_replica_sets, needed=False)

    def _hear_events(self, event: WatchEvent) -> None:
        if event.type != "DELETED":
            for obj in event.objects:
                self._events.put(obj)

    def _hear_replica_sets(self, event: WatchEvent) -> None:
        if event.type != "DELETED":
            self._replica_sets |= {obj["metadata"]["uid"]: obj for obj in event.objects}

    # --- what is decided

    def _next_look(self, now: float) -> float:
        for moment in (self._started + LOOK_AFTER, self._started + TELL_AFTER):
            if now < moment:
                return moment
        return min([f.due(self._hopeful(f)) for f in self._followed if not f.done], default=now)

    def _hopeful(self, followed: Followed) -> bool:
        """Whether another workload is still coming up that this one may be waiting for."""
        return any(not f.done and not f.crashes for f in self._followed if f is not followed)

    def _judge(self) -> None:
        now = self._clock()
        if not self._looking and now >= self._started + LOOK_AFTER:
            self._look_closer()
        tell = now >= self._started + TELL_AFTER
        for followed in self._followed:
            followed.look(self._events, self._replica_sets.values(), now, closer=tell)
        for followed in self._followed:
            if followed.done or followed.obj is None:
                self._judge_absent(followed, now)
            elif followed.standing.done:
                self._finish(followed, now)
            elif tell and followed.standing.failed:
                if verdict := followed.given_up(now):
                    raise self._failure(followed, verdict)
            elif tell:
                self._judge_pending(followed, now)

    def _judge_absent(self, followed: Followed, now: float) -> None:
        if not followed.done and followed.lost(now):
            raise RolloutError(f"{followed.ref} is not in namespace {followed.ref.namespace} (any more): somebody has deleted it",
                               hint="Deploy again.")

    def _finish(self, followed: Followed, now: float) -> None:
        followed.done = True
        self._emit(StepFinished("rollout", str(followed.ref), now - self._started, followed.standing.outcome, cached=followed.was_done))
        if followed.standing.remark:
            self._emit(Notice(f"{followed.ref} {followed.standing.remark}"))

    def _judge_pending(self, followed: Followed, now: float) -> None:
        for pod in followed.stuck():
            self._unstick(followed, pod)
        if followed.due(self._hopeful(followed)) <= now and (trouble := followed.worst()):
            if trouble.diagnosis.missing and not self._evidence.still_missing(trouble.diagnosis.missing, followed.ref.namespace):
                followed.pardon(trouble, now)
            else:
                raise self._failure(followed, "")
        if text := followed.progress():
            self._emit(StepProgress("rollout", str(followed.ref), text, followed.standing.ready, followed.standing.total, "pods"))

    def _unstick(self, followed: Followed, pod: Object) -> None:
        meta = pod["metadata"]
        followed.unstuck.add(meta["uid"])
        try:
            self._kube.request("DELETE", PODS.path(meta["namespace"], meta["name"]), body={"preconditions": {"uid": meta["uid"]}},
                               cancel=self._cancel)
        except ApiError as error:
            if error.status not in (404, 409):
                self._emit(Notice(f"pod {meta['name']} of an earlier version is not ready and keeps {followed.ref} from being rolled out; "
                                  f"it cannot be deleted: {error.message}", hint=error.hint, level="warning"))
        else:
            self._emit(Notice(f"pod {meta['name']} of an earlier version was not ready and kept {followed.ref} from being rolled out: "
                              "it is deleted"))

    # --- what is said at the end

    def _failure(self, followed: Followed, verdict: str) -> RolloutError:
        """`verdict`: what its controller said when it gave up; empty where that has not."""
        return self._error(followed, followed.verdict(), followed.failed(), verdict)

    def _late(self, pending: list[Followed]) -> DevloopError:
        if self._pods.watches.lost:
            return UnreachableError(f"the cluster of context '{self._kube.context}' cannot be reached: "
                                    f"whether {pending[0].ref} came up is not known", hint="Deploy again when it is back.")
        worst = max(pending, key=lambda f: f.worst() is not None)
        others = [str(f.ref) for f in pending if f is not worst]
        also = f" (nor did {', '.join(others)})" if others else ""
        return self._error(worst, worst.worst(), f"{worst.failed()} within {self._timeout:g} s{also}")

    def _error(self, followed: Followed, trouble: Trouble | None, opening: str, verdict: str = "") -> RolloutError:
        said = f" ({verdict.rstrip('.')})" if verdict else ""
        if trouble is None:
            return RolloutError(f"{opening}: {followed.waiting()}{said}", hint=f"See 'kubectl describe {followed.ref}'. If it only needs "
                                "more time, raise deploy.rolloutTimeout in devloop.yaml, or progressDeadlineSeconds in the manifest.")
        diagnosis, details = self._evidence.complete(trouble.diagnosis, trouble.pod) if trouble.pod else (trouble.diagnosis, ())
        return RolloutError(f"{opening}: {diagnosis.message}{said}", hint=diagnosis.hint, details=details)


def _raise(error: Exception) -> None:
    raise error
