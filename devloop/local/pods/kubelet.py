"""Follows the pods of the store and makes them true in the Engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.clients.kube import ByteStream
from devloop.errors import Cancelled, DevloopError, EngineError, UnreachableError
from devloop.local.kinds import CLAIMS, CONFIG_MAPS, SECRETS
from devloop.local.network.network import ROLE
from devloop.local.pods import owner
from devloop.local.pods.node import Node
from devloop.local.pods.pod import Pod
from devloop.local.pods.runs import policy
from devloop.local.pods.sandboxes import Sandboxes
from devloop.local.refusals import refused
from devloop.local.store import NODE, Store
from devloop.model import Object
from devloop.pods import PODS, terminating

_RECONNECT = 0.5      # seconds between tries to hear the Engine's events again
_POLICIES = {"Always": "unless-stopped", "OnFailure": "on-failure"}


class Kubelet:
    """One session's. `labels` is what everything of it has (`owner.session_labels`); `network` has been started.

    Also the `LogSource` of the API. Raises `EngineError` and `UnreachableError` from the constructor; later troubles are told as the
    kubelet tells them, in the pods' status and events.
    """

    def __init__(self, store: Store, engine: DockerEngine, network: Sandboxes, project: str, labels: Mapping[str, str]) -> None:
        containers = EngineContainers(engine)
        self._cancel = Cancel()
        self._node = Node(store, containers, network, project, labels, network.image)
        self._labels = labels
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._listening = threading.Event()
        self._failed: list[DevloopError] = []
        self._events = threading.Thread(target=self._listen, name="engine-events", daemon=True)
        self._events.start()
        self._listening.wait()
        for failed in self._failed:
            self._events.join()
            raise failed
        self._preparing = threading.Thread(target=self._prepare, name="engine-prepare", daemon=True)
        self._preparing.start()
        self._forget = [store.subscribe(PODS, self._heard),
                        *(store.subscribe(kind, self._changed) for kind in (CONFIG_MAPS, SECRETS, CLAIMS))]

    def _prepare(self) -> None:
        """What the first pod had else to wait for. What fails here is told when that tries."""
        with suppress(DevloopError):
            self._node.messages.prepare()

    # --- what is heard

    def _heard(self, change: str, pod: Object) -> None:
        if pod["spec"].get("nodeName") != NODE:
            return
        uid = pod["metadata"]["uid"]
        with self._lock:
            known = self._pods.get(uid)
            if known is None and change != "DELETED" and not self._cancel.cancelled:
                known = self._pods[uid] = Pod(self._node, pod, self._gone)
                known.thread.start()
        if known is None:
            return
        if change == "DELETED" and not terminating(pod):       # gone without a word: as quickly as can be
            ending = {"deletionTimestamp": pod["metadata"]["creationTimestamp"], "deletionGracePeriodSeconds": 0}
            pod = {**pod, "metadata": {**pod["metadata"], **ending}}
        known.update(pod)

    def _changed(self, change: str, obj: Object) -> None:
        with self._lock:
            pods = list(self._pods.values())
        for pod in pods:
            if pod.object["metadata"]["namespace"] == obj["metadata"]["namespace"]:
                pod.changed(obj["kind"], obj["metadata"]["name"])

    def _gone(self, pod: Pod) -> None:
        with self._lock:
            self._pods.pop(pod.uid, None)

    def _listen(self) -> None:
        """The Engine's events, for as long as this is not closed; after a break every pod looks for itself."""
        labels = [f"{key}={value}" for key, value in {**self._labels, ROLE: "container"}.items()]
        while not self._cancel.cancelled:
            try:
                with self._node.containers.events(labels, ("die",), self._cancel) as events:
                    with self._lock:
                        pods = list(self._pods.values())
                    for pod in pods:
                        pod.look()
                    self._listening.set()
                    for event in events:
                        self._died(event)
            except Cancelled:
                return
            except (EngineError, UnreachableError) as error:
                if not self._listening.is_set():
                    self._failed.append(error)
                    self._listening.set()
                    return
            try:
                self._cancel.wait(_RECONNECT)
            except Cancelled:
                return

    def _died(self, event: Object) -> None:
        actor = event.get("Actor") or {}
        with self._lock:
            pod = self._pods.get((actor.get("Attributes") or {}).get(owner.POD, ""))
        if pod:
            pod.died(actor.get("ID") or event.get("id", ""))

    # --- logs

    @contextmanager
    def open(self, pod: Object, container: str, *, follow: bool, previous: bool, timestamps: bool, since: float | None, tail: int | None,
             cancel: Cancel) -> Iterator[ByteStream]:
        """See `devloop.local.logs.LogSource`."""
        with self._lock:
            known = self._pods.get(pod["metadata"]["uid"])
        run = next((run for run in known.runs if run.name == container), None) if known else None
        chosen = (run.before if previous else run.container) if run else ""
        if not run or not chosen:
            which = "previous terminated container" if previous else "container"
            raise refused(400, "BadRequest", f'{which} "{container}" in pod "{pod["metadata"]["name"]}" not found')
        query = {"stdout": "1", "stderr": "1", "follow": _flag(follow), "timestamps": _flag(timestamps)}
        if since is not None:
            query["since"] = f"{since:.9f}"
        if tail is not None:
            query["tail"] = str(tail)
        opened = False
        try:
            with self._node.containers.logs(chosen, query, cancel, tty=bool(run.spec.get("tty"))) as stream:
                opened = True
                yield stream
        except EngineError as error:
            if opened:
                raise
            raise refused(400, "BadRequest", f'container "{container}" in pod "{pod["metadata"]["name"]}" has no log: '
                          f"{error.message}") from error

    # --- ends

    def close(self) -> None:
        """End all pods and remove what they had, volumes of claims excepted."""
        self._let_go()
        owner.remove_session(self._node.containers, self._labels)

    def detach(self) -> None:
        """Let go of the pods: they run on, and are restarted by the Engine."""
        with self._lock:
            pods = list(self._pods.values())
        self._let_go()
        for pod in pods:
            mode = _POLICIES.get(policy(pod.object))
            running = [run.container for run in pod.runs if run.running]
            if mode and pod.ground.sandbox:
                for container in (pod.ground.sandbox.id, *running):
                    with suppress(EngineError):      # Podman before 5: they run, and are not started again
                        self._node.containers.update(container, {"RestartPolicy": {"Name": mode}})

    def _let_go(self) -> None:
        for forget in self._forget:
            forget()
        self._cancel.cancel()
        with self._lock:
            pods = list(self._pods.values())
        for pod in pods:
            pod.abandon()
        for pod in pods:
            pod.thread.join()
        self._events.join()
        self._preparing.join()


def _flag(value: bool) -> str:
    return "1" if value else "0"

