"""What the pipeline knows of deploying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from devloop.cancel import Cancel
from devloop.deploy.manifests import Rendered
from devloop.events import Emit
from devloop.model import Manifest, ObjectRef


class Deployer(Protocol):
    """Brings the cluster's objects to what the manifests say, and takes them away again."""

    def deploy(self, manifests: Sequence[Manifest], emit: Emit, cancel: Cancel) -> tuple[ObjectRef, ...]:
        """Apply what changed, remove what left the manifests. Returns every workload of the manifests, changed or not.

        Emits `ObjectApplied`. Raises `DeployError`, `UnreachableError` or `Cancelled`.
        """
        ...

    def delete(self, emit: Emit, cancel: Cancel, *, volumes: bool = False) -> None:
        """Delete what this project deployed (namespaces it did not create stay, PersistentVolumeClaims go with `volumes` alone) and
        wait until the pods are gone. Nothing there is no error."""
        ...


class PullAccess(Protocol):
    """Lets the cluster's nodes pull what was published."""

    def prepare(self, rendered: Rendered, emit: Emit, cancel: Cancel) -> tuple[Manifest, ...]:
        """The pull secrets to deploy with these manifests: they hold passwords. Emits a `Notice` about pods that cannot pull.

        Raises `DeployError` where there is no login to make a secret of, `UnreachableError`, `Cancelled`.
        """
        ...


class Rollout(Protocol):
    """Waits until workloads run."""

    def wait(self, workloads: Sequence[ObjectRef], emit: Emit, cancel: Cancel) -> None:
        """Until every workload runs what was applied. Raises `RolloutError` with the diagnosis as soon as one cannot,
        `UnreachableError` or `Cancelled`. Emits `StepStarted/Progress/Finished` with step ``rollout``, one subject a workload."""
        ...
