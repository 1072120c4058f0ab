"""Who we are at registries."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.docker_auth import Credentials
from devloop.clients.docker_config import DockerConfig
from devloop.clients.registry_errors import EnvironmentUser
from devloop.config.models import Registry
from devloop.model import ImageRef, PublishedImage
from devloop.publish.names import renamed


class Logins:
    """What docker knows, and the environment's login for the registry that images are published to. Never print what comes from it."""

    def __init__(self, docker: DockerConfig, environ: Mapping[str, str], registry: Registry, *, from_environment: bool = True) -> None:
        self._docker, self._environ = docker, environ
        self._registry, self._from_environment = registry, from_environment

    def of(self, host: str, cancel: Cancel) -> Credentials | None:
        """For a registry that images are published to (empty: Docker Hub). Raises `UnreachableError`, `Cancelled`."""
        given = docker_auth.from_environment(host, self._environ) if self._from_environment else None
        if given:
            return {**given, "username": EnvironmentUser(given["username"])}
        return docker_auth.credentials(self._docker, host, self._environ, cancel)

    def for_artifact(self, image: PublishedImage, cancel: Cancel) -> Credentials | None:
        """For the registry that this image went to; none where its name says that it went another way than publish.registry's: a login
        is for nobody else. Raises as `of`."""
        registry = self._registry
        if image.ref.repository != renamed(image.artifact, registry.pull_repository or registry.repository):
            return None
        return self.of(ImageRef(renamed(image.artifact, registry.repository)).registry, cancel)
