"""One container of a pod over all its restarts, and which of a pod's containers are to be started now. Nothing is done here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from devloop.cancel import Cancel
from devloop.model import Object

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0     # seconds between restarts, doubling
LONG_ENOUGH = 600.0                          # who has run for so long starts with a short pause again
SETTLED = 0.7                                # seconds; where no probe tells, who still runs then is ready: what ends at once never was
NEVER = float("inf")


@dataclass(eq=False)
class Run:
    """`container` is the Engine's, empty where none was made; `before` the one before it, whose log is kept. `due`: not to be started
    before this moment (of the monotonic clock). `state` and `last` as ``state`` and ``lastState`` in the pod's status."""

    spec: Object
    kind: Literal["init", "main"]
    state: Object
    container: str = ""
    before: str = ""
    last: Object = field(default_factory=dict)
    restarts: int = 0
    image_id: str = ""
    stop_signal: str = "SIGTERM"
    message_file: str = ""
    ready: bool = False
    started: bool = False
    began: float = 0.0
    due: float = 0.0
    pause: float = 0.0
    unmet: bool = False        # it waits for something that may be applied any moment
    again: bool = False        # it is to be started anew whatever the pod's policy says: its image is another
    stopping: bool = False
    probes: Cancel | None = None

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def ended(self) -> Object:
        """How the present instance ended, or the last one where it waits to be started again; empty while it runs or never did."""
        return self.state.get("terminated") or (self.last.get("terminated") or {} if "waiting" in self.state else {})

    @property
    def sidecar(self) -> bool:
        return self.kind == "init" and self.spec.get("restartPolicy") == "Always"

    @property
    def passed(self) -> bool:
        """An init container behind which the next may start."""
        if self.sidecar:
            return self.running and self.started
        return bool(self.state.get("terminated")) and self.ended.get("exitCode") == 0

    @property
    def settles(self) -> float:
        """When it is to be counted as ready because it runs still; never where a probe decides, or it is ready."""
        unproven = self.running and self.started and not self.ready and not self.stopping and not self.spec.get("readinessProbe")
        return self.began + SETTLED if unproven else NEVER

    def restarts_under(self, policy: str) -> bool:
        """Whether what has ended is to be started again."""
        if self.sidecar or self.again:
            return True
        failed = self.ended.get("exitCode") != 0
        if self.kind == "init":
            return failed and policy != "Never"
        return policy == "Always" or (failed and policy == "OnFailure")

    def wait(self, reason: str, message: str = "") -> None:
        """Why it does not run; how it ended before stays known."""
        if ended := self.ended:
            self.last = {"terminated": ended}
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def pause_after(self, ran: float, now: float) -> None:
        """It has ended after so many seconds: when may it be started again?"""
        if ran >= LONG_ENOUGH:
            self.pause = 0.0
        self.due = now + self.pause
        self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)


def runs(pod: Object) -> list[Run]:
    """The init containers first, in the order they run."""
    spec = pod["spec"]
    reason = "PodInitializing" if spec.get("initContainers") else "ContainerCreating"
    kinds: tuple[tuple[Literal["init", "main"], str], ...] = (("init", "initContainers"), ("main", "containers"))
    return [Run(container, kind, {"waiting": {"reason": reason}}) for kind, key in kinds for container in spec.get(key) or ()]


def policy(pod: Object) -> str:
    return str(pod["spec"].get("restartPolicy", "Always"))


def failed(pod: Object, all_runs: Sequence[Run]) -> bool:
    """An init container has failed for good."""
    return any(run.kind == "init" and run.state.get("terminated") and not run.passed and not run.restarts_under(policy(pod))
               for run in all_runs)


def done(pod: Object, all_runs: Sequence[Run]) -> bool:
    """All of the pod's containers have ended and none is started again."""
    mains = [run for run in all_runs if run.kind == "main"]
    over = all("terminated" in run.state and not run.restarts_under(policy(pod)) for run in mains)
    return over or (failed(pod, all_runs) and not any(run.running for run in all_runs if not run.sidecar))


def startable(pod: Object, all_runs: Sequence[Run]) -> list[Run]:
    """Those whose turn it is, whenever they are due: one init container after the other, then all others at once."""
    if failed(pod, all_runs) or done(pod, all_runs):
        return []
    found = []
    for run in all_runs:
        if run.running or run.stopping:
            startable_now = False
        elif run.container or run.ended:
            startable_now = bool(run.ended) and run.restarts_under(policy(pod))
        else:
            startable_now = True
        if startable_now:
            found.append(run)
        if run.kind == "init" and not run.passed:
            break
    return found


def spoken(seconds: float) -> str:
    """``10s``, ``2m40s``"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
