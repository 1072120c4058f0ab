"""From a container in a pod's spec to one that runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from devloop.cancel import Cancel
from devloop.errors import EngineError
from devloop.local.network.sandbox import hostname
from devloop.local.pods.asking import Asked
from devloop.local.pods.environment import environment
from devloop.local.pods.ground import Ground
from devloop.local.pods.images import Tell
from devloop.local.pods.messages import DEFAULT_PATH
from devloop.local.pods.node import Node
from devloop.local.pods.options import create_options
from devloop.local.pods.references import References, Unmet
from devloop.local.pods.runs import FIRST_PAUSE, NEVER, Run
from devloop.local.pods.volumes import mounts
from devloop.local.store import now
from devloop.model import Object

NO_LIMIT = 3600.0     # seconds: a postStart hook has no timeout of its own

_DAEMON = "Error response from daemon: "
_ABSENT = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)
_NO_SANDBOX = re.compile(r"cannot join network|No such container|network namespace", re.IGNORECASE)     # the Engine was restarted
_FORBIDDEN = re.compile(r"permission denied|exec format error", re.IGNORECASE)


@dataclass(frozen=True)
class Launch:
    """One start of a container. `tell` records an event about it; `reported` is called once it runs; `cancel` ends its postStart hook."""

    node: Node
    ground: Ground
    pod: Object
    run: Run
    tell: Tell
    reported: Callable[[], None]
    cancel: Cancel

    def go(self, image: Object) -> bool:
        """Make and start it. False where that has failed: the run's state says how, or runs still where its postStart hook failed.

        Raises `UnreachableError` or `Cancelled`.
        """
        run = self.run
        config = (image.get("Config") or {})
        run.stop_signal = (run.spec.get("lifecycle") or {}).get("stopSignal") or config.get("StopSignal") or "SIGTERM"
        run.image_id, run.unmet, run.again = image_id(image), False, False
        return self._created(image) and self._started()

    def _created(self, image: Object) -> bool:
        run, meta = self.run, self.pod["metadata"]
        attempt = run.restarts + 1 if run.container else run.restarts
        try:
            config = self._config(image)
            made = self.node.containers.create(f"devloop_{run.name}_{meta['name']}_{meta['namespace']}_{meta['uid']}_{attempt}", config)
        except Unmet as error:
            self.tell("Warning", "Failed", f"Error: {error}")
            run.wait("CreateContainerConfigError", str(error))
            run.unmet, run.due = True, NEVER
            return False
        except EngineError as error:
            self._lost_sandbox(error)
            self.tell("Warning", "Failed", f"Error: {_DAEMON}{error.message}")
            run.wait("CreateContainerError", _DAEMON + error.message)
            run.due = time.monotonic() + FIRST_PAUSE
            return False
        self.tell("Normal", "Created", f"Created container {run.name}")
        old = run.before
        if run.ended:
            run.last = {"terminated": run.ended}
        run.before, run.container, run.restarts = run.container, made, attempt
        if old:
            self.node.containers.remove(old)
        return True

    def _config(self, image: Object) -> Object:
        assert self.ground.sandbox
        pod, run, node = self.pod, self.run, self.node
        known = environment(pod, run.spec, References(node.store, pod["metadata"]["namespace"]), node.facts(self.ground.ip))
        mounted = mounts(run.spec, self.ground.volumes, known, self.ground.path, node.api)
        run.message_file = node.messages.take()
        mounted.mounts.append(node.messages.mount(run.message_file, run.spec.get("terminationMessagePath") or DEFAULT_PATH))
        config = create_options(pod, run.spec, image=image, environment={"HOSTNAME": hostname(pod)} | known, mounts=mounted,
                                sandbox=self.ground.sandbox.id, labels=node.pod_labels(pod, "container"))
        # Docker takes the sandbox's, and refuses to be told
        return config | {"Hostname": hostname(pod)} if node.podman else config

    def _lost_sandbox(self, error: EngineError) -> None:
        if _NO_SANDBOX.search(error.message):
            self.ground.remove_sandbox()

    def _started(self) -> bool:
        run, begun = self.run, now()
        try:
            self.node.containers.start(run.container)
        except EngineError as error:
            self._lost_sandbox(error)
            self.tell("Warning", "Failed", f"Error: {_DAEMON}{error.message}")
            code = 127 if _ABSENT.search(error.message) else 126 if _FORBIDDEN.search(error.message) else 128
            run.state = {"terminated": {"exitCode": code, "reason": "ContainerCannotRun", "message": error.message, "startedAt": begun,
                                        "finishedAt": now(), "containerID": f"docker://{run.container}"}}
            run.pause_after(0.0, time.monotonic())
            return False
        self.tell("Normal", "Started", f"Started container {run.name}")
        run.began = time.monotonic()
        run.started, run.ready = not run.spec.get("startupProbe"), False
        hook = (run.spec.get("lifecycle") or {}).get("postStart")
        # as on a cluster: the container counts as running only when its hook is through
        answer = asked(self.node, self.ground, run).ask(hook, NO_LIMIT, self.cancel) if hook else None
        run.state = {"running": {"startedAt": begun}}
        self.reported()
        if answer and not answer.ok:
            self.tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {answer.text}")
        return not answer or answer.ok


def image_id(image: Object) -> str:
    """``imageID`` as a kubelet on Docker tells it."""
    digests = image.get("RepoDigests") or ()
    return f"docker-pullable://{digests[0]}" if digests else f"docker://{image['Id']}"


def asked(node: Node, ground: Ground, run: Run) -> Asked:
    assert ground.sandbox
    return Asked(node.containers.engine, node.network, ground.sandbox, run.container, run.spec)
