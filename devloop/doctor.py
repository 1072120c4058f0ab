"""`devloop doctor`: everything that a session needs, looked at one after the other, each with what to do where it is not well."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from devloop.app import App
from devloop.build.bases import base_images
from devloop.build.builder import BuildJob
from devloop.build.docker import DockerBuilder
from devloop.build.kaniko.logins import of_secret
from devloop.build.kaniko.rights import needed as build_rights
from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_config import DockerConfig
from devloop.clients.registry import Registry
from devloop.cluster import guard
from devloop.commands import Reported
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
from devloop.deploy.manifests import ManifestSet
from devloop.deploy.rights import denied, needed
from devloop.errors import ApiError, Cancelled, DeployError, DevloopError
from devloop.events import Checked
from devloop.interrupt import interruptible
from devloop.local.unsupported import told, unsupported
from devloop.local_app import LocalApp
from devloop.model import ImageRef
from devloop.publish.logins import Logins
from devloop.publish.names import renamed


def doctor(app: App) -> None:
    """Check it all. Raises `Reported` with the first problem."""
    problems = interruptible(lambda cancel: Doctor(app, cancel).examine())
    if problems:
        raise Reported(problems[0])


class Doctor:
    """One examination. What cannot be looked at because of an earlier problem is left out."""

    def __init__(self, app: App, cancel: Cancel) -> None:
        self._app, self._cancel = app, cancel
        self._emit, app.emit = app.emit, lambda _: None      # what is found is all that is told
        self._problems: list[DevloopError] = []
        self._engine: DockerEngine | None = None

    def examine(self) -> list[DevloopError]:
        """The problems, in the order in which they were found."""
        if not self._check("devloop.yaml", self._config):
            return self._problems
        docker = self._app.needs_engine and self._check("docker", self._docker)
        if docker:
            self._check("buildx", self._buildx)
        buildable = docker or not self._app.needs_engine
        if docker and isinstance(self._app, LocalApp):
            self._check("manifests", self._manifests)
        elif self._check("context", self._context) and self._check("cluster", self._cluster):
            self._check("rights", self._rights)
            if self._built_in_cluster:
                self._check("build login", self._build_login)
            if buildable and self._check("route", lambda: self._app.publisher.reason or self._app.route.reason):
                self._check("images", self._probe)
        if docker or (self._built_in_cluster and self._app.config.build.kaniko.from_docker_config):
            for host in self._registries():
                self._check(f"login {host or 'docker.io'}", lambda host=host: self._login(host))  # type: ignore[misc]
        if self._engine:
            self._engine.close()
        return self._problems

    def _check(self, name: str, check: Callable[[], str]) -> bool:
        self._cancel.check()
        try:
            detail = check()
        except Cancelled:
            raise
        except DevloopError as error:
            self._problems.append(error)
            self._emit(Checked(name, False, "\n".join((error.message, *error.details)), error.hint))
            return False
        self._emit(Checked(name, True, detail))
        return True

    # --- each returns what is well, and raises what is not

    def _config(self) -> str:
        artifacts = len(self._app.config.build.artifacts)
        by = ", ".join(sorted(set(self._app.tools.values())))
        return (f"{self._app.config_file}: project '{self._app.config.name}', {artifacts} artifact{'' if artifacts == 1 else 's'}"
                + (f" built by {by}" if by != "docker" and by else ""))

    def _docker(self) -> str:
        self._engine = DockerEngine(self._app.environ)
        info = self._engine.info()
        return f"{info.product} {info.version} (API {info.api_version}, {info.platform}) at {self._engine.endpoint}"

    def _buildx(self) -> str:
        engine = self._docker_engine
        builder = DockerBuilder(engine, self._app.config.build.engine)
        for artifact in self._app.config.build.artifacts:
            if self._app.tools[artifact.image] != "docker":
                continue
            context = self._app.analyse(artifact, self._cancel)
            builder.check(BuildJob(artifact, context, ImageRef(artifact.image), artifact.docker.build_args))
        found = engine.config.plugin("docker-buildx", engine.environ)
        return found or "not installed; no Dockerfile of this project needs it"

    def _context(self) -> str:
        app = self._app
        reason = guard(app.cluster, command="doctor", named_in_config=bool(app.config.deploy.kube_context),
                       named_by_flag=bool(app.options.kube_context))
        return f"{app.kube.context}: {reason}"

    def _cluster(self) -> str:
        version = self._app.kube.request("GET", "/version", cancel=self._cancel)["gitVersion"]
        return f"Kubernetes {version} at {self._app.kube.server}"

    def _manifests(self) -> str:
        app = self._app
        found = unsupported(ManifestSet(app.config.deploy.manifests, app.base).load())
        return f"without effect on the Docker Engine alone: {told(found)}" if found else "all of it has its effect on the Docker Engine"

    def _rights(self) -> str:
        app = self._app
        manifests = ManifestSet(app.config.deploy.manifests, app.base).load()
        rights = needed(app.kube, manifests, app.namespace, pull_secret=bool(app.config.deploy.image_pull_secret),
                        forwards=bool(app.config.port_forward))
        if self._built_in_cluster:
            rights = sorted({*rights, *build_rights(app.config.build.kaniko.namespace or app.namespace)})
        try:
            missing = denied(app.kube, rights, self._cancel)
        except ApiError as error:
            raise DeployError(f"what we may do in namespace '{app.namespace}' cannot be told: {error.message}", hint=error.hint) from error
        if missing:
            raise DeployError(f"{len(missing)} of {len(rights)} rights are missing: {', '.join(map(str, missing))}",
                              hint=f"Who runs the cluster can give them, with a Role. 'kubectl auth can-i {missing[0]}' asks the same.")
        return f"all {len(rights)} that this project takes in namespace '{app.namespace}'"

    def _probe(self) -> str:
        """Build an image of one small file, publish it, and have its presence proven."""
        app, started = self._app, time.monotonic()
        name = next((a.image for a in app.config.build.artifacts), "devloop-probe")
        by_engine = app.tools.get(name) != "kaniko"
        if not by_engine and app.config.build.kaniko.context != "upload":
            return "not tried: their contexts come from Git"
        # one tag for each project: it is replaced by the next probe, so that there is never more than one of it anywhere
        tag = "doctor-" + hashlib.sha256(f"{app.config.name}/{app.namespace}".encode()).hexdigest()[:12]
        artifact = Artifact(image=name)
        with tempfile.TemporaryDirectory(prefix="devloop-") as directory:
            (Path(directory) / "Dockerfile").write_text("FROM scratch\nCOPY probe /\n")
            (Path(directory) / "probe").write_text(secrets.token_hex())
            context = analyse(artifact, Path(directory), DigestCache())
            built = app.builder.build(BuildJob(artifact, context, ImageRef(name, tag), {}), lambda _: None, self._cancel)
        try:
            published = app.publisher.publish(built, lambda _: None, self._cancel)
        finally:
            if by_engine and not app.route.nodes:
                app.engine.remove_tag(built.ref)
        return f"a probe was built, published as {published.ref} and found there, in {time.monotonic() - started:.1f} s"

    def _login(self, host: str) -> str:
        """For registries that images are published to, the registry itself is asked; for those of base images, docker's configuration."""
        app = self._app
        if host not in self._pushed():
            known = docker_auth.credentials(self._docker_config, host, app.environ, self._cancel)
            return f"as {known.get('username') or 'a token'}, for base images" if known else "nobody: base images must be public"
        logins = Logins(self._docker_config, app.environ, app.config.publish.registry)
        registry = Registry(host, app.environ, lambda cancel: logins.of(host, cancel), insecure=app.config.publish.registry.insecure)
        try:
            registry.ping(self._cancel)
        finally:
            registry.close()
        return f"as {registry.user}" if registry.user else "none is needed"

    def _build_login(self) -> str:
        """What the pods that build have to show to registries."""
        app = self._app
        kaniko = app.config.build.kaniko
        if kaniko.from_docker_config:
            return "this machine's logins to the registries that a build needs"
        if not kaniko.docker_config_secret:
            return "none: build.kaniko has neither dockerConfigSecret nor fromDockerConfig"
        namespace = kaniko.namespace or app.namespace
        place = f"secret '{kaniko.docker_config_secret}' in namespace '{namespace}'"
        try:
            secret = app.kube.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{kaniko.docker_config_secret}", cancel=self._cancel)
        except ApiError as error:
            if error.status == 403:
                return f"{place}, which we may not look at"
            raise DeployError(f"build.kaniko.dockerConfigSecret: there is no {place}",
                              hint=f"Make it: kubectl create secret docker-registry {kaniko.docker_config_secret} -n {namespace} "
                                   "--docker-server=... --docker-username=... --docker-password=...") from error
        hosts = of_secret(secret)
        missing = [host or "docker.io" for host in sorted(self._pushed()) if docker_auth.key(host) not in hosts]
        if missing:
            raise DeployError(f"{place} has no login to {', '.join(missing)}, where images are pushed to",
                              hint="Its type is to be kubernetes.io/dockerconfigjson. It has logins to: " + (", ".join(hosts) or "nobody"))
        return place

    # --- what there is to look at

    @property
    def _built_in_cluster(self) -> bool:
        return "kaniko" in self._app.tools.values()

    @property
    def _docker_config(self) -> DockerConfig:
        return self._engine.config if self._engine else DockerConfig.load(self._app.environ)

    @property
    def _docker_engine(self) -> DockerEngine:
        assert self._engine
        return self._engine

    def _pushed(self) -> frozenset[str]:
        """The registries that devloop.yaml publishes to."""
        publish = self._app.config.publish
        if publish.mode != "registry" and not (publish.mode == "auto" and publish.registry.repository):
            return frozenset()
        return frozenset(ImageRef(renamed(a.image, publish.registry.repository)).registry for a in self._app.config.build.artifacts)

    def _registries(self) -> list[str]:
        return sorted(self._pushed() | set(self._bases()))

    def _bases(self) -> Iterator[str]:
        for artifact in self._app.config.build.artifacts:
            try:
                context = self._app.analyse(artifact, self._cancel)
            except Cancelled:
                raise
            except DevloopError:
                continue      # told by the check of buildx
            required = {r.image for r in artifact.requires}
            yield from (ref.registry for ref in base_images(context.instructions, artifact.docker.build_args)
                        if ref.repository not in required)
