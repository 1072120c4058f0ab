"""What is wrong with a pod. Pure: the pod as it is, and the events about it."""

from __future__ import annotations

from devloop.deploy.causes import pulls, starts
from devloop.deploy.causes.crashes import crash
from devloop.deploy.causes.diagnosis import NEVER, Diagnosis, Events, subject
from devloop.deploy.causes.placement import not_set_up, unschedulable
from devloop.deploy.causes.probes import not_ready, open_gate
from devloop.model import Object
from devloop.pods import Container, assigned, condition, containers, finished, ready, terminating

NODE_PATIENCE = 30.0   # a node that does not answer may only be rebooting


def diagnose(pod: Object, events: Events) -> Diagnosis | None:
    """What keeps this pod from serving, the first cause first; None where it serves, did its work, or only needs a moment."""
    status = pod.get("status") or {}
    if terminating(pod) or ready(pod) or status.get("phase") == "Succeeded":
        return None
    if status.get("phase") == "Failed" and status.get("reason"):
        return _failed(pod)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("reason") in ("Unschedulable", "SchedulerError"):
        return unschedulable(pod, scheduled.get("message", ""), events)
    for container in containers(pod):
        if found := _container(pod, container, events):
            return found
    if condition(pod, "Ready").get("status") == "Unknown" or status.get("reason") == "NodeLost":
        return Diagnosis("node", "its node does not answer", f"{subject(pod)}: its node {pod['spec'].get('nodeName')} does not answer",
                         hint="See 'kubectl get nodes'.", patience=NODE_PATIENCE)
    if assigned(pod) and not finished(pod) and not any(c.running or c.terminated for c in containers(pod)):
        return not_set_up(pod, events)
    return None


def _container(pod: Object, container: Container, events: Events) -> Diagnosis | None:
    reason = container.waiting.get("reason", "")
    if reason in pulls.REASONS:
        return pulls.pull_failure(pod, container, events)
    ended = container.terminated or container.last_terminated
    if reason in starts.REASONS or (not container.running and ended.get("reason") in starts.ENDINGS):
        return starts.start_failure(pod, container)
    if found := crash(pod, container, events):
        return found
    if container.lasting and container.running and not container.status.get("ready"):
        return not_ready(pod, container, events)
    return None


def _failed(pod: Object) -> Diagnosis:
    """Evicted, or refused by the node: its controller makes another."""
    status = pod["status"]
    return Diagnosis("failed", status["reason"], f"{subject(pod)} was ended by its node ({status['reason']}): {status.get('message', '')}",
                     hint="See 'kubectl describe node': memory, disk and processes it has left.", patience=NEVER)


def stage(pod: Object) -> str:
    """How far a pod is that nothing is wrong with, in Kubernetes' words: ``ContainerCreating``."""
    if terminating(pod):
        return "Terminating"
    if not assigned(pod):
        return "waiting for a node"
    for container in containers(pod):
        if container.running and not container.lasting:
            return f"init container {container.name} runs"
        if container.lasting and not container.running:
            return str(container.waiting.get("reason") or container.terminated.get("reason") or "ContainerCreating")
    gate = open_gate(pod)
    return f"waiting for readiness gate {gate}" if gate else "running, not ready yet"
