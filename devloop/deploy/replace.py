"""What Kubernetes refuses to change in place is deleted and created again: a Job's template, a Pod, an immutable ConfigMap …"""

from __future__ import annotations

from devloop.deploy.ending import delete, end_pods, grace
from devloop.deploy.objects import MANAGER, Target, delete_command, owner, uid, with_marks
from devloop.deploy.refusals import causes, refusal
from devloop.deploy.work import Work
from devloop.errors import ApiError, DeployError
from devloop.events import StepProgress
from devloop.model import Object

GONE_SECONDS = 120.0

_NEVER = {"PersistentVolumeClaim": "the data in it", "PersistentVolume": "the data in it", "Namespace": "everything in it",
          "CustomResourceDefinition": "every object of that kind"}
_PODS_FIRST = ("Job", "StatefulSet", "Pod")
"""Two runs of a Job at once may do harm, and a StatefulSet's pods keep their names: the old pods end before the new object is made."""


def wants_replacing(work: Work, target: Target, error: ApiError) -> bool:
    """Whether an apply failed only because the object is there already in another form.

    Asked of the API server, not of its words: would it create the object, were there none? It checks everything before it notices
    the one that is there (409). So a manifest that is wrong besides never costs the running object.
    """
    if error.status != 422:
        return False
    try:
        work.request("POST", target.resource.path(target.ref.namespace), body=target.body, dryRun="All", fieldManager=MANAGER)
    except ApiError as verdict:
        taken = all("already allocated" in c.get("message", "") for c in causes(verdict))   # a Service's ports, by itself
        return verdict.reason == "AlreadyExists" or (verdict.status == 422 and target.ref.kind == "Service" and taken)
    return False


def replace(work: Work, target: Target, live: Object, error: ApiError) -> Object:
    """Delete the live object, wait until it is gone, create the new one. Raises `DeployError` where data would be lost."""
    kind = target.ref.kind
    if kind in _NEVER:
        raise DeployError(f"{target.place}: Kubernetes refuses to change {changed(error)}, and devloop does not delete a {kind}, "
                          f"because {_NEVER[kind]} would be lost",
                          hint=f"Undo the change, give it another name, or delete it yourself: {delete_command(target.ref)}")
    options: Object = {"preconditions": {"uid": uid(live)}, "propagationPolicy": "Foreground" if kind in _PODS_FIRST else "Background"}
    delete(work, target.path, options | (grace(live) if kind == "Pod" else {}))
    if kind in _PODS_FIRST:
        labels = live["metadata"].get("labels") or {} if kind == "Pod" else live["spec"]["selector"].get("matchLabels") or {}
        end_pods(work, target.ref.namespace, lambda pod: uid(live) in (uid(pod), owner(pod)), seconds=GONE_SECONDS,
                 selector=",".join(f"{k}={v}" for k, v in labels.items()), step="deploy", subject=str(target.ref))
    await_gone(work, target, live)
    try:
        return work.apply(target.path, with_marks(target.body, None, work.name), force=False)
    except ApiError as again:
        raise refusal(target, again) from again


def await_gone(work: Work, target: Target, live: Object) -> None:
    """Wait until an object that is being deleted is gone, so that it can be made again."""
    work.emit(StepProgress("deploy", str(target.ref), f"waiting until the old {target.ref.kind} is gone"))
    if not work.gone(target.resource, live, GONE_SECONDS):
        current = work.find(target.path) or live
        held = ", ".join(current["metadata"].get("finalizers") or ())
        raise DeployError(f"{target.place} is being deleted for {GONE_SECONDS:.0f} s already and is still there"
                          + (f"; it is held by the finalizers {held}" if held else ""),
                          hint="Whatever handles these finalizers must run. 'kubectl describe' shows what it waits for.")


def changed(error: ApiError) -> str:
    """The fields that cannot be changed, in words."""
    return ", ".join(dict.fromkeys(c["field"] for c in causes(error) if c.get("field"))) or "it"
