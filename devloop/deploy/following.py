"""One workload while it is waited for: what is known of it, what troubles it, and how long that may last. No input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from devloop.deploy.causes.crashes import BACK_OFF
from devloop.deploy.causes.diagnosis import Diagnosis, Events, said
from devloop.deploy.causes.placement import not_created
from devloop.deploy.diagnose import diagnose, stage
from devloop.deploy.standing import Standing, new_pods, standing, stuck_pods
from devloop.model import Object, ObjectRef
from devloop.pods import containers, ready, selector_text, terminating

CRASHES = 2             # one restart while a database comes up is no failure
HOPEFUL_CRASHES = 3     # and while other workloads of the same rollout are coming up, one more is not
RETRY_PATIENCE = 15.0   # seconds: the kubelet tries again every 10 to 15 what failed before this rollout began
GONE_PATIENCE = 2.0     # seconds: what is deleted may be about to be created again
NEWS_PATIENCE = 0.5     # seconds: a controller's verdict may be heard before the pods' news that led to it

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Trouble:
    """A diagnosis, of which pod (None: of the workload), and until when it may last (by the rollout's clock)."""

    key: Key
    diagnosis: Diagnosis
    pod: Object | None
    until: float


@dataclass(eq=False)
class Followed:
    """`obj` and `pods` are the latest heard of; `subscribed` the pod selector in use; `unstuck` the uids of pods taken out of the way."""

    ref: ObjectRef
    obj: Object | None = None
    pods: Mapping[str, Object] | None = None
    standing: Standing = field(default_factory=lambda: Standing(0, 0, "it was not seen yet"))
    done: bool = False
    was_done: bool = False
    subscribed: str = ""
    unstuck: set[str] = field(default_factory=set)
    _gone_since: float = inf
    _failed_since: float = inf
    _since: dict[Key, float] = field(default_factory=dict)
    _old: dict[str, int] = field(default_factory=dict)
    _troubles: list[Trouble] = field(default_factory=list)
    _last: Trouble | None = None
    _new: list[Object] = field(default_factory=list)
    _said: str = ""

    # --- what is heard

    def hear(self, obj: Object | None, now: float) -> None:
        """The workload as it is now; None where there is none."""
        if self.ref.kind == "Job" and (self.standing.done or self.standing.failed) and (obj is None or terminating(obj)):
            return      # how it ended is known, and its own ttlSecondsAfterFinished may let nobody see it for long
        first = self.obj is None and self._gone_since == inf
        self.obj = obj
        self._gone_since = now if obj is None else inf
        self.standing = standing(obj) if obj else Standing(0, 0, "it does not exist (any more)")
        self.was_done = first and self.standing.done
        self._failed_since = min(now, self._failed_since) if self.standing.failed else inf
        if self.ref.kind == "Pod" and obj:
            self.hear_pods({obj["metadata"]["uid"]: obj})

    def hear_pods(self, pods: Mapping[str, Object]) -> None:
        if self.pods is None:
            self._old = {uid: _restarts(pod) for uid, pod in pods.items() if _failed_before(pod)}
        self.pods = pods

    @property
    def selector(self) -> str:
        """Which pods are the workload's; empty where that is not known, and for a pod, which is its own."""
        return selector_text((((self.obj or {}).get("spec") or {}).get("selector")) or {}) if self.ref.kind != "Pod" else ""

    def lost(self, now: float) -> bool:
        return now - self._gone_since >= GONE_PATIENCE

    # --- what follows from it

    def look(self, events: Events, replica_sets: Iterable[Object], now: float, *, closer: bool) -> None:
        """Find out what troubles it; `closer`: events and ReplicaSets are watched, so that it can be told."""
        self._new, self._troubles = [], []
        if self.obj is None or self.done or not closer:
            return
        pods = (self.pods or {}).values()
        if self.standing.observed:
            self._new = [p for p in new_pods(self.obj, pods, replica_sets) if not terminating(p)]
        found: list[tuple[Key, Diagnosis, Object | None]] = []
        for pod in self._new:
            if diagnosis := diagnose(pod, events):
                found.append(((pod["metadata"]["uid"], diagnosis.container, diagnosis.topic), diagnosis, pod))
        if refused := self._refused(events):
            found.append((("", "", "create"), not_created(str(self.ref), refused), None))
        room = any(terminating(p) for p in pods)   # an old pod may be about to make room for the new one
        self._since = {key: now if room and diagnosis.topic == "node" else self._since.get(key, now) for key, diagnosis, _ in found}
        self._troubles = [Trouble(key, diagnosis, pod, self._since[key] + self._patience(diagnosis, pod)) for key, diagnosis, pod in found]
        self._last = self.worst() or self._last

    def _refused(self, events: Events) -> str:
        """What the API server told the workload's controller when that wanted to create pods it still lacks."""
        if self.standing.refused or self.obj is None or self.ref.kind in ("Deployment", "ReplicaSet", "Pod"):
            return self.standing.refused
        # a StatefulSet's controller that may not create a pod does not even say that it has seen the change
        waiting = any(not ready(p) for p in self._new)
        failed = [e for e in events.about(self.ref.kind, self.ref.name, self.obj["metadata"]["uid"]) if e.get("reason") == "FailedCreate"]
        return said(failed[0]) if failed and not waiting else ""

    def _patience(self, diagnosis: Diagnosis, pod: Object | None) -> float:
        if pod and self._old.get(pod["metadata"]["uid"]) == _restarts(pod):
            return max(RETRY_PATIENCE, 0 if diagnosis.attempts else diagnosis.patience)
        return inf if diagnosis.attempts else diagnosis.patience

    @property
    def crashes(self) -> int:
        """How often its containers have crashed: of a Job in all pods together, else in the worst one."""
        attempts = [t.diagnosis.attempts for t in self._troubles]
        return sum(attempts) if self.ref.kind == "Job" else max(attempts, default=0)

    def due(self, hopeful: bool) -> float:
        """When the rollout has failed if nothing changes until then; `hopeful`: other workloads are still coming up."""
        fresh = [t for t in self._troubles if t.diagnosis.attempts and t.until == inf]
        # a Job is made to be tried again
        if fresh and self.crashes >= (HOPEFUL_CRASHES if hopeful or self.ref.kind == "Job" else CRASHES):
            return -inf
        return min([self._gone_since + GONE_PATIENCE, self._failed_since + NEWS_PATIENCE, *(t.until for t in self._troubles)])

    def given_up(self, now: float) -> str:
        """What its controller said when it gave up, once it is known why, or is not going to be; empty before."""
        return self.standing.failed if self.verdict() or now >= self._failed_since + NEWS_PATIENCE else ""

    def worst(self) -> Trouble | None:
        """What to tell first: who crashes again and again, then what ends first."""
        return min(self._troubles, key=lambda t: (t.diagnosis.attempts < CRASHES, t.until, -t.diagnosis.attempts), default=None)

    def verdict(self) -> Trouble | None:
        """`worst`, or what was so before the pods of a failed Job were taken away."""
        return self.worst() or self._last

    def pardon(self, trouble: Trouble, now: float) -> None:
        """It was mended meanwhile: the kubelet will find out."""
        self._since[trouble.key] = now + RETRY_PATIENCE
        self._troubles.remove(trouble)

    def stuck(self) -> list[Object]:
        found = stuck_pods(self.obj, (self.pods or {}).values()) if self.obj and self.standing.observed else []
        return [p for p in found if p["metadata"]["uid"] not in self.unstuck]

    # --- what to say

    def failed(self) -> str:
        return f"{self.ref} {'did not complete' if self.ref.kind == 'Job' else 'did not come up'}"

    def waiting(self) -> str:
        """``1 of 3 pods ready, web-abc: ContainerCreating``"""
        text = self.standing.waiting
        if self.standing.total and self.ref.kind != "Pod":
            text = f"{self.standing.ready} of {self.standing.total} {'completed' if self.ref.kind == 'Job' else 'pods ready'}"
        trouble = self.worst()
        if trouble and trouble.pod:
            return f"{text}, {trouble.pod['metadata']['name']}: {trouble.diagnosis.brief}"
        if trouble:
            return f"{text}: {trouble.diagnosis.message}"
        if slow := next((p for p in self._new if not ready(p)), None):
            return f"{text}, {slow['metadata']['name']}: {stage(slow)}"
        return text if text == self.standing.waiting else f"{text}: {self.standing.waiting}"

    def progress(self) -> str:
        """`waiting`, or nothing where that was said already."""
        text = self.waiting()
        if text == self._said:
            return ""
        self._said = text
        return text


def _restarts(pod: Object) -> int:
    return sum(c.restarts for c in containers(pod))


def _failed_before(pod: Object) -> bool:
    """The kubelet waits before it tries again: no pod comes so far before a rollout's first look at it."""
    return any(c.waiting.get("reason") in (BACK_OFF, "ImagePullBackOff") for c in containers(pod))
