"""Pods of the local target without a kubelet: a sandbox, one program of busybox in it, and a status that the test decides."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from devloop.cancel import Cancel
from devloop.clients import engine_networks
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_containers import Container, execute
from devloop.clients.duplex import NotConnected, PodRef
from devloop.clients.engine_containers import EngineContainers
from devloop.clients.process import Captured
from devloop.events import Event, Notice
from devloop.local.kinds import ENDPOINTS, INGRESSES, SERVICES
from devloop.local.kube import LocalKube
from devloop.local.network import Ingresses, Network, Sandbox, Services
from devloop.local.store import Store
from devloop.model import Object
from devloop.pods import PODS
from tests.unit.local.node import NoLogs

IMAGE = "busybox:1.36"
SERVES = "mkdir /www; echo $0 > /www/index.html; httpd -f -p 8080 -h /www"      # sh -c SERVES NAME


def eventually(look: Callable[[], Any]) -> Any:
    """What it finds, as soon as that is something."""
    until = time.monotonic() + 60
    while not (found := look()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)
    return found


class Pod:
    """One that runs."""

    def __init__(self, net: LocalNet, obj: Object, sandbox: Sandbox, container: str) -> None:
        self._net, self.object, self.sandbox = net, obj, sandbox
        self._container = Container(container, obj["metadata"]["name"], True, {})

    @property
    def ref(self) -> PodRef:
        meta = self.object["metadata"]
        return PodRef(meta["namespace"], meta["name"], meta["uid"], True)

    def run(self, *argv: str) -> Captured:
        return execute(self._net.engine, self._container, argv, self._net.cancel)

    def get(self, url: str) -> str:
        """What wget has from there; fails where it fails."""
        done = self.run("wget", "-qO-", url)
        assert done.code == 0, done.errors
        return done.output.strip()

    def ready(self, yes: bool = True) -> None:
        meta = self.object["metadata"]
        condition = {"type": "Ready", "status": str(yes)}
        self._net.store.set_status(PODS, meta["namespace"], meta["name"], {
            "podIP": self.sandbox.ip, "phase": "Running", "conditions": [condition]})

    def end(self) -> None:
        meta = self.object["metadata"]
        self._net.store.remove(PODS, meta["namespace"], meta["name"], meta["uid"])
        self._net.containers.remove(self._container.id)
        self._net.network.remove(self.sandbox)


class LocalNet:
    """A project's network with its Services and Ingress, from now to `close`."""

    def __init__(self) -> None:
        self.project = f"net-{secrets.token_hex(4)}"
        self.labels = {"devloop.dev/name": self.project}
        self.engine, self.cancel, self.events = DockerEngine(), Cancel(), list[Event]()
        self.containers = EngineContainers(self.engine)
        self.store = Store()
        self.kube = LocalKube(self.store, NoLogs(), engine=self.engine.endpoint.address)
        self.network = Network(self.engine, self.project, self.labels)
        self.services = Services(self.store, self.network, self.events.append)
        self.ingresses = Ingresses(self.store, self.network.dialer(), self.events.append, port=0)
        self.network.start(self.cancel)
        self.services.start()
        self.ingresses.start()

    def close(self) -> None:
        """Fails where anything is left."""
        self.ingresses.close()
        self.services.close()
        self.kube.close()
        self.store.close()
        for container in self.containers.labelled([f"{key}={value}" for key, value in self.labels.items()] + ["test"]):
            self.containers.remove(container["Id"])
        self.network.close()
        left, networks = self.left(), self._networks()
        stay = [network for network in networks if engine_networks.remove(self.engine, network)]
        self.engine.close()
        assert not left
        assert not stay         # but those that the Engine itself does not let go

    def left(self) -> list[str]:
        """The containers of the project."""
        return [each["Id"] for each in self.containers.labelled([f"{key}={value}" for key, value in self.labels.items()])]

    def _networks(self) -> list[str]:
        with self.engine.mapped():
            found = self.engine.connected().networks(filters={"label": [f"{key}={value}" for key, value in self.labels.items()]})
        return [network["Id"] for network in found]

    def make(self, kind: str, name: str, namespace: str = "default", **spec: object) -> Object:
        resource = {"Service": SERVICES, "Ingress": INGRESSES}[kind]
        if namespace != "default":
            with suppress(Exception):
                self.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
        return self.kube.request("POST", resource.path(namespace), body={
            "apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})

    def service(self, name: str, namespace: str = "default", **spec: object) -> Object:
        """In front of the pods with label ``app: NAME``."""
        given = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
        return self.make("Service", name, namespace, **given)

    def pod(self, name: str, app: str, *command: str, namespace: str = "default", ready: bool = True, **spec: object) -> Pod:
        made = self.store.create({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {"nodeName": "docker", "containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}], **spec}})
        sandbox = self.network.sandbox(made, cancel=self.cancel)
        joined = f"container:{sandbox.id}"
        container = self.containers.create(f"devloop-{self.project}-{name}-main", {
            "Image": IMAGE, "Cmd": list(command) or ["sh", "-c", SERVES, name], "Labels": self.labels | {"test": ""},
            "HostConfig": {"NetworkMode": joined, "IpcMode": joined}})
        self.containers.start(container)
        pod = Pod(self, made, sandbox, container)
        if ready and not command:
            eventually(lambda: self.listens(pod, 8080))       # as its readiness probe would
        if ready:
            pod.ready()
        return pod

    def live(self, service: Object) -> Object:
        found = self.store.get(SERVICES, service["metadata"]["namespace"], service["metadata"]["name"])
        assert found
        return found

    def addresses(self, service: Object) -> list[str]:
        """Of the pods that are its ready ones, as its Endpoints say."""
        found = self.store.get(ENDPOINTS, service["metadata"]["namespace"], service["metadata"]["name"]) or {}
        return [address["ip"] for subset in found.get("subsets") or () for address in subset.get("addresses") or ()]

    def connect(self, pod: Pod, port: int, *, localhost: bool = False) -> socket.socket:
        return self.network.connect(pod.sandbox, port, self.cancel, localhost=localhost, timeout=60)

    def listens(self, pod: Pod, port: int) -> bool:
        """Its program does, and so does its sandbox's relay, which is the way to its localhost."""
        with suppress(NotConnected), self.connect(pod, port), self.connect(pod, port, localhost=True):
            return True
        return False

    def told(self, words: str) -> bool:
        return any(isinstance(event, Notice) and words in event.message for event in self.events)
