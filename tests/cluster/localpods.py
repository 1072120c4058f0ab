"""A local target's pods alone: its store, its network and its kubelet, without an API server or controllers."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.local.kinds import EVENTS
from devloop.local.network.network import Network
from devloop.local.pods import owner
from devloop.local.pods.kubelet import Kubelet
from devloop.local.store import NODE, Store
from devloop.model import Object
from devloop.pods import PODS, Container, containers, ready

PATIENCE = 90.0
IMAGE = "busybox:1.36"


def container(name: str = "main", script: str = "exec sleep 1000", **more: Any) -> Object:
    """A container of busybox that runs a script."""
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **more}


@dataclass
class Local:
    """One session. Pods by name in the namespace ``default``."""

    project: str
    store: Store
    network: Network
    kubelet: Kubelet
    engine: DockerEngine
    closed: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        for kind in (PODS, EVENTS):
            self.store.subscribe(kind, self._heard)

    def _heard(self, change: str, obj: Object) -> None:
        with self._changed:
            self._changed.notify_all()

    def await_(self, what: Callable[[], Any], told: Callable[[], object]) -> Any:
        """Until `what` is true of the store; its value."""
        found: list[Any] = []

        def holds() -> bool:
            found[:] = [what()]
            return bool(found[0])

        with self._changed:
            assert self._changed.wait_for(holds, PATIENCE), told()
        return found[0]

    # --- objects

    def pod(self, name: str, *which: Object, **spec: Any) -> Object:
        """Create a pod of these containers."""
        meta = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
        spec = {"terminationGracePeriodSeconds": 1, **spec}
        return self.store.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta,
                                  "spec": {"nodeName": NODE, "containers": list(which) or [container()], **spec}})

    def config_map(self, name: str, **data: str) -> Object:
        meta = {"name": name, "namespace": "default"}
        return self.store.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})

    def secret(self, name: str, **data: str) -> Object:
        coded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        return self.store.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"}, "data": coded})

    def claim(self, name: str) -> Object:
        return self.store.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"},
                                  "spec": {"accessModes": ["ReadWriteOnce"]}})

    def live(self, name: str) -> Object:
        return self.store.get(PODS, "default", name) or {}

    # --- what becomes of them

    def pod_when(self, name: str, what: Callable[[Object], Any]) -> Object:
        """The pod, once `what` is true of it."""
        def holds() -> Object:
            pod = self.live(name)
            return pod if pod and what(pod) else {}

        return self.await_(holds, lambda: (self.live(name).get("status"), self.events(name)))  # type: ignore[no-any-return]

    def ready(self, name: str) -> Object:
        return self.pod_when(name, ready)

    def phase(self, name: str, phase: str) -> Object:
        return self.pod_when(name, lambda pod: (pod.get("status") or {}).get("phase") == phase)

    def container_when(self, name: str, which: str, what: Callable[[Container], Any]) -> Container:
        pod = self.pod_when(name, lambda pod: what(part(pod, which)))
        return part(pod, which)

    def ended(self, name: str, which: str = "main") -> Object:
        """How the container has ended, for the first time or the last."""
        return self.container_when(name, which, lambda c: c.terminated).terminated

    def gone(self, name: str) -> None:
        self.await_(lambda: not self.live(name), lambda: self.live(name).get("status"))

    def delete(self, name: str, grace: int | None = None) -> None:
        self.store.delete(PODS, "default", name, grace=grace)

    def log(self, name: str, which: str = "main", **how: Any) -> str:
        asked = {"follow": False, "previous": False, "timestamps": False, "since": None, "tail": None, "cancel": Cancel(), **how}
        with self.kubelet.open(self.live(name), which, **asked) as stream:
            return b"".join(iter(stream.read1, b"")).decode()

    def says(self, name: str, text: str, which: str = "main") -> str:
        """The log until it has this text in it."""
        said = b""
        with self.kubelet.open(self.live(name), which, follow=True, previous=False, timestamps=False, since=None, tail=None,
                               cancel=Cancel()) as stream:
            while text.encode() not in said and (more := stream.read1(1 << 16)):
                said += more
        assert text in said.decode()
        return said.decode()

    def printed(self, name: str, *which: Object, **spec: Any) -> str:
        """What a pod that runs to its end prints; its one container has succeeded."""
        self.pod(name, *which, restartPolicy="Never", **spec)
        self.phase(name, "Succeeded")
        return self.log(name, (which[0] if which else {"name": "main"})["name"])

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of all that was told about the pod."""
        about = [e for e in self.store.list(EVENTS, "default") if e["involvedObject"]["name"] == name]
        return [(e["reason"], e["message"]) for e in about]

    def told(self, name: str, reason: str, text: str = "") -> str:
        """The message of an event about the pod, once there is one."""
        def found() -> str:
            return next((said for why, said in self.events(name) if why == reason and text in said), "")

        return str(self.await_(found, lambda: self.events(name)))

    # --- the Engine

    def things(self, *labels: str) -> list[str]:
        """The names of what the project has in the Engine: containers and volumes."""
        return things(self.engine, self.project, *labels)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.kubelet.close()
            self.network.close()
            self.store.close()


def part(pod: Object, name: str) -> Container:
    return next(c for c in containers(pod) if c.name == name)


def things(engine: DockerEngine, project: str, *labels: str) -> list[str]:
    api = EngineContainers(engine)
    wanted = [f"{owner.PROJECT}={project}", *labels]
    found = [each["Names"][0] for each in api.labelled(wanted)]
    return sorted(found + [volume["Name"] for volume in api.labelled_volumes(wanted)])


@contextmanager
def session(engine: DockerEngine, project: str = "", labels: Mapping[str, str] | None = None) -> Iterator[Local]:
    """A local target, with nothing left of it in the end but what its claims have."""
    project = project or f"test-{secrets.token_hex(4)}"
    labels = labels or owner.session_labels(project)
    store, network = Store(), Network(engine, project, labels)
    network.start(Cancel())
    local = Local(project, store, network, Kubelet(store, engine, network, project, labels), engine)
    try:
        yield local
    finally:
        local.close()
    assert things(engine, project, owner.OWNER) == []
