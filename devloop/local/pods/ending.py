"""How a container ends: told to, and what is known of it then."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from devloop.cancel import Cancel
from devloop.errors import Cancelled, DevloopError
from devloop.local.pods.ground import Ground
from devloop.local.pods.messages import MOST_BYTES
from devloop.local.pods.node import Node
from devloop.local.pods.runs import Run
from devloop.local.pods.starting import asked
from devloop.model import Object

LEAST = 2.0               # seconds that a program has after its preStop hook, however long that took
_FALLBACK_LINES, _FALLBACK_BYTES = "80", 2048
_UNSTARTED = "0001-"


def tell_to_end(node: Node, ground: Ground, run: Run, grace: float, *, failed: Callable[[str], None], cancel: Cancel) -> float:
    """Run the container's preStop hook and send the signal that ends it. Returns the seconds of `grace` that are left.

    `failed` is told why the hook failed; cancelling ends the hook.
    """
    began = time.monotonic()
    hook = (run.spec.get("lifecycle") or {}).get("preStop")
    if hook and grace > 0 and ground.sandbox:
        with suppress(Cancelled):
            answer = asked(node, ground, run).ask(hook, grace, cancel)
            if not answer.ok:
                failed(f"PreStopHook failed: {answer.text}")
    left = max(LEAST, grace - (time.monotonic() - began)) if grace > 0 else 0.0
    node.containers.kill(run.container, run.stop_signal if left else "SIGKILL")
    return left


def terminated(node: Node, run: Run) -> Object | None:
    """The container's end as in a status; None while it still runs."""
    shown = node.containers.inspect(run.container)
    state = shown.get("State") or {}
    if state.get("Running"):
        return None
    code = int(state.get("ExitCode", 137))
    reason = "OOMKilled" if state.get("OOMKilled") else "Error" if code else "Completed"
    began = (run.state.get("running") or {}).get("startedAt")
    result: Object = {"exitCode": code, "reason": reason, "startedAt": _time(state.get("StartedAt")) or began,
                      "finishedAt": _time(state.get("FinishedAt")) or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                      "containerID": f"docker://{run.container}"}
    if message := _message(node, run, code):
        result["message"] = message
    return result


def _message(node: Node, run: Run, code: int) -> str:
    left = ""
    with suppress(DevloopError):
        left = node.messages.read(run.message_file) if run.message_file else ""
        if not left and code and run.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            query = {"stdout": "1", "stderr": "1", "tail": _FALLBACK_LINES}
            with node.containers.logs(run.container, query, Cancel(), tty=bool(run.spec.get("tty"))) as stream:
                left = b"".join(iter(stream.read1, b""))[-_FALLBACK_BYTES:].decode(errors="replace")
    return left[:MOST_BYTES]


def _time(text: str | None) -> str:
    """The Engine's times as Kubernetes': whole seconds."""
    if not text or text.startswith(_UNSTARTED):
        return ""
    return text[:19] + "Z"
