"""Every error a user can meet, as one tree. Each class knows its exit code, each instance its message and its hint.

    DevloopError
    ├── UsageError            2   the command line
    ├── ConfigError           2   devloop.yaml, manifests as files, .dockerignore
    ├── BuildError           10
    │   └── EngineError      10   the Docker Engine's refusal, with its status
    ├── PublishError         11
    ├── DeployError          12   rendering included
    │   └── ApiError         12   the API server's refusal, with its status and reason
    ├── RolloutError         13
    ├── UnreachableError     14   Docker or the cluster does not answer, or does not know us
    └── Cancelled           130   Ctrl-C, SIGTERM, or a newer generation

Foreign exceptions are mapped once, in `clients/`, most specific first and ``from`` the original.
"""

from __future__ import annotations

from typing import Any, ClassVar


class DevloopError(Exception):
    """What failed (`message`), what to do about it (`hint`), and the lines worth showing with it (`details`).

    `message` is one or two plain sentences that name the thing (file, image, workload) and the cause. `hint` tells the
    next step. `details` is verbatim material, such as the last lines of a build or of a crashed container.
    """

    exit_code: ClassVar[int] = 1
    phase: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "", details: tuple[str, ...] | list[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)


class UsageError(DevloopError):
    exit_code = 2
    phase = "usage"


class ConfigError(DevloopError):
    exit_code = 2
    phase = "config"


class BuildError(DevloopError):
    exit_code = 10
    phase = "build"


class EngineError(BuildError):
    """The Docker Engine answered with an error status; `status` is the HTTP code, 0 where the refusal came without one."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class PublishError(DevloopError):
    exit_code = 11
    phase = "publish"


class DeployError(DevloopError):
    exit_code = 12
    phase = "deploy"


class ApiError(DeployError):
    """The API server answered with an error status.

    `status` is the HTTP code, `reason` Kubernetes' own (``NotFound``, ``Conflict``, ``Invalid`` ...), `body` the whole
    ``Status`` object as a dict (``details.causes`` names fields and managers).
    """

    def __init__(self, message: str, *, status: int, reason: str, body: dict[str, Any], hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.body = body


class RolloutError(DevloopError):
    exit_code = 13
    phase = "rollout"


class UnreachableError(DevloopError):
    exit_code = 14
    phase = "connect"


class Cancelled(DevloopError):
    """The work was called off: by the user or because a newer generation made it stale."""

    exit_code = 130
    phase = "cancelled"

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "cancelled")
