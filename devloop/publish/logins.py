"""Who we are at registries."""

from __future__ import annotations

from collections.abc import Mapping

from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.docker_auth import Credentials
from devloop.clients.docker_config import DockerConfig
from devloop.config.models import Registry
from devloop.model import ImageRef
from devloop.publish.names import renamed


class Logins:
    """What docker knows, and the environment's login for the registry that images are published to. Never print what comes from it."""

    def __init__(self, docker: DockerConfig, environ: Mapping[str, str], registry: Registry, *, from_environment: bool = True) -> None:
        self._docker, self._environ = docker, environ
        self._registry, self._from_environment = registry, from_environment

    def of(self, host: str, cancel: Cancel) -> Credentials | None:
        """For a registry that images are published to (empty: Docker Hub). Raises `UnreachableError`, `Cancelled`."""
        given = docker_auth.from_environment(host, self._environ) if self._from_environment else None
        return given or docker_auth.credentials(self._docker, host, self._environ, cancel)

    def for_artifact(self, artifact: str, cancel: Cancel) -> Credentials | None:
        """For the registry that this artifact goes to; raises as `of`."""
        return self.of(ImageRef(renamed(artifact, self._registry.repository)).registry, cancel)
