"""Everything a person or a program sees is an `Event`. The terminal and the JSON lines are two readers of the same stream.

Events are emitted by calling an `Emit`, from any thread; readers get them one at a time. They carry plain values only.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Step = Literal["build", "publish", "deploy", "rollout", "delete", "watch"]
Outcome = Literal["live", "failed", "stale"]
Action = Literal["created", "configured", "replaced", "deleted", "unchanged"]


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    @property
    def type(self) -> str:
        """The event's name on a JSON line: ``StepStarted`` → ``stepStarted``."""
        name = type(self).__name__
        return name[0].lower() + name[1:]

    def to_json(self) -> dict[str, Any]:
        """``{"type": …}`` and every field, in camelCase."""
        fields = dataclasses.asdict(self)
        return {"type": self.type} | {re.sub(r"_(.)", lambda m: m[1].upper(), key): value for key, value in fields.items()}


Emit = Callable[[Event], None]


@dataclass(frozen=True)
class SessionStarted(Event):
    """A command begins: which project, on which cluster, and by what reason that cluster may be touched."""

    command: str
    project: str
    context: str
    namespace: str
    cluster: str
    reason: str


@dataclass(frozen=True)
class GenerationStarted(Event):
    """One batch of saves and everything done for it. `files` are shown as the user would name them, at most a few."""

    generation: int
    files: tuple[str, ...]
    total_files: int


@dataclass(frozen=True)
class GenerationFinished(Event):
    """`live`: the new code serves. `failed`: the old one still does. `stale`: a newer save called it off."""

    generation: int
    outcome: Outcome
    seconds: float


@dataclass(frozen=True)
class StepStarted(Event):
    """`subject`: the artifact, workload or object the step is about; empty for a step about everything."""

    step: Step
    subject: str = ""
    detail: str = ""


@dataclass(frozen=True)
class StepProgress(Event):
    """How far a step is. `current`/`total` in `unit` (0 total: not known); `detail` says what is being waited for."""

    step: Step
    subject: str
    detail: str
    current: int = 0
    total: int = 0
    unit: Literal["", "bytes", "steps", "pods"] = ""


@dataclass(frozen=True)
class StepOutput(Event):
    """One line a tool printed (a build, mostly), without its line end."""

    step: Step
    subject: str
    line: str


@dataclass(frozen=True)
class StepFinished(Event):
    """`detail`: the outcome in a few words, such as a reference. `cached`: it was there already and nothing was done."""

    step: Step
    subject: str
    seconds: float
    detail: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Failure(Event):
    """Something went wrong; `phase` and `exit_code` as in `errors`. Emitted once per error."""

    phase: str
    message: str
    hint: str
    details: tuple[str, ...]
    exit_code: int


@dataclass(frozen=True)
class Notice(Event):
    """One line the user should know: a choice devloop made and why, or something that will need attention."""

    message: str
    hint: str = ""
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class ObjectApplied(Event):
    """What happened to one Kubernetes object. `resource` as kubectl names it (``deployment/web``); `reason` where not obvious."""

    action: Action
    resource: str
    namespace: str
    reason: str = ""


@dataclass(frozen=True)
class LogLine(Event):
    """One line of one container, without its line end. `timestamp` is Kubernetes' RFC 3339 one, empty where unknown.

    `workload` is what made the pod, as kubectl names it (``deployment/web``); `source` the shortest name that tells the container
    from all others that are tailed now.
    """

    namespace: str
    pod: str
    container: str
    line: str
    timestamp: str = ""
    workload: str = ""
    source: str = ""


@dataclass(frozen=True)
class ForwardChanged(Event):
    """A forward listens (``listening``: not yet connected to a pod), is ``ready``, or ``waiting`` for a pod, or ``closed``."""

    resource: str
    port: str
    address: str
    local_port: int
    state: Literal["listening", "ready", "waiting", "closed"]
    pod: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Checked(Event):
    """`devloop doctor` has looked at one thing. `detail`: what is well, or what is not; `hint`: what to do about it."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class ConfigReloaded(Event):
    """devloop.yaml was edited and the new one is in force."""

    file: str
