"""Puts a `KanikoBuilder` together: the registry that it pushes to, and the logins for it."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.build.kaniko.builder import KanikoBuilder
from devloop.build.kaniko.git import git_context
from devloop.build.kaniko.logins import OwnLogins
from devloop.build.kaniko.registry import Target
from devloop.cancel import Cancel
from devloop.clients.docker_config import DockerConfig
from devloop.clients.git import remote_commit
from devloop.clients.kube import Kube
from devloop.config.models import Artifact, Config, GitContext, Registry
from devloop.context import BuildContext
from devloop.errors import ApiError
from devloop.pods import Pods
from devloop.publish.addonparts import NAMESPACE, SERVICE
from devloop.publish.announced import announced
from devloop.publish.names import ADDON
from devloop.publish.pushed import PushedPublisher


def registry_for(config: Config, kube: Kube, kind: str) -> tuple[Registry, str]:
    """The registry as the cluster's pods reach it, and which it is, in words. `kind`: of the cluster.

    Without ``publish.registry.repository``: minikube's registry addon, or the one that the cluster announces to its pods (KEP-1755).
    """
    given = config.publish.registry
    if given.repository or config.publish.mode == "registry":
        return given, given.repository or "the registries that they name"
    if kind == "minikube" and _has_addon(kube):
        host = f"{SERVICE}.{NAMESPACE}.svc.cluster.local"
        return Registry(repository=host, pull_repository=ADDON, insecure=True), "minikube's registry addon"
    if (local := announced(kube)) and local.from_cluster:
        return (Registry(repository=local.from_cluster, pull_repository=local.from_runtime, insecure=True),
                f"{local.from_cluster}, which the cluster announces (KEP-1755)")
    return given, "the registries that they name"


def _has_addon(kube: Kube) -> bool:
    try:
        kube.get(f"/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}")
    except ApiError as error:
        if error.status in (403, 404):
            return False
        raise
    return True


def kaniko_builder(config: Config, kube: Kube, pods: Pods, *, kind: str, environ: Mapping[str, str], namespace: str,
                   warm: bool) -> tuple[KanikoBuilder, PushedPublisher]:
    """The builder, to be closed, and the publisher of what it builds. `namespace`: the one deployed to; `warm`: in dev."""
    registry, where = registry_for(config, kube, kind)
    logins = OwnLogins(DockerConfig.load(environ), environ, registry)
    builder = KanikoBuilder(kube, pods, config.build.kaniko, Target(registry, logins.published, environ), logins, project=config.name,
                            namespace=namespace, warm=warm)
    return builder, PushedPublisher(registry, f"images are built in the cluster by Kaniko, and pushed to {where}")


def cloned(artifact: Artifact, config: Config, environ: Mapping[str, str], cancel: Cancel) -> BuildContext | None:
    """The context that Kaniko clones; None where this machine's files are it. Raises `ConfigError` or `Cancelled`."""
    context = config.build.kaniko.context
    if not isinstance(context, GitContext):
        return None
    return git_context(artifact, context.git, *remote_commit(context.git.url, context.git.ref, environ, cancel))
