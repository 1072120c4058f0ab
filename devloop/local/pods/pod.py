"""The life of one pod: what its containers are to do next, decided anew after everything that happens to it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from devloop.cancel import Cancel
from devloop.errors import Cancelled, DevloopError, EngineError
from devloop.local.pods import ending
from devloop.local.pods import runs as planning
from devloop.local.pods.ground import Ground, NotMounted
from devloop.local.pods.images import NoImage
from devloop.local.pods.node import HOST_IP, Node
from devloop.local.pods.owner import together
from devloop.local.pods.probes import Kind, Prober
from devloop.local.pods.references import Unmet, named
from devloop.local.pods.runs import NEVER, Run
from devloop.local.pods.starting import Launch, asked
from devloop.local.pods.status import status
from devloop.local.store import DEFAULT_GRACE, now
from devloop.model import Object
from devloop.pods import PODS, terminating

T = TypeVar("T")

RETRY = 2.0      # seconds, after the Engine has refused something that may go better soon


class Pod:
    """One pod, on a thread of its own until it has gone. The methods here may be called from everywhere; none of them blocks."""

    def __init__(self, node: Node, pod: Object, gone: Callable[[Pod], None]) -> None:
        """`gone` is called when all is removed, or when `abandon` was obeyed."""
        self.node, self.object, self._gone = node, pod, gone
        self.runs = planning.runs(pod)
        self.ground = Ground(node, pod)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._work = Cancel()                  # ends pulls and hooks when the pod is to end
        self._hurry = Cancel()                 # ends preStop hooks, too
        self._abandoned = self._complete = False
        self._failure: Object | None = None
        self._born, self._since = time.monotonic(), now()
        self._retry = 0.0
        self._reporting = threading.Lock()
        self.thread = threading.Thread(target=self._run, name=f"pod {pod['metadata']['name']}", daemon=True)

    @property
    def uid(self) -> str:
        return str(self.object["metadata"]["uid"])

    # --- what it is told

    def update(self, pod: Object) -> None:
        """The pod's object has changed."""
        old, self.object = self.object, pod
        if terminating(pod):
            self._work.cancel("the pod ends")
            if pod["metadata"].get("deletionGracePeriodSeconds") == 0:
                self._hurry.cancel()
        if old["spec"] != pod["spec"]:
            self._inbox.put(self._respec)
        if old["metadata"].get("labels") != pod["metadata"].get("labels") \
                or old["metadata"].get("annotations") != pod["metadata"].get("annotations"):
            self._inbox.put(self._refresh)
        self._inbox.put(lambda: None)

    def died(self, container: str) -> None:
        """One of its containers has ended."""
        self._inbox.put(partial(self._died, container))

    def changed(self, kind: str, name: str) -> None:
        """An object of its namespace has changed."""
        if (kind, name) in named(self.object) or kind == "PersistentVolumeClaim":
            self._inbox.put(self._refresh)

    def look(self) -> None:
        """Ends may have gone unheard."""
        for run in self.runs:
            if run.container:
                self.died(run.container)

    def abandon(self) -> None:
        """Let go of it as it is."""
        self._abandoned = True
        self._work.cancel("devloop ends")
        self._hurry.cancel()
        self._inbox.put(lambda: None)

    # --- its thread

    def _run(self) -> None:
        try:
            self._report()
            while not self._over:
                self._receive(self._safely(self._step, RETRY))
                self._report()
            if not self._abandoned:
                self._safely(self._end, None)
        finally:
            for run in self.runs:
                self._stop_probes(run)
            self._gone(self)

    @property
    def _over(self) -> bool:
        return self._abandoned or terminating(self.object)

    def _safely(self, work: Callable[[], T], otherwise: T) -> T:
        """What the Engine does not do is told, and nobody's mistake here."""
        try:
            return work()
        except Cancelled:
            pass
        except DevloopError as error:
            self._tell("Warning", "FailedSync", f"error syncing pod: {error.message}")
        return otherwise

    def _step(self) -> float:
        """Do what is due. Returns the seconds until something more is."""
        if self._complete:
            return NEVER
        moment = time.monotonic()
        deadline = self._born + float(self.object["spec"].get("activeDeadlineSeconds", NEVER))
        if moment >= deadline:
            self._fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            return NEVER
        if planning.done(self.object, self.runs):
            self._finish()
            return NEVER
        if settled := [run for run in self.runs if run.settles <= moment]:
            for run in settled:
                self._died(run.container)      # its end may not have been told yet
                run.ready = run.running
            return 0.0
        candidates = planning.startable(self.object, self.runs)
        due = [run for run in candidates if run.due <= moment]
        if due and moment >= self._retry:
            self._start(due)
            return 0.0
        return max(0.0, min([deadline, *(max(run.due, self._retry) for run in candidates), *(run.settles for run in self.runs)]) - moment)

    def _receive(self, seconds: float) -> None:
        """Wait for something to happen, and take in all that has."""
        try:
            happened = self._inbox.get(timeout=None if seconds == NEVER else seconds)
            while True:
                self._safely(happened, None)
                happened = self._inbox.get_nowait()
        except queue.Empty:
            pass

    def _report(self) -> None:
        with self._reporting:
            meta = self.object["metadata"]
            live = self.node.store.get(PODS, meta["namespace"], meta["name"])
            if live is not None and live["metadata"]["uid"] == meta["uid"]:
                told = status(live, self.runs, ip=self.ground.ip, host_ip=HOST_IP, started_at=self._since, failure=self._failure)
                self.node.store.set_status(PODS, meta["namespace"], meta["name"], told)

    def _tell(self, type: str, reason: str, message: str, run: Run | None = None) -> None:
        field = f"spec.{'initContainers' if run.kind == 'init' else 'containers'}{{{run.name}}}" if run else ""
        self.node.store.event(self.object, type, reason, message, field_path=field)

    def _tells(self, run: Run) -> Callable[[str, str, str], None]:
        return lambda type, reason, message: self._tell(type, reason, message, run)

    # --- starting

    def _start(self, due: Sequence[Run]) -> None:
        """Ground and images at the same time, then the containers; one with a postStart hook holds up those after it."""
        images: dict[str, Object] = {}
        stands = self.ground.ready
        together([*([] if stands else [self._stand]), *(partial(self._fetch, run, images) for run in due)], f"start {self.uid[:8]}")
        if not self.ground.ready:
            return
        batch: list[Run] = []
        for run in due:
            if run.name in images:
                batch.append(run)
            if batch and ((run.spec.get("lifecycle") or {}).get("postStart") or run is due[-1]):
                together([partial(self._launch, each, images[each.name]) for each in batch], f"start {self.uid[:8]}")
                batch = []

    def _stand(self) -> None:
        try:
            self.ground.make(self.object, self._work)
            return
        except NotMounted as error:
            self._tell("Warning", "FailedMount", str(error))
            self._retry = NEVER
        except Unmet as error:
            self._tell("Warning", "FailedMount", f"Unable to attach or mount volumes: {error}")
            self._retry = NEVER
        except EngineError as error:
            self._tell("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error.message}")
            self._retry = time.monotonic() + RETRY
        if self._retry == NEVER:
            for run in self.runs:
                run.unmet = run.unmet or not run.container

    def _fetch(self, run: Run, images: dict[str, Object]) -> None:
        try:
            images[run.name] = self.node.images.ensure(self.object, run.spec, self._tells(run), self._work)
        except NoImage as error:
            run.wait(error.reason, error.message)
            run.due = time.monotonic() + error.pause
            if error.reason not in ("ImagePullBackOff", "ErrImagePull"):
                self._tell("Warning", "Failed", f"Error: {error.reason}", run)

    def _launch(self, run: Run, image: Object) -> None:
        sandbox = self.ground.sandbox
        began = Launch(self.node, self.ground, self.object, run, self._tells(run), self._report, self._work).go(image)
        if began:
            self._probe(run)
        elif sandbox and self.ground.sandbox is None:
            self._inbox.put(self._sandbox_gone)
        elif run.running:      # its postStart hook failed
            self._inbox.put(partial(self._restart, run, run.container, f"FailedPostStartHook, container {run.name} will be restarted"))

    def _sandbox_gone(self) -> None:
        """Whoever still runs is in a network of the past."""
        self._tell("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        self._stop(self.runs, self._grace_of_pod)
        for run in self.runs:
            run.due = run.pause = 0.0

    def _respec(self) -> None:
        """A pod's image may change while it runs."""
        spec = self.object["spec"]
        images = {c["name"]: c for c in (*(spec.get("initContainers") or ()), *spec["containers"])}
        for run in self.runs:
            new = images.get(run.name, run.spec)
            if new.get("image") == run.spec.get("image"):
                continue
            run.spec, run.due, run.pause = new, 0.0, 0.0
            if run.running:
                run.again = True
                self._restart(run, run.container, f"Container {run.name} definition changed, will be restarted")
                run.due = 0.0

    # --- probes

    def _probe(self, run: Run, kinds: Sequence[Kind] = ()) -> None:
        """Start those probes whose time it is."""
        run.probes = run.probes or self._work.child()
        kinds = kinds or (("startup",) if run.spec.get("startupProbe") else ("readiness", "liveness"))
        for kind in kinds:
            probe = run.spec.get(f"{kind}Probe")
            if probe and "grpc" not in probe:
                Prober(kind, probe, asked(self.node, self.ground, run), verdict=partial(self._verdict, run, run.container, kind),
                       unhealthy=partial(self._unhealthy, run, kind), cancel=run.probes)
            elif probe:
                self._verdict(run, run.container, kind, True)

    def _stop_probes(self, run: Run) -> None:
        if run.probes:
            run.probes.cancel()
            run.probes.detach()
            run.probes = None

    def _unhealthy(self, run: Run, kind: Kind, text: str) -> None:
        self._tell("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {text}", run)

    def _verdict(self, run: Run, container: str, kind: Kind, passes: bool) -> None:
        self._inbox.put(partial(self._heard, run, container, kind, passes))

    def _heard(self, run: Run, container: str, kind: Kind, passes: bool) -> None:
        if run.container != container or not run.running or run.stopping:
            return
        if kind == "readiness":
            run.ready = passes
        elif not passes:
            self._restart(run, container, f"Container {run.name} failed {kind} probe, will be restarted")
        elif kind == "startup":
            run.started = True
            self._probe(run, ("readiness", "liveness"))

    # --- ends

    def _died(self, container: str) -> None:
        run = next((run for run in self.runs if run.container == container), None)
        if run is None or not run.running:
            return
        ended = ending.terminated(self.node, run)
        if ended is None:
            return
        self._stop_probes(run)
        run.ready = run.started = False
        run.stopping = False
        run.state = {"terminated": ended}
        moment = time.monotonic()
        run.pause_after(moment - run.began, moment)
        if not self._over and run.due > moment and run.restarts_under(planning.policy(self.object)):
            self._back_off(run, run.due - moment)

    def _back_off(self, run: Run, pause: float) -> None:
        meta = self.object["metadata"]
        pod = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        run.wait("CrashLoopBackOff", f"back-off {planning.spoken(pause)} restarting failed container={run.name} pod={pod}")
        self._tell("Warning", "BackOff", f"Back-off restarting failed container {run.name} in pod {pod}", run)

    def _restart(self, run: Run, container: str, why: str) -> None:
        if run.container == container and run.running:
            self._tell("Normal", "Killing", why, run)
            self._stop([run], self._grace(run))

    def _grace(self, run: Run) -> float:
        probe = run.spec.get("livenessProbe") or {}
        return float(probe.get("terminationGracePeriodSeconds", self._grace_of_pod))

    @property
    def _grace_of_pod(self) -> float:
        return float(self.object["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE))

    def _stop(self, these: Sequence[Run], grace: float) -> float:
        """End these containers, by force once `grace` seconds are over. Returns what is left of them."""
        running = [run for run in these if run.running]
        deadline = time.monotonic() + grace
        for run in running:
            run.stopping = True
            self._stop_probes(run)
        together([partial(self._tell_to_end, run, grace) for run in running], f"stop {self.uid[:8]}")
        while any(run.running for run in running) and not self._abandoned:
            left = min(deadline, self._last_moment()) - time.monotonic()
            if left <= 0:
                break
            self._receive(left)
            self._report()
        for run in running:
            if run.running:
                self.node.containers.kill(run.container, "SIGKILL")
        while any(run.running for run in running) and not self._abandoned:
            self._receive(RETRY)
            for run in running:      # an end that nobody told of, the Engine's stream being down
                self._died(run.container)
        return max(0.0, deadline - time.monotonic())

    def _tell_to_end(self, run: Run, grace: float) -> None:
        failed = partial(self._tell, "Warning", "FailedPreStopHook", run=run)
        ending.tell_to_end(self.node, self.ground, run, 0.0 if self._hurry.cancelled else grace, failed=failed, cancel=self._hurry)

    def _last_moment(self) -> float:
        """When a pod that is deleted in a hurry must have ended."""
        return 0.0 if self._hurry.cancelled else NEVER

    def _finish(self) -> None:
        """All has run to its end: the containers stay for their logs."""
        self._stop([run for run in self.runs if run.sidecar], self._grace_of_pod)
        self._complete = True
        self._report()
        self.ground.remove_sandbox()

    def _fail(self, reason: str, message: str) -> None:
        self._failure = {"reason": reason, "message": message}
        self._tell("Normal", reason, message)
        self._stop(self.runs, self._grace_of_pod)
        self._finish()

    def _end(self) -> None:
        """The pod was deleted: end its containers, sidecars last, then remove what it had."""
        meta = self.object["metadata"]
        grace = float(meta.get("deletionGracePeriodSeconds", DEFAULT_GRACE))
        for run in self.runs:
            if run.running:
                self._tell("Normal", "Killing", f"Stopping container {run.name}", run)
        try:
            left = self._stop([run for run in self.runs if not run.sidecar], grace)
            self._stop([run for run in reversed(self.runs) if run.sidecar], max(ending.LEAST, left) if grace else 0.0)
            self._report()
            if any(port.get("hostPort") for run in self.runs for port in run.spec.get("ports") or ()):
                self.ground.remove_sandbox()      # the next pod may want the same ports
        finally:
            self.node.store.remove(PODS, meta["namespace"], meta["name"], meta["uid"])
        if not self._abandoned:
            made = [container for run in self.runs for container in (run.container, run.before) if container]
            together([partial(self.node.containers.remove, container) for container in made], f"remove {self.uid[:8]}")
            self.ground.remove()

    def _refresh(self) -> None:
        """Something that it names has changed."""
        if self._retry == NEVER:
            self._retry = 0.0
        for run in self.runs:
            if run.unmet:
                run.unmet, run.due = False, 0.0
        try:
            self.ground.refresh(self.object)
        except Unmet as error:
            self._tell("Warning", "FailedMount", str(error))
        except DevloopError as error:
            self._tell("Warning", "FailedMount", error.message)
