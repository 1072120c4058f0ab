"""Deploying to the local target: what has no effect there is told, once, and what nothing there handles is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from devloop.cancel import Cancel
from devloop.deploy.deployer import Deployer
from devloop.errors import DeployError, EngineError
from devloop.events import Emit, Notice, ObjectApplied
from devloop.local.kube import REMOVE_CLAIMS
from devloop.local.unsupported import Finding, skipped, told, unsupported
from devloop.model import Manifest, ObjectRef


class Target(Protocol):
    """Where a `LocalDeployer` deploys to."""

    @property
    def started(self) -> bool: ...

    def start(self, cancel: Cancel) -> None:
        """Begin to run what is deployed."""
        ...

    def purge(self, *, volumes: bool) -> tuple[list[str], list[str]]:
        """Remove what an earlier session has left running; returns its pods and its claims, each as NAMESPACE/NAME."""
        ...


class LocalDeployer:
    """A `Deployer` before another one. `strict`: what has no effect is an error."""

    def __init__(self, deployer: Deployer, target: Target, *, strict: bool) -> None:
        self._deployer, self._target, self._strict = deployer, target, strict
        self._told: set[Finding] = set()

    def deploy(self, manifests: Sequence[Manifest], emit: Emit, cancel: Cancel) -> tuple[ObjectRef, ...]:
        """See `Deployer`. Raises `DeployError` before anything is deployed where `strict` finds something, or the Engine refuses."""
        found = unsupported(manifests)
        if found and self._strict:
            raise DeployError(f"{_count(found)} no effect on the Docker Engine alone", details=[f"{f}: {f.why}" for f in found],
                              hint="Leave them out (a profile can), deploy without --strict, or to a cluster.")
        if new := [finding for finding in found if finding not in self._told]:
            emit(Notice(f"{_count(new)} no effect on the Docker Engine alone: {told(new)}", level="warning",
                        hint="On a cluster they have; with --strict this is an error."))
            self._told.update(new)
        try:
            self._target.start(cancel)
        except EngineError as error:      # which would count as a failed build
            raise DeployError(f"the Docker Engine does not run what every pod needs: {error.message}",
                              hint=error.hint or "Does 'docker run --rm busybox' work? What the Engine logs may tell more.") from error
        return self._deployer.deploy([manifest for manifest in manifests if not skipped(manifest.ref)], emit, cancel)

    def delete(self, emit: Emit, cancel: Cancel, *, volumes: bool = False) -> None:
        """See `Deployer`. What another session has left has no objects any more: it is removed at once."""
        if self._target.started:
            self._deployer.delete(emit, cancel, volumes=volumes)
            return
        pods, claims = self._target.purge(volumes=volumes)
        for kind, found, gone in (("pod", pods, True), ("persistentvolumeclaim", claims, volumes)):
            for namespace, _, name in (each.partition("/") for each in found):
                if gone:
                    emit(ObjectApplied("deleted", f"{kind}/{name}", namespace))
                else:
                    emit(Notice(f"{kind}/{name} stays, with its data", hint=f"To remove it: {REMOVE_CLAIMS}"))


def _count(findings: Sequence[Finding]) -> str:
    return "one thing in the manifests has" if len(findings) == 1 else f"{len(findings)} things in the manifests have"
