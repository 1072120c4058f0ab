"""The one place that names concrete classes: it puts the parts together for each command."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.cancel import Cancel
from devloop.cluster import Cluster, guard, identify
from devloop.config import Loaded, load
from devloop.config.models import NAMESPACE, NAMESPACE_WORDS, Artifact, Config, PortForward, parse_duration
from devloop.context import BuildContext, DigestCache, analyse, cache_directory, watch_roots
from devloop.errors import UnreachableError, UsageError
from devloop.events import Checked, Emit, Event, Failure, Notice, SessionStarted
from devloop.model import ImageRef
from devloop.pipeline import Pipeline
from devloop.plan import Dependent, Plan, plan
from devloop.tagging import input_digest, same_content, tag

if TYPE_CHECKING:      # the heavy ones are imported where they are first needed
    from devloop.build.builder import Builder
    from devloop.build.choice import Tool
    from devloop.build.kaniko.builder import KanikoBuilder
    from devloop.clients.docker import DockerEngine
    from devloop.clients.duplex import Dialer
    from devloop.clients.kube import Kube
    from devloop.deploy.afterwards import Afterwards
    from devloop.deploy.deployer import Deployer, PullAccess, Rollout
    from devloop.forward import Forwarder
    from devloop.logs import LogTailer
    from devloop.pods import Pods
    from devloop.publish.publisher import Publisher
    from devloop.publish.route import Route


@dataclass(frozen=True)
class Options:
    """The flags that every command takes."""

    filename: Path = Path("devloop.yaml")
    profile: Sequence[str] = ()
    namespace: str = ""
    kube_context: str = ""
    local: bool = False
    output: str = "auto"
    verbose: bool = False


class App:
    """One command at work, and the `Steps` of its pipeline. Every part is made when it is first needed, and closed in `close`."""

    def __init__(self, options: Options, emit: Emit, environ: Mapping[str, str] = os.environ) -> None:
        self.options = options
        self.tell = emit        # events that are told already, see `emit`
        self.emit: Emit = self._with_true_hint
        self.environ = environ
        self.force = False      # take over fields that another manager of the objects has set
        self.strict = False     # what has no effect on the Docker Engine alone is an error
        self.warm = False       # the pods of builds in the cluster are kept for the next build
        self.keep = False       # what runs on the Docker Engine alone is to go on when we end
        self._open = ExitStack()
        self._closing = Cancel()
        self._cache = DigestCache(cache_directory(environ))

    def _with_true_hint(self, event: Event) -> None:
        """Whoever writes a hint says kubectl; what of it helps with this session's cluster is known here."""
        if isinstance(event, (Failure, Notice, Checked)) and (kube := self.__dict__.get("kube")):
            event = replace(event, hint=kube.hint(event.hint))
        self.tell(event)

    def close(self) -> None:
        self._closing.cancel()
        self._cache.save()
        self._open.close()

    # --- parts

    def load(self) -> Loaded:
        """devloop.yaml as it is now. Raises `ConfigError`, and `UsageError` where the flag names no namespace that could be."""
        if not re.fullmatch(NAMESPACE, self.options.namespace):
            raise UsageError(f"--namespace: expected {NAMESPACE_WORDS}, found '{self.options.namespace}'")
        return load(self.options.filename, environ=self.environ, profiles=self.options.profile)

    @cached_property
    def loaded(self) -> Loaded:
        return self.load()

    def use(self, loaded: Loaded) -> None:
        """Put another reading of devloop.yaml in force: what was made from the old one is made anew when it is needed."""
        before, self.loaded = self.config, loaded
        routed = ("route", "engine") if loaded.config.publish != before.publish else ()
        for part in ("tools", "builder", "docker_builder", "publisher", "rollout", "pull_access", *routed):
            self.__dict__.pop(part, None)
        if (loaded.config.publish, loaded.config.build.kaniko) != (before.publish, before.build.kaniko):
            self._cooled()

    @property
    def config(self) -> Config:
        return self.loaded.config

    @property
    def config_file(self) -> Path:
        return self.base / self.loaded.file.name

    @property
    def base(self) -> Path:
        return self.loaded.file.parent.resolve()

    def retargets(self, loaded: Loaded) -> bool:
        """Whether this reading of devloop.yaml is about another project, target, context or namespace."""
        def target(config: Config) -> tuple[str, str, str, str]:
            return (config.name, config.deploy.target, self.options.kube_context or config.deploy.kube_context,
                    self.options.namespace or config.deploy.namespace)

        return target(loaded.config) != target(self.config)

    @cached_property
    def kube(self) -> Kube:
        from devloop.clients.kube import Kube

        kube = Kube(context=self.options.kube_context or self.config.deploy.kube_context)
        self._open.callback(kube.close)
        return kube

    @cached_property
    def cluster(self) -> Cluster:
        return identify(self.kube)

    @cached_property
    def namespace(self) -> str:
        return self.options.namespace or self.config.deploy.namespace or self.kube.namespace

    @cached_property
    def pods(self) -> Pods:
        from devloop.pods import Pods

        pods = Pods(self.kube, self.emit)
        self._open.callback(pods.close)
        return pods

    @cached_property
    def route(self) -> Route:
        """How images reach the cluster, which is told."""
        from devloop.publish.route import Router

        route = Router(self.config.publish, self.cluster, self.kube, environ=self.environ, opened=self._open, cancel=self._closing).choose()
        self.emit(Notice(route.reason))
        return route

    @cached_property
    def engine(self) -> DockerEngine:
        return self.route.engine

    # --- builds: by an Engine, or by Kaniko in the cluster

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        """What builds each artifact. An Engine is asked only where ``auto`` decides, which is told."""
        from devloop.build.choice import choose

        return choose(self.config.build, self.environ, self.emit)

    @property
    def needs_engine(self) -> bool:
        return not self.tools or "docker" in self.tools.values()

    @cached_property
    def docker_builder(self) -> Builder:
        from devloop.build.docker import DockerBuilder
        from devloop.build.minikube import MinikubeBuilder

        return MinikubeBuilder(*self.route.nodes) if self.route.nodes else DockerBuilder(self.engine, self.config.build.engine)

    @cached_property
    def kaniko(self) -> tuple[KanikoBuilder, Publisher]:
        """What builds in the cluster, and what is said of the images that it has pushed."""
        from devloop.build.kaniko.parts import kaniko_builder

        builder, publisher = kaniko_builder(self.config, self.kube, self.pods, kind=self.cluster.kind, environ=self.environ,
                                            namespace=self.namespace, warm=self.warm)
        self._open.callback(builder.close)
        self.emit(Notice(publisher.reason))
        return builder, publisher

    def _cooled(self) -> None:
        """The pods that wait for builds were made for another config."""
        if kaniko := self.__dict__.pop("kaniko", None):
            kaniko[0].close()

    @cached_property
    def builder(self) -> Builder:
        from devloop.build.choice import ByArtifact

        return ByArtifact(self.tools, {"docker": lambda: self.docker_builder, "kaniko": lambda: self.kaniko[0]})

    @cached_property
    def publisher(self) -> Publisher:
        from devloop.build.choice import PublishedByArtifact

        return PublishedByArtifact(self.tools, {"docker": lambda: self.route.publisher, "kaniko": lambda: self.kaniko[1]})

    def build_only(self) -> None:
        """Publish nothing. The cluster, if there is one, is asked only where a minikube may build."""
        from devloop.clients.docker import DockerEngine
        from devloop.publish.route import Route, Unpublished, built_by_minikube

        self.publisher = Unpublished()      # Kaniko has pushed what it built
        if not self.needs_engine:
            return
        try:
            kind = self.cluster.kind
        except UnreachableError:
            kind = "remote"
        if not built_by_minikube(self.config.publish, kind):
            engine = DockerEngine(self.environ)
            self._open.callback(engine.close)
            self.route = Route("none", self.publisher, engine)

    def greet(self, command: str) -> None:
        """Refuse a cluster that is not ours to touch, then say where we are. Raises `UsageError`, `UnreachableError`."""
        reason = guard(self.cluster, command=command, named_in_config=bool(self.config.deploy.kube_context),
                       named_by_flag=bool(self.options.kube_context))
        self.kube.get("/version")
        self.emit(SessionStarted(command, self.config.name, self.kube.context, self.namespace, self.cluster.kind, reason))

    @cached_property
    def pull_access(self) -> PullAccess:
        from devloop.clients.docker_config import DockerConfig
        from devloop.deploy.pullsecrets import PullSecrets
        from devloop.publish.logins import Logins

        docker = self.engine.config if self.needs_engine else DockerConfig.load(self.environ)
        logins = Logins(docker, self.environ, self.config.publish.registry)
        return PullSecrets(self.kube, self.environ, name=self.config.name, namespace=self.namespace,
                           secret=self.config.deploy.image_pull_secret, login=logins.for_artifact)

    @cached_property
    def deployer(self) -> Deployer:
        from devloop.deploy.apply import Applier

        return Applier(self.kube, name=self.config.name, namespace=self.namespace, force=self.force)

    @cached_property
    def rollout(self) -> Rollout:
        from devloop.deploy.rollout import ClusterRollout

        return ClusterRollout(self.kube, self.pods, timeout=parse_duration(self.config.deploy.rollout_timeout))

    @property
    def dialer(self) -> Callable[[], Dialer] | None:
        """What connects forwards to pods; None for the API server's way."""
        return None

    def pipeline(self) -> Pipeline:
        return Pipeline(self.config, self.base, self, self.emit)

    def analyse(self, artifact: Artifact, cancel: Cancel) -> BuildContext:
        if self.tools.get(artifact.image) == "kaniko":
            from devloop.build.kaniko.parts import cloned

            if context := cloned(artifact, self.config, self.environ, cancel):
                return context
        return analyse(artifact, self.base, self._cache, buildkit=self.config.build.engine == "buildkit", cancel=cancel)

    def tag(self, artifact: Artifact, context: BuildContext, arguments: Mapping[str, str]) -> tuple[ImageRef, str]:
        digest = input_digest(context, build_args=arguments, target=artifact.docker.target, platform=artifact.docker.platform,
                              labels=artifact.docker.labels)
        chosen = tag(self.config.build.tag, digest=digest, base=self.base, environ=self.environ, now=datetime.now(UTC))
        return ImageRef(artifact.image, chosen), same_content(digest)

    def plan(self, changed: frozenset[Path] | None, pipeline: Pipeline) -> Plan:
        """`changed` None: everything. An artifact that could not be analysed yet depends on all of its context."""
        artifacts = {a.image: pipeline.known.contexts.get(a.image) or Unknown(watch_roots(a, self.base))
                     for a in self.config.build.artifacts}
        requires = {a.image: [r.image for r in a.requires] for a in self.config.build.artifacts}
        return plan(changed, artifacts, pipeline.manifests, requires)

    @property
    def _selector(self) -> str:
        """Of the project's pods."""
        return f"devloop.dev/name={self.config.name}"

    def tail(self, streams: ExitStack) -> LogTailer:
        """Follow the project's logs from now on, until `streams` closes."""
        from devloop.logs import LogTailer

        tailer = LogTailer(self.kube, self.pods, namespaces=[self.namespace], selector=self._selector,
                           config=self.config.logs, emit=self.emit)
        tailer.start()
        streams.callback(tailer.stop)
        return tailer

    def afterwards(self, streams: ExitStack) -> Afterwards:
        """Tell of crashes between generations, until `streams` closes."""
        from devloop.deploy.afterwards import Afterwards

        afterwards = Afterwards(self.pods, self._selector, self.emit)
        afterwards.follow(self.namespace)
        streams.callback(afterwards.stop)
        return afterwards

    def forward(self, streams: ExitStack, forwards: Sequence[PortForward]) -> Forwarder:
        """Listen on the ports of `forwards` until `streams` closes."""
        from devloop.forward import Forwarder

        forwarder = Forwarder(self.kube, self.pods, forwards, namespace=self.namespace, emit=self.emit, dialer=self.dialer)
        streams.callback(forwarder.stop)
        forwarder.start()
        return forwarder


@dataclass(frozen=True)
class Unknown(Dependent):
    """An artifact whose Dockerfile could not be read yet: anything in or beside its context may mend that."""

    roots: tuple[Path, ...]

    def depends_on(self, path: Path) -> bool:
        return any(root == path or root in path.parents for root in self.roots)
