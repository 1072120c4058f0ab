"""The same commands on the Docker Engine alone: an `App` whose cluster is a small Kubernetes in this process (see `devloop.local`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from devloop.app import App, Options
from devloop.cancel import Cancel
from devloop.cluster import Cluster
from devloop.config import Loaded
from devloop.deploy.manifests import Rendered
from devloop.errors import ConfigError, DevloopError
from devloop.events import Emit, SessionStarted
from devloop.model import Manifest
from devloop.publish.route import Route, Unpublished

if TYPE_CHECKING:
    from devloop.build.choice import Tool
    from devloop.clients.docker import DockerEngine
    from devloop.clients.duplex import Dialer
    from devloop.clients.kube import Kube
    from devloop.deploy.deployer import Deployer, PullAccess
    from devloop.local.cluster import LocalCluster

NAMESPACE = "default"


def make(options: Options, emit: Emit, environ: Mapping[str, str] = os.environ, loaded: Loaded | None = None) -> App:
    """The `App` for the target that the flags or devloop.yaml name. A devloop.yaml that cannot be read is told by whoever needs it."""
    app = App(options, emit, environ)
    if loaded:
        app.loaded = loaded
    try:
        local = options.local or app.config.deploy.target == "docker"
    except DevloopError:
        return app
    return make_local(app) if local else app


def make_local(app: App) -> LocalApp:
    """`app` on the Docker Engine; it must not have been used yet."""
    local = LocalApp(app.options, app.tell, app.environ)
    if "loaded" in app.__dict__:
        local.loaded = app.loaded
    return local


class EnginesLogins:
    """A `PullAccess` without secrets: the Engine pulls with the docker CLI's own logins."""

    def prepare(self, rendered: Rendered, emit: Emit, cancel: Cancel) -> tuple[Manifest, ...]:
        return ()


class LocalApp(App):
    """What is different where the Docker Engine alone runs the pods."""

    @cached_property
    def engine(self) -> DockerEngine:
        from devloop.clients.docker import DockerEngine

        engine = DockerEngine(self.environ)
        self._open.callback(engine.close)
        return engine

    @cached_property
    def local(self) -> LocalCluster:
        from devloop.local.cluster import LocalCluster

        local = LocalCluster(self.engine, project=self.config.name, emit=self.emit)
        self._open.callback(lambda: local.close(keep=self.keep))
        return local

    @cached_property
    def kube(self) -> Kube:
        return self.local.kube

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster("docker", "", True, f"on the Docker Engine alone, for development ({self.engine.endpoint.address})",
                       self.kube.context, self.kube.server)

    @cached_property
    def namespace(self) -> str:
        return self.options.namespace or self.config.deploy.namespace or NAMESPACE

    def greet(self, command: str) -> None:
        self.engine.ping()
        self.emit(SessionStarted(command, self.config.name, self.cluster.context, self.namespace, self.cluster.kind, self.cluster.reason))

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        if found := next((a.image for a in self.config.build.artifacts if (a.builder or self.config.build.builder) == "kaniko"), ""):
            raise ConfigError(f"{found} is built by Kaniko, in a cluster, and on the Docker Engine alone there is none",
                              hint="Leave out --local, or have the Engine build: a profile can say build: {builder: docker}.")
        return {artifact.image: "docker" for artifact in self.config.build.artifacts}

    @cached_property
    def route(self) -> Route:
        return Route("none", Unpublished(), self.engine)

    @cached_property
    def pull_access(self) -> PullAccess:
        return EnginesLogins()

    @cached_property
    def deployer(self) -> Deployer:
        return self.local.deployer(super().deployer, strict=self.strict)

    @property
    def dialer(self) -> Callable[[], Dialer]:
        return self.local.dialer
