"""The parts of minikube's registry addon, as the cluster tells of them: the Service, the registry's pod, and the proxies on the nodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, Resource
from devloop.errors import ApiError, Cancelled, PublishError
from devloop.model import Object
from devloop.pods import PODS, ready

NAMESPACE, SERVICE, LABEL = "kube-system", "registry", "kubernetes.io/minikube-addons=registry"
_SETS = Resource("apps/v1", "DaemonSet", "daemonsets", True)

T = TypeVar("T")


class AddonParts:
    """Waits for each of them for `patience` seconds. All methods raise `PublishError`, `UnreachableError`, `Cancelled`."""

    def __init__(self, kube: Kube, patience: float) -> None:
        self._kube, self._patience = kube, patience

    def service(self, cancel: Cancel) -> Object:
        try:
            return self._kube.request("GET", f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}", cancel=cancel)
        except ApiError as error:
            if error.status == 404:
                raise PublishError(f"the cluster has no registry: there is no service {NAMESPACE}/{SERVICE}",
                                   hint="Enable minikube's addon: minikube addons enable registry. Or let devloop do it: "
                                        "publish.minikube.enableRegistryAddon: true in devloop.yaml.") from error
            raise PublishError(f"the registry in the cluster cannot be found: {error.message}", hint=error.hint) from error

    def pod(self, service: Object, cancel: Cancel) -> Object:
        """The newest pod of the service that is ready, as soon as there is one."""
        def newest(pods: Collection[Object]) -> Object | None:
            return max(filter(_up, pods), key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)

        def late(pods: Collection[Object]) -> str:
            states = ", ".join(f"{p['metadata']['name']} is {p['status'].get('phase')}" for p in pods) or "it has no pod"
            return f"the registry in the cluster ({NAMESPACE}/{SERVICE}) is not ready: {states}"

        selector = _selector(service["spec"]["selector"])
        return self._awaited(PODS, selector, newest, late, cancel, hint=f"See: kubectl -n {NAMESPACE} describe pod -l {selector}")

    def stands(self, pod: Object, cancel: Cancel) -> bool:
        """Whether this pod is there still, with the containers that it had: one that ends goes on serving for a while."""
        try:
            now = self._kube.request("GET", PODS.path(NAMESPACE, pod["metadata"]["name"]), cancel=cancel)
        except ApiError as error:
            if error.status != 404:
                raise PublishError(f"the registry in the cluster cannot be found: {error.message}", hint=error.hint) from error
            return False
        return identity(now) == identity(pod) and not now["metadata"].get("deletionTimestamp")

    def proxies(self, cancel: Cancel) -> None:
        """Wait until each node has its proxy: its pulls go there. Who may not look at that is not held up."""
        def there(sets: Collection[Object]) -> bool | None:
            return not self._unproxied(sets, cancel) or None

        def late(sets: Collection[Object]) -> str:
            return f"the nodes cannot pull from the registry in the cluster: {self._unproxied(sets, cancel)}"

        try:
            self._awaited(_SETS, LABEL, there, late, cancel,
                          hint=f"See: kubectl -n {NAMESPACE} describe daemonset,pod -l {LABEL}. Made anew it is by: "
                               "minikube addons disable registry && minikube addons enable registry")
        except ApiError as error:
            if error.status not in (401, 403):
                raise PublishError(f"the registry's proxies on the nodes cannot be found: {error.message}", hint=error.hint) from error

    def _unproxied(self, sets: Collection[Object], cancel: Cancel) -> str:
        """Why some node has no proxy; empty where all have. A node that is down runs nothing that could pull."""
        for each in sets:
            name, status = each["metadata"]["name"], each.get("status") or {}
            wanted, up = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
            if status.get("observedGeneration", 0) < each["metadata"].get("generation", 0):
                return f"DaemonSet {name} is not in force yet"
            if not wanted:
                return f"DaemonSet {name}, their proxy to it, is to run on no node"
            if up < wanted and (states := self._late_proxies(each, cancel)):
                return f"{up} of {wanted} nodes have their proxy to it (DaemonSet {name}): {states}"
        return "" if sets else f"there is no DaemonSet {NAMESPACE}/registry-proxy (label {LABEL})"

    def _late_proxies(self, daemon_set: Object, cancel: Cancel) -> str:
        selector = _selector(daemon_set["spec"]["selector"]["matchLabels"])
        pods = self._kube.request("GET", PODS.path(NAMESPACE), query={"labelSelector": selector}, cancel=cancel)["items"]
        if len(pods) < daemon_set["status"]["desiredNumberScheduled"]:
            return "its pods are being made"
        down = self._nodes_down(cancel)
        late = [pod for pod in pods if not _up(pod) and _node(pod) not in down]
        return ", ".join(f"on node '{_node(pod)}' pod {pod['metadata']['name']} is {_state(pod)}" for pod in late)

    def _nodes_down(self, cancel: Cancel) -> set[str]:
        try:
            nodes = self._kube.request("GET", "/api/v1/nodes", cancel=cancel)["items"]
        except ApiError:      # we may not look: then each counts
            return set()
        return {node["metadata"]["name"] for node in nodes if not ready(node)}

    def _awaited(self, resource: Resource, selector: str, found: Callable[[Collection[Object]], T | None],
                 late: Callable[[Collection[Object]], str], cancel: Cancel, *, hint: str) -> T:
        """What `found` makes of these objects, as soon as it makes something of them. `late`: what it lacks when we wait no longer."""
        waiting = cancel.child()
        timer = threading.Timer(self._patience, waiting.cancel)
        timer.name, timer.daemon = "registry-patience", True
        timer.start()
        objects: dict[str, Object] = {}
        try:
            for event in self._kube.watch(resource.path(NAMESPACE), query={"labelSelector": selector}, cancel=waiting):
                objects = {} if event.type == "SNAPSHOT" else objects
                for obj in event.objects:
                    objects[obj["metadata"]["uid"]] = obj
                    if event.type == "DELETED":
                        del objects[obj["metadata"]["uid"]]
                if done := found(objects.values()):
                    return done
            raise AssertionError("a watch has no end")
        except Cancelled:
            cancel.check()
            raise PublishError(late(objects.values()), hint=hint) from None
        finally:
            timer.cancel()
            waiting.detach()


def identity(pod: Object) -> tuple[str, ...]:
    """Changes when a container starts anew, and has lost what it had."""
    containers = pod["status"].get("containerStatuses") or ()
    return str(pod["metadata"]["uid"]), *(str(container.get("containerID")) for container in containers)


def _up(pod: Object) -> bool:
    return ready(pod) and not pod["metadata"].get("deletionTimestamp")


def _node(pod: Object) -> str:
    """The node that a DaemonSet's pod is meant for, placed there or not."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    try:
        (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        return str(term["matchFields"][0]["values"][0])
    except (KeyError, ValueError, IndexError):
        return "?"


def _state(pod: Object) -> str:
    waiting = ((c.get("state") or {}).get("waiting") or {} for c in pod["status"].get("containerStatuses") or ())
    return next((w["reason"] for w in waiting if w.get("reason")), str(pod["status"].get("phase")))


def _selector(labels: Object) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
