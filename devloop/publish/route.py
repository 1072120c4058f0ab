"""How images reach this cluster: which way, why that one, and which Engine builds for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.minikube import Minikube, Profile
from devloop.cluster import Cluster
from devloop.config.models import Publish, PublishMode, Registry
from devloop.errors import ApiError, PublishError, UnreachableError
from devloop.events import Emit
from devloop.model import BuiltImage, PublishedImage
from devloop.publish.publisher import Publisher
from devloop.publish.shared import ONE_MACHINE, SharedEngine

if TYPE_CHECKING:
    from devloop.clients.kube import Kube

CONFIGURE = "Say in devloop.yaml which registry images are to go through: publish: {registry: {repository: ghcr.io/acme}}."
INSTEAD: Mapping[str, str] = {
    "rancher-desktop": "In Rancher Desktop choose dockerd (moby) in Preferences > Container Engine; nerdctl has no Docker Engine API. Or: ",
    "colima": "Start colima with Docker as the cluster's runtime: colima start --kubernetes --runtime docker. Or: ",
    "microk8s": "Enable the registry that devloop then finds: microk8s enable registry. Or: ",
    "docker-desktop": "In Docker Desktop's settings choose kubeadm for Kubernetes: its node uses the Engine itself. Or: ",
}
"""What to do about clusters that could use the Engine, and do not."""

Rights = Sequence[tuple[str, str, str, str]]
"""Verb, resource, API group and namespace, of what is asked of the cluster's API."""
_PROOF: Rights = (("list", "nodes", "", ""),)
_ADDON: Rights = tuple((verb, resource, "", "kube-system") for resource, verbs in (
    ("services", ("get",)), ("pods", ("get", "list", "watch")), ("pods/portforward", ("create", "get"))) for verb in verbs)


@dataclass(frozen=True)
class Route:
    """One way. `engine` builds the images, unless `nodes` is set: then ``minikube image build`` does, on this profile's nodes.

    `rights`: what this way takes of the cluster, without which no image gets there.
    """

    mode: PublishMode
    publisher: Publisher
    engine: DockerEngine
    nodes: tuple[Minikube, Profile] | None = None
    rights: Rights = ()

    @property
    def reason(self) -> str:
        """Which route this is and why, in one line."""
        return self.publisher.reason


class Unpublished:
    """A `Publisher` for images that stay where they are built."""

    reason = "images stay in the Engine that builds them"

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        return PublishedImage(image.artifact, image.ref, local_only=True)


def built_by_minikube(config: Publish, kind: str) -> bool:
    """Whether another Engine than the one of the docker CLI may build for this kind of cluster. Nothing is asked."""
    if config.mode == "auto":
        return kind == "minikube" and not config.registry.repository
    return config.mode in ("minikube-docker-env", "minikube-image-build")


class Router:
    """Chooses, asking nothing that the answer does not need. What it opens is closed with `opened`."""

    def __init__(self, config: Publish, cluster: Cluster, kube: Kube, *, environ: Mapping[str, str], opened: ExitStack,
                 cancel: Cancel) -> None:
        self._config, self._cluster, self._kube = config, cluster, kube
        self._environ, self._opened, self._cancel = environ, opened, cancel
        self._engine = self._opened_engine(environ)
        self._minikube = Minikube(cluster.name, environ)

    def choose(self) -> Route:
        """By ``publish.mode``. Raises `PublishError`, `UnreachableError` or `Cancelled`."""
        match self._config.mode:
            case "auto":
                return self._best()
            case "none":
                return self._shared("none", self._engine, "publish.mode says that ")
            case "registry":
                return self._registry(self._config.registry, "")
            case "kind" | "k3d" as tool:
                return self._loaded(tool, self._cluster.name.removeprefix(f"{tool}-"))
            case mode:
                return self._forced(mode, self._minikube.profile(self._cancel))

    def _best(self) -> Route:
        kind = self._cluster.kind
        if self._config.registry.repository:
            return self._registry(self._config.registry, "")
        if kind == "minikube":
            return self._of_minikube()
        if kind not in ONE_MACHINE and (route := self._announced()):
            return route
        if kind in ("kind", "k3d"):
            return self._loaded(kind, self._cluster.name)
        return self._proven()

    # --- minikube

    def _of_minikube(self) -> Route:
        """Straight in its Engine where it lets us, else through a registry that it announces or has as an addon, else into each node."""
        if self._environ.get("MINIKUBE_ACTIVE_DOCKERD") == self._cluster.name:
            return self._shared("minikube-docker-env", self._engine, "after 'minikube docker-env', ")
        profile = self._minikube.profile(self._cancel)
        if profile.driver == "none" and profile.runtime == "docker":
            return self._shared("none", self._engine, "with minikube's driver 'none', ")
        if len(profile.nodes) == 1 and profile.runtime == "docker":
            return self._docker_env(profile)
        try:
            if route := self._announced():
                return route
        except UnreachableError:      # to load images, or just to build them, minikube's API server need not answer
            pass
        why = f"it has {len(profile.nodes)} nodes" if len(profile.nodes) > 1 else f"its container runtime is {profile.runtime}"
        if profile.registry or self._config.minikube.enable_registry_addon:
            return self._addon(profile, f"because {why}")
        return self._image_load(profile, f"because {why}; faster: publish.minikube.enableRegistryAddon")

    def _forced(self, mode: PublishMode, profile: Profile) -> Route:
        said = f"as publish.mode {mode} says"
        if mode == "minikube-docker-env":
            return self._docker_env(profile)
        if mode == "minikube-registry":
            return self._addon(profile, said)
        if mode == "minikube-image-load":
            return self._image_load(profile, said)
        from devloop.publish.minikube import ImageBuild

        reason = f"images are built on the nodes of minikube profile '{profile.name}' by 'minikube image build', {said}"
        return Route(mode, ImageBuild(self._minikube, profile, reason), self._engine, (self._minikube, profile))

    def _docker_env(self, profile: Profile) -> Route:
        engine = self._opened_engine({**self._environ, **self._minikube.docker_env(self._cancel)})
        return self._shared("minikube-docker-env", engine, f"images are built in minikube's own Engine (profile '{profile.name}'): ")

    def _addon(self, profile: Profile, why: str) -> Route:
        from devloop.publish.addon import RegistryAddonPublisher

        if not profile.registry and self._config.minikube.enable_registry_addon:
            self._minikube.enable_registry(self._cancel)
            why += ", and enabled for this"
        publisher = RegistryAddonPublisher(self._engine, self._kube,
                                           reason=f"images go through the registry addon of minikube profile '{profile.name}', {why}")
        self._opened.callback(publisher.close)
        return Route("minikube-registry", publisher, self._engine, rights=_ADDON)

    def _image_load(self, profile: Profile, why: str) -> Route:
        from devloop.publish.loading import LoadedNodes
        from devloop.publish.minikube import ImageLoad

        reason = f"images are loaded into every node of minikube profile '{profile.name}' by 'minikube image load', {why}"
        return Route("minikube-image-load", LoadedNodes(ImageLoad(self._engine, self._minikube, profile, reason)), self._engine)

    # --- the others

    def _announced(self) -> Route | None:
        """Through the registry that the cluster says it has."""
        from devloop.publish.announced import announced

        if not (local := announced(self._kube)):
            return None
        registry = Registry(repository=local.host, pull_repository=local.from_runtime, insecure=self._config.registry.insecure)
        return self._registry(registry, f"images are pushed to {local.host}: the cluster announces this registry (KEP-1755)")

    def _registry(self, registry: Registry, reason: str) -> Route:
        from devloop.publish.registry import RegistryPublisher

        publisher = RegistryPublisher(self._engine, registry, reason=reason, login_from_environment=not reason)
        self._opened.callback(publisher.close)
        return Route("registry", publisher, self._engine)

    def _loaded(self, tool: Literal["kind", "k3d"], name: str) -> Route:
        from devloop.publish.makers import publisher

        return Route(tool, publisher(tool, self._engine, self._kube, name), self._engine)

    def _shared(self, mode: PublishMode, engine: DockerEngine, why: str) -> Route:
        return Route(mode, SharedEngine(engine, self._kube, self._cluster.kind, why=why), engine, rights=_PROOF)

    def _proven(self) -> Route:
        """The nodes use our Engine, or they pull from a registry, or there is no way that devloop could know of."""
        publisher = SharedEngine(self._engine, self._kube, self._cluster.kind)
        try:
            publisher.prove()
        except PublishError as error:
            if self._cluster.kind in ONE_MACHINE and (route := self._announced()):      # the others were asked for it first
                return route
            instead = f"{error.hint} Or: " if isinstance(error.__cause__, ApiError) else INSTEAD.get(self._cluster.kind, "")
            raise PublishError(error.message, hint=instead + CONFIGURE) from error
        return Route("none", publisher, self._engine, rights=_PROOF)

    def _opened_engine(self, environ: Mapping[str, str]) -> DockerEngine:
        engine = DockerEngine(environ)
        self._opened.callback(engine.close)
        return engine
