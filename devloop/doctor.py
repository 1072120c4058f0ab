"""`devloop doctor`: everything that a session needs, looked at one after the other, each with what to do where it is not well."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cached_property
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
from devloop.clients.docker_auth import Credentials
from devloop.clients.docker_config import DockerConfig
from devloop.clients.registry import Registry
from devloop.clients.registry_errors import RegistryUnreachable, tag_taken
from devloop.cluster import guard
from devloop.commands import Reported
from devloop.config.models import Artifact
from devloop.context import DigestCache, analyse
from devloop.deploy.manifests import ManifestSet
from devloop.deploy.rights import Right, denied, needed
from devloop.errors import ApiError, BuildError, Cancelled, DeployError, DevloopError, PublishError, UnreachableError
from devloop.events import Checked
from devloop.forward.target import parse
from devloop.interrupt import interruptible
from devloop.local.unsupported import told, unsupported
from devloop.local_app import LocalApp
from devloop.model import ImageRef
from devloop.publish.logins import Logins
from devloop.publish.names import renamed
from devloop.publish.route import built_by_minikube


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
        self._opened = ExitStack()
        self._engine: DockerEngine | None = None             # the one that builds, if it answers
        self._let_in: str | None = None                      # the registry that took the probe

    def examine(self) -> list[DevloopError]:
        """The problems, in the order in which they were found."""
        if self._check("devloop.yaml", self._config):
            with self._opened:
                self._examine()
        return self._problems

    def _examine(self) -> None:
        buildable = not self._app.needs_engine or (not self._by_minikube and self._builder())
        if self._engine and isinstance(self._app, LocalApp):
            self._check("manifests", self._manifests)
        elif self._check("context", self._context) and self._check("cluster", self._cluster):
            if self._by_minikube:      # then the route tells which Engine builds
                buildable = self._way() and self._builder()
            self._check("rights", lambda: self._rights(routed=buildable))
            if self._built_in_cluster:
                self._check("build login", self._build_login)
            if buildable and (self._by_minikube or self._way()):
                self._check("images", self._probe)
        if self._engine or (self._built_in_cluster and self._app.config.build.kaniko.from_docker_config):
            for host in self._registries():
                self._check(f"login {host or 'docker.io'}", lambda host=host: self._login(host))  # type: ignore[misc]

    def _builder(self) -> bool:
        """Whether there is one."""
        there = self._on_nodes or self._check("docker", self._docker)
        if there:
            self._check("buildx", self._buildx)
        return there

    def _way(self) -> bool:
        return self._check("route", lambda: self._app.publisher.reason or self._app.route.reason)

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
        app = self._app
        engine = app.route.engine if self._by_minikube else self._opened.enter_context(closing(DockerEngine(app.environ)))
        info = engine.info()
        self._engine = engine
        return f"{info.product} {info.version} (API {info.api_version}, {info.platform}) at {engine.endpoint}"

    def _buildx(self) -> str:
        engine = self._engine
        builder = DockerBuilder(engine, self._app.config.build.engine) if engine else self._app.docker_builder
        for artifact in self._app.config.build.artifacts:
            if self._app.tools[artifact.image] != "docker":
                continue
            context = self._app.analyse(artifact, self._cancel)
            builder.check(BuildJob(artifact, context, ImageRef(artifact.image), artifact.docker.build_args))
        found = engine.config.plugin("docker-buildx", engine.environ) if engine else ""
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

    def _rights(self, *, routed: bool) -> str:
        app = self._app
        manifests = ManifestSet(app.config.deploy.manifests, app.base).load()
        rights = needed(app.kube, manifests, app.namespace, pull_secret=bool(app.config.deploy.image_pull_secret),
                        forwards=[(parse(forward.resource).resource, forward.namespace) for forward in app.config.port_forward])
        builds = build_rights(app.config.build.kaniko.namespace or app.namespace) if self._built_in_cluster else ()
        rights = sorted({*rights, *builds, *(self._ways() if routed and app.needs_engine else ())})
        try:
            missing = denied(app.kube, rights, self._cancel)
        except ApiError as error:
            raise DeployError(f"what we may do in namespace '{app.namespace}' cannot be told: {error.message}", hint=error.hint) from error
        if missing:
            raise DeployError(f"{len(missing)} of {len(rights)} rights are missing: {', '.join(map(str, missing))}",
                              hint=f"Who runs the cluster can give them, with a Role, or a ClusterRole for what is in no "
                                   f"namespace. 'kubectl auth can-i {missing[0]}' asks the same.")
        return f"all {len(rights)} that this project takes in namespace '{app.namespace}'"

    def _ways(self) -> list[Right]:
        """What the way for images takes. Where there is none, the check of it says why."""
        try:
            return [Right(*right) for right in self._app.route.rights]
        except Cancelled:
            raise
        except DevloopError:
            return []

    def _probe(self) -> str:
        """Build an image of one small file, publish it, and have its presence proven."""
        app, started = self._app, time.monotonic()
        name = next((a.image for a in app.config.build.artifacts), "devloop-probe")
        if app.tools.get(name) == "kaniko" and app.config.build.kaniko.context != "upload":
            return "not tried: their contexts come from Git"
        # one tag for each project: it is replaced by the next probe, so that there is never more than one of it anywhere. What is in it
        # is new each time: nothing on the way may have it already
        tag = "doctor-" + hashlib.sha256(f"{app.config.name}/{app.namespace}".encode()).hexdigest()[:12]
        artifact, ref = Artifact(image=name), ImageRef(name, tag)
        with tempfile.TemporaryDirectory(prefix="devloop-") as directory:
            (Path(directory) / "Dockerfile").write_text("FROM scratch\nCOPY probe /\n")
            (Path(directory) / "probe").write_text(secrets.token_hex())
            context = analyse(artifact, Path(directory), DigestCache())
            try:
                done = self._published(BuildJob(artifact, context, ref, {}))
            except (BuildError, PublishError) as error:      # by Kaniko, who builds is who pushes
                if not tag_taken(error.message):
                    raise
                done = f"a probe was built and sent; {ref} stays the one of before there, as tags cannot be changed"
        self._let_in = ImageRef(renamed(name, app.config.publish.registry.repository)).registry
        return f"{done}, in {time.monotonic() - started:.1f} s"

    def _published(self, job: BuildJob) -> str:
        app = self._app
        built = app.builder.build(job, lambda _: None, self._cancel)
        try:
            published = app.publisher.publish(built, lambda _: None, self._cancel)
        finally:
            if app.tools.get(job.artifact.image) != "kaniko" and not app.route.nodes:
                app.engine.remove_tag(built.ref)
        return f"a probe was built, published as {published.ref} and found there"

    def _login(self, host: str) -> str:
        """The registry itself is asked; about base images only where somebody is logged in."""
        app, pushed, asked = self._app, host in self._pushed(), []
        logins = Logins(self._docker_config, app.environ, app.config.publish.registry, from_environment=pushed)

        def login(cancel: Cancel) -> Credentials | None:
            asked.append(host)
            return logins.of(host, cancel)

        known = None if pushed else logins.of(host, self._cancel)
        if not pushed and not known:
            return "nobody: base images must be public"
        who = f"as {known.get('username') or 'a token'}, for base images" if known else ""
        registry = Registry(host, app.environ, login, insecure=pushed and app.config.publish.registry.insecure)
        try:
            registry.ping(self._cancel)
        except RegistryUnreachable as error:      # the Engine's way to it may be another
            if pushed and host != self._let_in:
                raise
            return f"{who or 'the probe was let in'}; not tried from here: {error.message}"
        finally:
            registry.close()
        return who or (f"as {registry.user}" if registry.user else "nobody is logged in" if asked else "none is needed")

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

    @cached_property
    def _by_minikube(self) -> bool:
        """Whether another Engine than the docker CLI's may build, or none."""
        app = self._app
        if isinstance(app, LocalApp) or not app.needs_engine:
            return False
        try:
            return built_by_minikube(app.config.publish, app.cluster.kind)
        except UnreachableError:      # told by the check of the context
            return False

    @property
    def _on_nodes(self) -> bool:
        return self._by_minikube and bool(self._app.route.nodes)

    @property
    def _built_in_cluster(self) -> bool:
        return "kaniko" in self._app.tools.values()

    @property
    def _docker_config(self) -> DockerConfig:
        return self._engine.config if self._engine else DockerConfig.load(self._app.environ)

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
