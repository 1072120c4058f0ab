"""What a diagnosis needs besides the pod and its events: asked for once, when a rollout is about to fail."""

from __future__ import annotations

from dataclasses import dataclass, replace

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, lines
from devloop.deploy.causes.crashes import SEE_OUTPUT
from devloop.deploy.causes.diagnosis import Diagnosis, Missing, subject
from devloop.deploy.causes.pulls import pull_secrets
from devloop.deploy.causes.starts import exec_format, is_exec_format
from devloop.errors import ApiError, UnreachableError
from devloop.model import Object
from devloop.pods import PODS, containers

LAST_LINES = 20
TIMEOUT = 5.0   # seconds: the diagnosis is good without it, too

_PLURALS = {"ConfigMap": "configmaps", "Secret": "secrets", "PersistentVolumeClaim": "persistentvolumeclaims"}


@dataclass(frozen=True)
class Evidence:
    """Asks the cluster. What it does not tell (RBAC, out of reach) is left out."""

    kube: Kube
    cancel: Cancel

    def still_missing(self, missing: Missing, namespace: str) -> bool:
        """The kubelet tells what it saw at its last attempt, up to two minutes ago: it may have been mended since."""
        if not missing.name:
            return True
        path = f"/api/v1/namespaces/{namespace}/{_PLURALS[missing.kind]}/{missing.name}"
        try:
            found = self.kube.request("GET", path, timeout=TIMEOUT, cancel=self.cancel)
        except ApiError as error:
            return error.status in (403, 404)
        except UnreachableError:
            return True
        keys = {*(found.get("data") or {}), *(found.get("binaryData") or {})}
        return bool(missing.key) and missing.key not in keys

    def complete(self, found: Diagnosis, pod: Object) -> tuple[Diagnosis, tuple[str, ...]]:
        """The diagnosis with what else can be known, and the container's last lines where it has any to tell."""
        if found.topic == "image":
            return self._with_secrets(found, pod), ()
        if found.resource:
            return self._with_capacity(found), ()
        if found.brief == "exec format error":
            return self._exec_format(found, pod), ()
        if not found.container:
            return found, ()
        last = self._last_lines(pod, found.container, found.previous)
        if found.topic == "crash" and any(map(is_exec_format, last)):
            return self._exec_format(found, pod), last
        if found.hint == SEE_OUTPUT and not last:
            return replace(found, hint="It left no output: does its program write errors to stderr, and not to a file?"), last
        return found, last

    def _last_lines(self, pod: Object, container: str, previous: bool) -> tuple[str, ...]:
        meta = pod["metadata"]
        try:
            with self.kube.open(f"{PODS.path(meta['namespace'], meta['name'])}/log", cancel=self.cancel, read_timeout=TIMEOUT,
                                query={"container": container, "tailLines": LAST_LINES, "previous": previous}) as stream:
                found = tuple(line.decode(errors="replace").rstrip("\r") for line in lines(stream))
        except (ApiError, UnreachableError):
            return ()
        return () if found and found[0].startswith("unable to retrieve container logs for") else found

    def _exec_format(self, found: Diagnosis, pod: Object) -> Diagnosis:
        container = next(c for c in containers(pod) if not found.container or c.name == found.container)
        info = (self._get(f"/api/v1/nodes/{pod['spec'].get('nodeName', '')}").get("status") or {}).get("nodeInfo") or {}
        node = f"{info['operatingSystem']}/{info['architecture']}" if info.get("architecture") else ""
        return exec_format(found, subject(pod, container), node)

    def _with_secrets(self, found: Diagnosis, pod: Object) -> Diagnosis:
        namespace = pod["metadata"]["namespace"]
        for name in pull_secrets(pod):
            if self._absent(f"/api/v1/namespaces/{namespace}/secrets/{name}"):
                return replace(found, message=f"{found.message}; its pull secret '{name}' does not exist in namespace {namespace}",
                               hint="Add it to the manifests, or mend its name in the pod's imagePullSecrets. To keep it out of them: "
                                    f"kubectl create secret docker-registry {name} -n {namespace} --docker-server=... "
                                    "--docker-username=... --docker-password=...")
        return found

    def _with_capacity(self, found: Diagnosis) -> Diagnosis:
        nodes = self._get("/api/v1/nodes").get("items") or ()
        sizes = sorted({str(s) for n in nodes if (s := ((n.get("status") or {}).get("allocatable") or {}).get(found.resource))})
        told = f"the nodes have {' or '.join(sizes)} in all" if sizes else f"no node has any {found.resource}"
        return replace(found, message=f"{found.message} ({told})") if nodes else found

    def _absent(self, path: str) -> bool:
        try:
            self.kube.request("GET", path, timeout=TIMEOUT, cancel=self.cancel)
        except ApiError as error:
            return error.status == 404
        except UnreachableError:
            pass
        return False

    def _get(self, path: str) -> Object:
        try:
            return self.kube.request("GET", path, timeout=TIMEOUT, cancel=self.cancel)
        except (ApiError, UnreachableError):
            return {}
