"""A small Kubernetes in this process, whose node is the Docker Engine: objects, controllers, pods and network put together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.duplex import Dialer
from devloop.clients.engine_containers import EngineContainers
from devloop.clients.kube import ByteStream
from devloop.deploy.deployer import Deployer
from devloop.errors import DeployError, EngineError, UnreachableError
from devloop.events import Emit
from devloop.local.controllers import controllers
from devloop.local.deployer import LocalDeployer
from devloop.local.kube import LocalKube
from devloop.local.network import Ingresses, Network, Services
from devloop.local.pods.kubelet import Kubelet
from devloop.local.pods.owner import purge, session_labels, take_over
from devloop.local.store import Store
from devloop.model import Object


class LocalCluster:
    """One session's, for project `project`. Nothing is made by the Engine, nor is anything of an earlier session removed, before the
    first deploy: until then what runs goes on."""

    def __init__(self, engine: DockerEngine, *, project: str, emit: Emit) -> None:
        self._engine, self._project, self._emit = engine, project, emit
        self._labels = session_labels(project)
        self._opened = ExitStack()
        self._store = Store()
        self._opened.callback(self._store.close)
        self.kube = LocalKube(self._store, self, engine=engine.endpoint.address, platform=engine.info().platform)
        self._opened.callback(self.kube.close)
        self._network = Network(engine, project, self._labels)
        self._kubelet: Kubelet | None = None
        self._starting = threading.Lock()
        self._keep = False

    def start(self, cancel: Cancel) -> None:
        """Let the Engine run what is deployed; done once. What an ended devloop has left of the project is removed.

        Raises `UsageError` where another devloop runs the project here, `EngineError`, `UnreachableError` or `Cancelled`.
        """
        with self._starting:
            if self._kubelet:
                return
            take_over(EngineContainers(self._engine), self._project)
            cancel.check()
            self._opened.callback(self._end_network)
            self._network.start(cancel)
            self._kubelet = Kubelet(self._store, self._engine, self._network, self._project, self._labels)
            self._opened.callback(self._end_pods)
            for part in (Services(self._store, self._network, self._emit), Ingresses(self._store, self._network.dialer(), self._emit)):
                part.start()
                self._opened.callback(part.close)
            self._opened.callback(self._network.spares.close)
            self._opened.callback(controllers(self._store, self._network.spares.expect).close)

    def deployer(self, deployer: Deployer, *, strict: bool) -> Deployer:
        """`deployer`, after `start`, with what has no effect here told; an error where it is `strict`."""
        return LocalDeployer(deployer, self, strict=strict)

    @property
    def started(self) -> bool:
        return self._kubelet is not None

    def purge(self, *, volumes: bool) -> tuple[list[str], list[str]]:
        """Remove what any session has left of the project; returns its pods and its claims, each as NAMESPACE/NAME."""
        return purge(EngineContainers(self._engine), self._project, volumes=volumes)

    def dialer(self) -> Dialer:
        """Connects forwards to pods."""
        return self._network.dialer()

    @contextmanager
    def open(self, pod: Object, container: str, *, follow: bool, previous: bool, timestamps: bool, since: float | None, tail: int | None,
             cancel: Cancel) -> Iterator[ByteStream]:
        """A container's log: see `devloop.local.logs.LogSource`."""
        if self._kubelet is None:
            raise UnreachableError("nothing was deployed to the Docker Engine yet")
        with self._kubelet.open(pod, container, follow=follow, previous=previous, timestamps=timestamps, since=since, tail=tail,
                                cancel=cancel) as stream:
            yield stream

    def close(self, *, keep: bool) -> None:
        """Remove all but the volumes of claims; with `keep` what runs goes on. Raises `DeployError` where the Engine does not obey."""
        self._keep = keep
        try:
            self._opened.close()
        except (EngineError, UnreachableError) as error:
            raise DeployError(f"what ran on the Docker Engine is not put in order: {error.message}",
                              hint="The next 'devloop dev --local' of this project does, or 'devloop delete --local'.") from error

    def _end_network(self) -> None:
        if not self._keep:
            self._network.close()

    def _end_pods(self) -> None:
        assert self._kubelet
        if self._keep:
            self._kubelet.detach()
        else:
            self._kubelet.close()
