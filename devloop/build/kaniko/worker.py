"""The life of one build pod: created, spoken with, cleaned for the next build, deleted."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from devloop.build.failure import FULL
from devloop.build.kaniko.link import Link, LinkLost
from devloop.build.kaniko.tree import Tree, archive, delta, dockerfile, names, proof
from devloop.build.kaniko.watching import Watching
from devloop.cancel import Cancel
from devloop.clients.kube import MERGE_PATCH, Kube, Resource
from devloop.context import BuildContext, ContextChanged, ContextFile
from devloop.deploy.causes.diagnosis import Diagnosis
from devloop.errors import ApiError, Cancelled, DevloopError, UnreachableError
from devloop.model import Object
from devloop.pods import assigned, finished

JOBS = Resource("batch/v1", "Job", "jobs", True)
AGAIN = 0.1            # seconds until a container that does not run yet is tried again: its status is late by up to a second
LOOK = 1.0             # seconds until a pod is looked at again, with no news of it
UNREACHABLE = 15.0     # seconds for which the API server may be away
DELETE_TIMEOUT = 5.0


Counted = Callable[[Iterable[bytes], int], Iterator[bytes]]
"""Lets bytes pass, and tells how many of how many have."""


class PodFailed(Exception):
    """The pod cannot build: `diagnosis` says why."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis


class PodGone(Exception):
    """Somebody has deleted the pod, or it has ended by itself."""


class Spoiled(Exception):
    """What a build has left in the pod could not be removed: the next one needs another pod."""


@dataclass(frozen=True)
class Sent:
    """What went into the pod for one build: so many files of so many (directories do not count), and bytes on the wire (compressed)."""

    files: int
    of: int
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """How the executor ended. `killed`: how many processes of the pod ran out of memory. `digest`: of the image that it pushed."""

    code: int
    killed: int
    digest: str


class Worker:
    """One pod. One thread uses it at a time. Raises `LinkLost`, `PodFailed` and what asking the API server raises.

    Whatever interrupts a conversation drops the link: the agent then ends what it does, and a new one begins by proving what is there.
    """

    def __init__(self, kube: Kube, watching: Watching, namespace: str, job: Object, *, lasting: int) -> None:
        """`job` as in `pod.job`. `lasting`: for how many seconds it may live once it has been spoken with; 0: no longer than it says."""
        self._kube, self._watching, self._namespace, self._body, self._lasting = kube, watching, namespace, job, lasting
        self._job: Object | None = None
        self._link: Link | None = None
        self._tree: Tree = {}             # what its context is
        self._known = True                # whether it is that for sure
        self._used = False                # something was built since it was clean
        self._cleaning = False            # it was told to clean itself
        self._unreachable = 0.0           # since when
        self._closed = False
        self.began = False                # a build was begun in it, at any time

    # --- from nothing to a link

    def start(self, tell: Callable[[str], None], cancel: Cancel) -> None:
        """Have a pod that can be spoken with; `tell` is told what is waited for."""
        if self._link and not self._link.lost:
            return
        self._drop()
        job = self._job = self._job or self._created(cancel)
        name, seen = job["metadata"]["name"], self.began
        while self._link is None:
            version, pod = self._watching.version, self._watching.pod(name)
            if trouble := self._watching.trouble(job):
                raise PodFailed(trouble)
            if self._closed or (seen and self._watching.gone(name)) or (pod and finished(pod)):
                raise PodGone("the pod has gone")
            seen = seen or pod is not None
            tell(self._watching.stage(name))
            cancel.check()
            if pod is None or not assigned(pod) or not self._try(pod, cancel):
                self._watching.wait(AGAIN if pod and assigned(pod) else LOOK, version, cancel)
        self._prolong(name, cancel)

    def _created(self, cancel: Cancel) -> Object:
        if self._closed:
            raise PodGone("it was closed")
        # by a name of ours, so that it can be deleted where no answer comes
        name = self._body["metadata"]["generateName"] + secrets.token_hex(4)
        body = self._body | {"metadata": {**self._body["metadata"], "name": name}}
        try:
            return self._kube.request("POST", JOBS.path(self._namespace), body=body, cancel=cancel)
        except (Cancelled, UnreachableError):
            self._delete(name)
            raise

    def _prolong(self, name: str, cancel: Cancel) -> None:
        """Its keeper sees to its end from now on. Who may not do this gets another pod the sooner."""
        if self._lasting:
            with suppress(ApiError, UnreachableError):
                self._kube.request("PATCH", JOBS.path(self._namespace, name), body={"spec": {"activeDeadlineSeconds": self._lasting}},
                                   content_type=MERGE_PATCH, cancel=cancel)

    def _try(self, pod: Object, cancel: Cancel) -> bool:
        """Speak with it, if it can be spoken with."""
        try:
            link = Link(self._kube, self._namespace, pod["metadata"]["name"], cancel)
        except ApiError as error:
            if error.status == 403:
                raise
            return False
        except UnreachableError:
            self._unreachable = self._unreachable or time.monotonic()
            if time.monotonic() - self._unreachable > UNREACHABLE:
                raise
            return False
        self._unreachable = 0.0
        try:
            hello = link.reply(cancel)
        except LinkLost:
            link.close()
            return False
        except BaseException:
            link.close()
            raise
        self._known = self._known and hello == ["hello", proof(self._tree)]
        self._link = link
        return True

    # --- one build

    def sync(self, context: BuildContext | None, counted: Counted, cancel: Cancel) -> Sent:
        """Have exactly these files there (None: they do not matter), and the pod as it was before anything was built.
        Raises `ContextChanged`, too: what is there stays as it was."""
        link = self._spoken()
        with self._dropping():
            self._clean(link, cancel)
            if context is None:
                return Sent(0, 0, 0)
            if not self._known:
                self._tree = {}
                self._applied(link.ask("empty", cancel=cancel))
            todo = delta(self._tree, context)
            before = link.sent
            link.put("Dockerfile", [dockerfile(context)], cancel)
            if todo.gone or todo.files:
                link.put("gone", [names(todo.gone)], cancel)
                link.put("archive", archive(context, todo, counted), cancel)
                self._known, self._tree = False, todo.tree
                self._applied(link.ask("apply", cancel=cancel))
            return Sent(_count(todo.files), _count(todo.tree.values()), link.sent - before)

    def build(self, order: str, login: bytes, said: Callable[[str], None], cancel: Cancel) -> Outcome:
        """Run the `order`, with `login` as docker's configuration (empty: as it is); `said` is told every line."""
        link = self._spoken()
        with self._dropping():
            if login:
                link.put("login", [login], cancel)
                link.ask("login", cancel=cancel)
            link.put("order", [order.encode()], cancel)
            self.began = self._used = True
            link.tell("build")
            blank = False       # an empty line before the last word is none of the build's
            for kind, text in link.heard(cancel):
                if kind == "reply":
                    _, code, killed, *digest = text.split()
                    return Outcome(int(code), int(killed), "".join(digest))
                if blank:
                    said("")
                blank = not text
                if not blank:
                    said(text)
        raise AssertionError("unreachable")

    def release(self) -> None:
        """Let it get ready for the next build meanwhile."""
        with suppress(LinkLost):
            if self._link and self._used:
                self._link.tell("clean")
                self._cleaning = True

    def close(self) -> None:
        """Delete it, at once. Never fails: the Job goes by itself, later."""
        self._closed = True
        self._drop()
        job, self._job = self._job, None
        if job:
            self._delete(job["metadata"]["name"])

    def _delete(self, name: str) -> None:
        body = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        with suppress(DevloopError):
            self._kube.request("DELETE", JOBS.path(self._namespace, name), body=body, timeout=DELETE_TIMEOUT)

    def _clean(self, link: Link, cancel: Cancel) -> None:
        if not self._used:
            return
        answer = link.reply(cancel) if self._cleaning else link.ask("clean", cancel=cancel)
        self._cleaning = False
        if answer != ["clean", "yes"]:
            raise Spoiled(" ".join(answer))
        self._used = False

    def _applied(self, answer: list[str]) -> None:
        if answer != ["tree", proof(self._tree)]:
            raise LinkLost(f"the context has not arrived as it was sent: {' '.join(answer)}")
        self._known = True

    def _spoken(self) -> Link:
        if self._link is None:
            raise LinkLost("there is no connection to its pod")
        return self._link

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except ContextChanged:
            raise
        except BaseException as error:
            self._drop()
            if isinstance(error, LinkLost) and re.search(FULL, str(error), re.IGNORECASE):
                raise PodFailed(Diagnosis("disk", "its disk is full", f"its build pod has no room left: {error}")) from error
            raise

    def _drop(self) -> None:
        link, self._link = self._link, None
        self._cleaning = False
        if link:
            link.close()


def _count(files: Iterable[ContextFile]) -> int:
    return sum(file.kind != "dir" for file in files)
