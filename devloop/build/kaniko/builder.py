"""Builds in pods of the cluster, by Kaniko: no Docker Engine is asked for anything."""

from __future__ import annotations

import fnmatch
import secrets
import threading
from collections.abc import Iterable, Iterator

from devloop.build.bases import base_images
from devloop.build.builder import BuildJob
from devloop.build.kaniko.arguments import arguments, cache_repository, order
from devloop.build.kaniko.diagnosis import executor_failure, late, never_started, pod_failure
from devloop.build.kaniko.link import LinkLost
from devloop.build.kaniko.logins import OwnLogins, docker_config
from devloop.build.kaniko.pod import WARM
from devloop.build.kaniko.pod import job as job_object
from devloop.build.kaniko.registry import Target
from devloop.build.kaniko.talk import Listener
from devloop.build.kaniko.watching import Watching
from devloop.build.kaniko.worker import PodFailed, PodGone, Spoiled, Worker
from devloop.build.output import Progress
from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.config.kaniko import CANNOT
from devloop.config.models import GitContext, Kaniko, parse_duration
from devloop.errors import ApiError, BuildError, Cancelled, UnreachableError
from devloop.events import Emit, StepOutput, StepProgress
from devloop.model import BuiltImage, ImageRef
from devloop.pods import Pods
from devloop.publish.meter import size

ATTEMPTS = 4       # a pod that is deleted, or a connection that breaks, so many times in one build is nobody's bad luck any more


class KanikoBuilder:
    """A `Builder` that pushes what it builds. `close` it: its pods go then."""

    def __init__(self, kube: Kube, pods: Pods, kaniko: Kaniko, target: Target, logins: OwnLogins, *, project: str, namespace: str,
                 warm: bool) -> None:
        """`namespace`: the one deployed to, where ``build.kaniko`` names none. `warm`: pods are kept for the next build."""
        self._kube, self._kaniko, self._target, self._logins = kube, kaniko, target, logins
        self._project, self._namespace = project, kaniko.namespace or namespace
        self._warm = warm and kaniko.warm
        self._pods = pods
        self._session = secrets.token_hex(6)
        self._lock = threading.Lock()
        self._watching: Watching | None = None
        self._idle: dict[str, Worker] = {}             # by artifact
        self._busy: set[Worker] = set()
        self._built: dict[tuple[str, str], ImageRef] = {}      # what this session has pushed, by artifact and tag
        self._closed = False

    # --- what the pipeline asks for

    def find(self, ref: ImageRef, same_content: str) -> tuple[ImageRef, str] | None:
        """Pushed by this session, or in the registry under this very tag (no registry finds tags by a pattern)."""
        target = self._target.of(ref)
        with self._lock:
            for (_, tag), known in self._built.items():
                if known.repository == target.repository and fnmatch.fnmatchcase(tag, same_content):
                    return known, ""
        digest = self._target.find(target)
        return (target.with_digest(digest), "") if digest else None

    def check(self, job: BuildJob) -> None:
        docker = job.artifact.docker
        for name, given in (("network", docker.network), ("cacheFrom", docker.cache_from)):
            if given:
                raise BuildError(f"{job.artifact.image}: {CANNOT[name]}", hint=f"Take docker.{name} out of the artifact in devloop.yaml, "
                                 "or have Docker build it (builder: docker).")
        self._target.of(ImageRef(job.artifact.image))

    def build(self, job: BuildJob, emit: Emit, cancel: Cancel) -> BuiltImage:
        self.check(job)
        listener = Listener(job, emit)
        limited = cancel.child()
        timer = threading.Timer(parse_duration(self._kaniko.timeout), limited.cancel)
        timer.name, timer.daemon = f"timeout-{job.artifact.image}", True
        timer.start()
        stage = Stage(job.artifact.image, emit)
        try:
            return self._attempts(job, listener, stage, limited)
        except Cancelled as error:
            if cancel.cancelled or self._closed:
                raise
            raise (late(job, self._kaniko, listener.talk) if not stage.now else never_started(job, self._kaniko, stage.now)) from error
        finally:
            timer.cancel()
            limited.detach()

    def prune(self, artifact: str) -> None:
        """The registry's images are its owner's."""

    def close(self) -> None:
        """Delete every pod, at once."""
        with self._lock:
            self._closed = True
            workers = [*self._idle.values(), *self._busy]
            self._idle.clear()
            watching, self._watching = self._watching, None
        for worker in workers:
            worker.close()
        if watching:
            watching.close()
        self._target.close()

    # --- one build

    def _attempts(self, job: BuildJob, listener: Listener, stage: Stage, cancel: Cancel) -> BuiltImage:
        """A pod that is deleted and a connection that breaks cost an attempt, and not a word."""
        lost: Exception | None = None
        worker: Worker | None = None
        mine: set[Worker] = set()      # those whose end is this build's: they were made for it, or it was begun in them
        try:
            for _ in range(ATTEMPTS):
                worker = worker or self._taken(job, mine)
                try:
                    return self._attempt(worker, job, listener, stage, mine=mine, cancel=cancel)
                except PodFailed as error:
                    told = worker in mine
                    self._given_up(worker)
                    worker = None
                    if told:
                        raise pod_failure(job, self._kaniko, error.diagnosis, listener.talk) from error
                except (PodGone, Spoiled) as error:
                    lost = error
                    self._given_up(worker)
                    worker = None
                except LinkLost as error:
                    lost = error
                except ApiError as error:
                    self._given_up(worker)
                    worker = None
                    raise self._refused(job, error) from error
        finally:
            if worker:
                self._given_back(job, worker)
        why = lost or "no reason given"
        raise UnreachableError(f"{job.artifact.image}: the connection to its build pod was lost {ATTEMPTS} times: {why}",
                               hint="Does something delete pods in this namespace, or end connections to the API server?") from lost

    def _attempt(self, worker: Worker, job: BuildJob, listener: Listener, stage: Stage, *, mine: set[Worker], cancel: Cancel) -> BuiltImage:
        image, kaniko, target = job.artifact.image, self._kaniko, self._target.of(job.ref)
        worker.start(stage.at, cancel)
        stage.at("")
        uploaded = not isinstance(kaniko.context, GitContext)
        sent = worker.sync(job.context if uploaded else None, stage.counted, cancel)
        if uploaded:
            stage.told(f"context: {sent.files} of {sent.of} files sent, {size(sent.bytes)}")
        flags = arguments(job, kaniko, target, insecure=self._target.config.insecure)
        mine.add(worker)
        outcome = worker.build(order(flags, kaniko), self._login(job, target, stage.emit, cancel), listener.take, cancel)
        if outcome.code or not outcome.digest:
            raise executor_failure(job, kaniko, target, listener.talk, code=outcome.code, killed=outcome.killed)
        pushed = target.with_digest(outcome.digest)
        with self._lock:
            self._built[image, target.tag] = pushed
        return BuiltImage(image, pushed)

    def _login(self, job: BuildJob, target: ImageRef, emit: Emit, cancel: Cancel) -> bytes:
        if not self._kaniko.from_docker_config:
            return b""
        cache = cache_repository(self._kaniko, target)
        if isinstance(self._kaniko.context, GitContext):      # the Dockerfile is not known here, nor are its base images
            pulled = self._logins.hosts
        else:
            pulled = [ref.registry for ref in base_images(job.context.instructions, job.build_args)]
        hosts = [target.registry, *pulled, *([ImageRef(cache).registry] if cache else [])]
        return docker_config(hosts, self._logins.of(target.registry), target.registry, emit, cancel)

    def _refused(self, job: BuildJob, error: ApiError) -> BuildError:
        where = f"namespace '{self._namespace}'"
        if error.status == 403:
            return BuildError(f"{job.artifact.image}: the cluster refuses a build pod in {where}: {error.message}",
                              hint="docs/kaniko.md has the Role that builds need; 'devloop doctor' tells what is missing of it. "
                                   "Of a quota: 'kubectl describe resourcequota'.")
        if error.status == 404 and "namespaces" in error.message:
            hint = f"Make it: kubectl create namespace {self._namespace}"
            hint = (f"build.kaniko.namespace names it. {hint}" if self._kaniko.namespace else
                    f"{hint}; or have build.kaniko.namespace name another: images are built before anything is deployed.")
            return BuildError(f"{job.artifact.image}: there is no {where} to build in", hint=hint)
        return BuildError(f"{job.artifact.image}: the cluster refuses a build pod in {where}: {error.message}", hint=error.hint)

    # --- its pods

    def _taken(self, job: BuildJob, mine: set[Worker]) -> Worker:
        image = job.artifact.image
        with self._lock:
            if self._closed:
                raise Cancelled("closed")
            self._watching = self._watching or Watching(self._pods, self._namespace, self._session)
            worker = self._idle.pop(image, None)
            if worker is None:
                made = job_object(self._kaniko, session=self._session, project=self._project, artifact=image)
                worker = Worker(self._kube, self._watching, self._namespace, made, lasting=WARM if self._warm else 0)
                mine.add(worker)
            self._busy.add(worker)
        return worker

    def _given_back(self, job: BuildJob, worker: Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            keep = self._warm and not self._closed
            if keep:
                self._idle[job.artifact.image] = worker
        if keep:
            worker.release()
        else:
            worker.close()

    def _given_up(self, worker: Worker) -> None:
        """The next attempt makes another."""
        with self._lock:
            self._busy.discard(worker)
        worker.close()


class Stage:
    """What is done before the executor begins, as events. `now` is empty once the pod is there."""

    def __init__(self, image: str, emit: Emit) -> None:
        self.emit, self.now = emit, "asking for a pod"
        self._image = image
        self._progress = Progress(image, emit)

    def at(self, what: str) -> None:
        if what and what != self.now:
            self.emit(StepProgress("build", self._image, f"build pod: {what}"))
        self.now = what

    def counted(self, chunks: Iterable[bytes], total: int) -> Iterator[bytes]:
        return self._progress.counted(chunks, total)

    def told(self, line: str) -> None:
        self.emit(StepOutput("build", self._image, line))
