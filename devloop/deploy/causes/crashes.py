"""Why a container does not stay."""

from __future__ import annotations

import signal

from devloop.deploy.causes.diagnosis import Diagnosis, Events, said, subject
from devloop.deploy.causes.probes import killed_by_probe
from devloop.model import Object
from devloop.pods import Container

BACK_OFF = "CrashLoopBackOff"
SEE_OUTPUT = "Its last lines tell why."


def crash(pod: Object, container: Container, events: Events) -> Diagnosis | None:
    """Of a container that has ended and should not have, or waits to be started again; None of any other."""
    now, waits = container.terminated, container.waiting.get("reason") == BACK_OFF
    ended = now or (container.last_terminated if waits else {})
    policy = container.spec.get("restartPolicy") or (pod.get("spec") or {}).get("restartPolicy", "Always")
    always = container.lasting and policy == "Always"
    if not ended or not (ended.get("exitCode") or always):
        return None
    told, hint = _ending(pod, container, ended, events)
    attempts = container.restarts + 1
    times = f" ({attempts} times so far)" if attempts > 1 else ""
    brief = f"{BACK_OFF}, exit code {ended.get('exitCode')}" if waits else f"ended with exit code {ended.get('exitCode')}"
    return Diagnosis("crash", brief, f"{subject(pod, container)} {told}{times}", hint=hint, attempts=attempts,
                     container=container.name, previous=waits)


def _ending(pod: Object, container: Container, ended: Object, events: Events) -> tuple[str, str]:
    """How it ended, and what to do."""
    code = ended.get("exitCode", 0)
    limit = ((container.spec.get("resources") or {}).get("limits") or {}).get("memory", "")
    if ended.get("reason") == "OOMKilled" or (code == 137 and limit and not _killed(pod, container, events)):
        sure = "was" if ended.get("reason") == "OOMKilled" else "was most likely"
        whose = f"it needs more memory than its limit of {limit}" if limit else "its node has no memory left"
        return (f"{sure} killed for its use of memory (OOMKilled, exit code {code}): {whose}",
                "Raise resources.limits.memory in the manifest, or make the program use less.")
    if killed := _killed(pod, container, events):
        return killed
    if not code:
        return ("ends by itself with exit code 0, and a workload's container is to run for ever",
                "Does its command stay in the foreground? What is to run once belongs into a Job.")
    named = f"{code} ({_meaning(code)})" if _meaning(code) else str(code)
    message = " ".join((ended.get("message") or "").split())
    return (f"crashes with exit code {named}" + (f": {message}" if message else ""),
            "Its command is not in the image or not executable." if code in (126, 127) else SEE_OUTPUT)


def _killed(pod: Object, container: Container, events: Events) -> tuple[str, str] | None:
    if hook := events.of_pod(pod, "FailedPostStartHook", container=container.name):
        told = said(hook[0]).removeprefix("PostStartHook failed")     # all that newer kubelets say
        return "is restarted because its postStart hook fails" + (f": {told}" if told else ""), "Mend lifecycle.postStart in the manifest."
    return killed_by_probe(pod, container, events)


def _meaning(code: int) -> str:
    if code in (126, 127):
        return "command not executable" if code == 126 else "command not found"
    try:
        return signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        return ""
