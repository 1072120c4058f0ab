"""How objects end, pods above all: told at once, quickly where nobody asked for more, and not waited for when nothing runs in them.

A kubelet before 1.22 looks only every 10 s for pods it has ended, and a shell as process 1 ignores SIGTERM, which costs the default
grace of 30 s each time. Both are waits for nothing at every Ctrl-C and every replaced Job.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from devloop.deploy.objects import is_ending, uid
from devloop.deploy.work import Work
from devloop.errors import ApiError
from devloop.events import Step, StepProgress
from devloop.model import Object

DEFAULT_GRACE = 30
QUICK_GRACE = 2
"""Seconds between SIGTERM and SIGKILL in place of the default."""


def delete(work: Work, path: str, options: Object) -> bool:
    """Whether there was something to delete: it may be gone, or be another one of that name by now."""
    try:
        work.request("DELETE", path, body=options)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        return False
    return True


def grace(pod: Object) -> Object:
    """The options to delete a pod with: its own grace period where its manifest chose one, or it writes to a PersistentVolumeClaim."""
    own = pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE) != DEFAULT_GRACE
    return {} if own or claims(pod) else {"gracePeriodSeconds": QUICK_GRACE}


def claims(pod: Object) -> list[str]:
    """The PersistentVolumeClaims that a pod mounts."""
    return [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes") or () if "persistentVolumeClaim" in v]


def end_pods(work: Work, namespace: str, mine: Callable[[Object], bool], *, selector: str, seconds: float, step: Step,
             subject: str = "") -> tuple[list[Object], list[Object]]:
    """Wait until these pods, whose makers were deleted, are gone, and do not let them take longer than they need.

    The garbage collector tells them to end: whoever does it before a controller knows that it was deleted gets new pods. Returns all
    the pods there were, and those that are still there after `seconds`. `selector`: labels that all of them have.
    """
    path, deadline = f"/api/v1/namespaces/{namespace}/pods", time.monotonic() + seconds
    seen: dict[str, Object] = {}
    left: list[Object] = []
    dismissed: set[str] = set()

    def look(objects: Iterable[Object]) -> None:
        left[:] = [o for o in objects if mine(o)]
        seen.update({uid(o): o for o in left})
        if left:
            work.emit(StepProgress(step, subject, f"waiting for {names(left)} to end", len(seen) - len(left), len(seen), "pods"))

    def told(objects: Iterable[Object]) -> bool:
        look(objects)
        return all(map(is_ending, left))

    def ended(objects: Iterable[Object]) -> bool:
        look(objects)
        dismiss(pod for pod in left if is_ending(pod) and not _runs(pod))
        return not left

    def dismiss(pods: Iterable[Object]) -> None:
        for pod in pods:
            if uid(pod) not in dismissed:
                dismissed.add(uid(pod))
                delete(work, f"{path}/{pod['metadata']['name']}", {"preconditions": {"uid": uid(pod)}, "gracePeriodSeconds": 0})

    def until(done: Callable[[Iterable[Object]], bool], limit: float) -> bool:
        return work.until(path, {"labelSelector": selector}, done, max(0.5, min(limit, deadline - time.monotonic())))

    if until(told, seconds) and not until(ended, QUICK_GRACE):
        dismiss(pod for pod in left if grace(pod))
        until(ended, seconds)
    return list(seen.values()), left


def _runs(pod: Object) -> bool:
    """Whether a container runs in it, as far as the kubelet has told."""
    status = pod.get("status") or {}
    containers = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return any("running" in (c.get("state") or {}) for c in containers)


def names(pods: Sequence[Object]) -> str:
    return ", ".join(f"pod/{pod['metadata']['name']}" for pod in pods)
