"""May the cluster's nodes pull what was published? Answered before a rollout fails of it; and the pull secret that makes them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from devloop.cancel import Cancel
from devloop.clients.docker_auth import Credentials, login_command
from devloop.clients.kube import Kube
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import LoginWanted
from devloop.clients.registry_http import is_here
from devloop.deploy import fields
from devloop.deploy.manifests import MANAGED_BY, NAME, Rendered
from devloop.errors import ApiError, DeployError, DevloopError
from devloop.events import Emit, Notice
from devloop.model import ImageRef, Manifest, Object, PublishedImage

KEPT = 300.0      # seconds: credential helpers are slow, and what they give does not last

Login = Callable[[PublishedImage, Cancel], Credentials | None]
"""The login with which an image was published, if there is one."""


class PullSecrets:
    """A `PullAccess` for one project. `secret`: the pull secret to make (empty: none)."""

    def __init__(self, kube: Kube, environ: Mapping[str, str], *, name: str, namespace: str, secret: str, login: Login) -> None:
        self._kube, self._environ = kube, environ
        self._name, self._namespace, self._secret, self._login = name, namespace, secret, login
        self._open: dict[str, bool] = {}      # by repository: whether anybody may pull from it
        self._told: set[str] = set()
        self._entries: dict[str, tuple[float, Object]] = {}      # by registry

    def prepare(self, rendered: Rendered, emit: Emit, cancel: Cancel) -> tuple[Manifest, ...]:
        """See `PullAccess`. Each notice comes once."""
        images = {str(image.ref): image for image in rendered.images if image.ref.digest and not image.local_only}
        if not images:
            return ()
        if self._secret:
            return tuple(self._secrets(rendered.manifests, images, cancel))
        for manifest in rendered.manifests:
            for notice in self._faults(manifest, rendered.manifests, images, cancel):
                if notice.message not in self._told:
                    self._told.add(notice.message)
                    emit(notice)
        return ()

    # --- a secret of our own

    def _secrets(self, manifests: Sequence[Manifest], images: Mapping[str, PublishedImage], cancel: Cancel) -> Iterator[Manifest]:
        used: dict[str, dict[str, Object]] = {}
        for manifest in manifests:
            for image in _pulled(manifest.object, images):
                namespace = manifest.object["metadata"].get("namespace") or self._namespace
                server = image.ref.registry or "https://index.docker.io/v1/"      # as Kubernetes looks it up
                asked, entry = self._entries.get(server, (-KEPT, {}))
                if time.monotonic() - asked >= KEPT:
                    asked, entry = self._entries[server] = time.monotonic(), self._entry(image, cancel)
                used.setdefault(namespace, {}).update({server: entry} if entry else {})
        for namespace, auths in used.items():
            yield Manifest({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": {"name": self._secret, "namespace": namespace, "labels": {MANAGED_BY: "devloop", NAME: self._name}},
                "data": {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}}, "deploy.imagePullSecret")

    def _entry(self, image: PublishedImage, cancel: Cancel) -> Object:
        """Empty where there is no login, and none is wanted."""
        known = self._login(image, cancel)
        if not known and self._anybody(image, cancel):
            return {}
        registry, login = image.ref.registry or "Docker Hub", login_command(image.ref.registry)
        if not known:
            raise DeployError(f"deploy.imagePullSecret: there is no login to {registry} on this machine to make the secret of",
                              hint=f"Log in: {login}")
        if "password" not in known:
            raise DeployError(f"deploy.imagePullSecret: the login to {registry} is a token that Kubernetes cannot use",
                              hint=f"Log in with a user, and an access token as the password: {login} --username ...")
        auth = base64.b64encode(f"{known['username']}:{known['password']}".encode()).decode()
        return {"username": known["username"], "password": known["password"], "auth": auth}

    # --- others' secrets

    def _faults(self, manifest: Manifest, manifests: Sequence[Manifest], images: Mapping[str, PublishedImage], cancel: Cancel
                ) -> Iterator[Notice]:
        """Why this object's pods will not be able to pull."""
        for image in _pulled(manifest.object, images):
            if self._anybody(image, cancel):
                continue
            for pod in fields.pod_specs(manifest.object):
                if fault := self._fault(pod, manifest, manifests, image.ref):
                    registry = image.ref.registry or "Docker Hub"
                    yield Notice(f"{manifest.ref}: {registry} wants a login from who pulls {image.ref.repository}, and {fault}",
                                 level="warning", hint="If the nodes have no login of their own: set deploy.imagePullSecret: NAME in "
                                 "devloop.yaml, and devloop makes that secret of your login and names it in the pods.")

    def _anybody(self, image: PublishedImage, cancel: Cancel) -> bool:
        """Whether the image can be pulled without a login, for all that can be told from here."""
        repository = image.ref.canonical
        if is_here(image.ref.registry) and not self._login(image, cancel):
            return True      # ours needed no login; and the nodes' localhost may be another registry, as minikube's addon is
        if repository not in self._open:
            # nobody's question has no secret that a registry without TLS, or one that the Engine alone trusts, must not see
            registry = Registry(image.ref.registry, self._environ, insecure=True)
            try:
                registry.digest(repository.partition("/")[2], image.ref.digest or image.ref.tag, cancel)
                self._open[repository] = True
            except LoginWanted:
                self._open[repository] = False
            except DevloopError:
                cancel.check()
                self._open[repository] = True      # only the nodes can tell
            finally:
                registry.close()
        return self._open[repository]

    def _fault(self, pod: Object, manifest: Manifest, manifests: Sequence[Manifest], ref: ImageRef) -> str:
        namespace = manifest.object["metadata"].get("namespace") or self._namespace
        root = f"/api/v1/namespaces/{namespace}"
        named = pod.get("imagePullSecrets") or ()
        if not named:
            account = self._found(f"{root}/serviceaccounts/{pod.get('serviceAccountName') or 'default'}")
            named = (account or {}).get("imagePullSecrets") or ()
        names = [secret["name"] for secret in named if secret.get("name")]
        if not names:
            return "its pods have no imagePullSecrets"
        ours = {m.ref.name for m in manifests if m.ref.kind == "Secret"}
        if ours & set(names):
            return ""
        there = [secret for name in names if (secret := self._found(f"{root}/secrets/{name}")) is not None]
        if not there:
            return f"the pull secret {' or '.join(names)} of its pods does not exist in namespace {namespace}"
        if not any(_covers(secret, ref) for secret in there):
            return f"the pull secret {' or '.join(names)} of its pods has no login to it"
        return ""

    def _found(self, path: str) -> Object | None:
        """The object; None where there is none, empty where we may not look."""
        try:
            return self._kube.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status == 403:
                return {}
            raise


def _pulled(obj: Object, images: Mapping[str, PublishedImage]) -> list[PublishedImage]:
    return list({f.image: images[f.image] for f in fields.images(obj, ()) if f.image in images}.values())


def _covers(secret: Object, ref: ImageRef) -> bool:
    """Whether it may hold a login for this registry; one that we cannot read may."""
    try:
        data = secret["data"]
        auths = json.loads(base64.b64decode(data[".dockerconfigjson"]))["auths"] if ".dockerconfigjson" in data else \
            json.loads(base64.b64decode(data[".dockercfg"]))
        return any((ref.registry or "docker.io") in server or "*" in server for server in auths)
    except (KeyError, ValueError, TypeError):
        return True
