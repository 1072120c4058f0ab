"""What a probe asked, and what it was told."""

from __future__ import annotations

import re

from devloop.deploy.causes.diagnosis import AT_ONCE, NEVER, Diagnosis, Events, said, subject
from devloop.model import Object
from devloop.pods import Container, condition

_FAILED = re.compile(r"^(Readiness|Liveness|Startup) probe (?:failed|errored(?: and resulted in \w+ state)?): ?(.*)$", re.DOTALL)
_NOISE = re.compile(r"^.*unable to start container process: ")     # by whom this was passed on
_NO_PROGRAM = "executable file not found"


def describe_probe(probe: Object) -> str:
    """What the probe asks: ``GET :8080/healthz``"""
    if http := probe.get("httpGet"):
        return f"GET :{http.get('port')}{http.get('path', '/')}"
    if tcp := probe.get("tcpSocket"):
        return f"connect to :{tcp.get('port')}"
    if grpc := probe.get("grpc"):
        return f"gRPC health of :{grpc.get('port')}"
    return "exec " + " ".join((probe.get("exec") or {}).get("command") or ())


def answer(pod: Object, container: Container, kind: str, events: Events) -> str:
    """The last answer that failed a probe (``readiness``, ``liveness``, ``startup``); empty where none is known."""
    for event in events.of_pod(pod, "Unhealthy", "ProbeError", container=container.name):
        found = _FAILED.match(said(event))
        if found and found[1].lower() == kind:
            return _NOISE.sub("", found[2].strip()) or "no answer"
    return ""


def not_ready(pod: Object, container: Container, events: Events) -> Diagnosis | None:
    """Of a container that runs and is not ready: None where it has no probe to blame."""
    started = container.status.get("started", True)
    kind = "readiness" if started or not container.spec.get("startupProbe") else "startup"
    probe = container.spec.get(f"{kind}Probe")
    if not probe:
        return None
    asks, told = describe_probe(probe), answer(pod, container, kind, events)
    because = f": {told}" if told else ""
    hopeless = _NO_PROGRAM in told
    hint = (f"The {kind}Probe's command is not in the image: mend it in the manifest." if hopeless else
            f"Does the program listen on that port, on all addresses (0.0.0.0) and not on 127.0.0.1 only? Does the {kind}Probe in the "
            "manifest ask the right path and port, and give it time enough?")
    # whether a program will be ready some day only it knows: the deadline decides
    return Diagnosis(kind, f"{kind} probe fails{because}" if told else f"running, {kind} probe has not passed yet",
                     f"{subject(pod, container)} runs, but its {kind} probe ({asks}) does not pass{because}", hint=hint,
                     patience=AT_ONCE if hopeless else NEVER, container=container.name)


def killed_by_probe(pod: Object, container: Container, events: Events) -> tuple[str, str] | None:
    """What to say and what to do where the kubelet restarted the container because its liveness or startup probe failed."""
    for event in events.of_pod(pod, "Killing", container=container.name):
        kind = next((k for k in ("liveness", "startup") if f"failed {k} probe" in said(event)), "")
        if not kind:
            continue
        probe = container.spec.get(f"{kind}Probe") or {}
        told = answer(pod, container, kind, events)
        hint = (f"Mend what the probe asks, or give the {kind}Probe in the manifest more time (initialDelaySeconds, timeoutSeconds, "
                "failureThreshold).")
        return f"is restarted because its {kind} probe ({describe_probe(probe)}) fails" + (f": {told}" if told else ""), hint
    return None


def open_gate(pod: Object) -> str:
    """The first readiness gate that somebody else has not passed yet."""
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    return next((g["conditionType"] for g in gates if condition(pod, g["conditionType"]).get("status") != "True"), "")
