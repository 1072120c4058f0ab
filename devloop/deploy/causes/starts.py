"""Why a container cannot be made or started."""

from __future__ import annotations

import re
from dataclasses import replace

from devloop.deploy.causes.diagnosis import AT_ONCE, Diagnosis, subject
from devloop.deploy.causes.references import describe_missing, missing_hint, missing_in
from devloop.model import Object
from devloop.pods import Container

REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError"}
ENDINGS = {"ContainerCannotRun", "StartError"}   # how Docker and containerd report the same once it counts as an end
RUNTIME_RETRY = 15.0   # seconds: what the container runtime could not do at first it is asked again within 10 to 15

_NOISE = re.compile(r"^.*(?=(exec(user process caused)?: |error mounting|Cannot mkdir|mkdir /))")
_ABSENT = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)
_HOPELESS = re.compile(r"permission denied|not a directory|a directory onto a file|Cannot mkdir|no command specified", re.IGNORECASE)
_EXEC_FORMAT = re.compile("exec format error", re.IGNORECASE)


def start_failure(pod: Object, container: Container) -> Diagnosis:
    """Of a container that waits for one of `REASONS`, or ended with one of `ENDINGS`."""
    state = container.waiting if container.waiting.get("reason") in REASONS else container.terminated or container.last_terminated
    reason, text = state["reason"], " ".join(state.get("message", "").split())
    who = subject(pod, container)
    found = Diagnosis("start", reason, f"{who} cannot start: {_NOISE.sub('', text).removesuffix(': unknown') or reason}",
                      hint="Look at the container's command, mounts and securityContext in the manifest.", patience=AT_ONCE)
    if missing := missing_in(text, pod):
        return replace(found, missing=missing, message=f"{who} cannot start: {describe_missing(missing, pod['metadata']['namespace'])}",
                       hint=missing_hint(missing))
    if "runAsNonRoot" in text:
        return replace(found, message=f"{who} cannot start: the manifest asks for runAsNonRoot, and the image runs as root",
                       hint="Give the Dockerfile a USER with a number (USER 1000), or set securityContext.runAsUser.")
    if is_exec_format(text):
        return exec_format(found, who)
    if _ABSENT.search(text):
        return replace(found, hint=f"{_program(container)} names a program that is not in the image, or a script whose '#!' line does.")
    if "permission denied" in text:
        return replace(found, hint="The program is not executable: chmod +x it before COPY, or use COPY --chmod=755.")
    return found if _HOPELESS.search(text) else replace(found, patience=RUNTIME_RETRY)


def is_exec_format(text: str) -> bool:
    return bool(_EXEC_FORMAT.search(text))


def exec_format(found: Diagnosis, who: str, node: str = "") -> Diagnosis:
    """The kernel does not know the program's format. `node`: its platform (``linux/amd64``), where that is known."""
    platform = f"the node's ({node})" if node else "the node's"
    return replace(found, brief="exec format error", patience=AT_ONCE, message=f"{who} cannot start: exec format error: its program "
                   f"was built for another platform than {platform}, or is a script without a '#!' line",
                   hint=f"Build the image for the node: docker: {{platform: {node or 'linux/amd64'}}} of the artifact in devloop.yaml.")


def _program(container: Container) -> str:
    command = " ".join([*(container.spec.get("command") or ()), *(container.spec.get("args") or ())])
    return f"The manifest's command ({command})" if command else "The image's ENTRYPOINT or CMD"
