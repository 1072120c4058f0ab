"""One deploy or delete while it runs: its requests in parallel, its waits by watch, and its end when it is called off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from devloop.cancel import Cancel
from devloop.clients.kube import SSA, Kube, Resource
from devloop.deploy.objects import MANAGER, uid
from devloop.errors import ApiError, Cancelled, DeployError, DevloopError
from devloop.events import Emit
from devloop.model import Object

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8
_NO_ACCOUNT = 'serviceaccount "default" not found'
_NO_ACCOUNT_SECONDS = 1


@dataclass(frozen=True)
class Work:
    """What every step of it needs."""

    kube: Kube
    name: str
    emit: Emit
    cancel: Cancel
    pool: ThreadPoolExecutor

    def each(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """`function` of every item, in parallel. Every one has ended when this returns or raises.

        Raises the first error; that of a `DeployError` names the others, too: all are to be mended, not one after the other.
        """
        items = list(items)
        if len(items) == 1:
            return [function(items[0])]
        futures = [self.pool.submit(function, item) for item in items]
        wait(futures)
        errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise _together(errors)
        return [future.result() for future in futures]

    def request(self, method: str, path: str, *, body: Object | None = None, content_type: str = "application/json",
                **query: str | int | bool) -> Object:
        """As `Kube.request`, until the work is called off."""
        return self.kube.request(method, path, query=query, body=body, content_type=content_type, cancel=self.cancel)

    def apply(self, path: str, body: Object, *, force: bool, attempts: int = 10) -> Object:
        """Server-side apply; the object as it is afterwards.

        Comes again where the API server asks for it: when somebody else makes the object at the same moment (it does not turn that
        into a change by itself), and while a new namespace's service account has no token (before 1.24). And while there is no such
        account: what makes it may be busy for longer than the API server itself waits for that.
        """
        try:
            return self.request("PATCH", path, body=body, content_type=SSA, fieldManager=MANAGER, force=force)
        except ApiError as error:
            seconds = _come_again(error)
            if attempts == 1 or seconds is None:
                raise
            self.cancel.wait(seconds)
        return self.apply(path, body, force=force, attempts=attempts - 1)

    def find(self, path: str) -> Object | None:
        """The object at `path`; None where there is none."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(self, path: str, selector: str = "") -> list[Object]:
        """The objects of a collection."""
        query = {"labelSelector": selector} if selector else {}
        return list(self.kube.request("GET", path, query=query, cancel=self.cancel).get("items") or ())

    def until(self, path: str, query: dict[str, str], done: Callable[[Sequence[Object]], bool], seconds: float) -> bool:
        """Watch a collection until `done` says so of its objects; False when `seconds` have passed before that."""
        limit = self.cancel.child()
        timer = threading.Timer(seconds, limit.cancel)
        timer.name, timer.daemon = "deploy-deadline", True
        timer.start()
        objects: dict[str, Object] = {}
        try:
            for event in self.kube.watch(path, cancel=limit, query=query):
                if event.type == "SNAPSHOT":
                    objects = {}
                for obj in event.objects:
                    if event.type == "DELETED":
                        objects.pop(uid(obj), None)
                    else:
                        objects[uid(obj)] = obj
                if done(tuple(objects.values())):
                    return True
        except Cancelled:
            self.cancel.check()
        finally:
            timer.cancel()
            limit.detach()
        return False

    def gone(self, resource: Resource, live: Object, seconds: float) -> bool:
        """Wait until this very object (another of its name may follow) is gone."""
        metadata = live["metadata"]
        return self.until(resource.path(metadata.get("namespace", "")), {"fieldSelector": f"metadata.name={metadata['name']}"},
                          lambda objects: all(uid(o) != metadata["uid"] for o in objects), seconds)


def _come_again(error: ApiError) -> float | None:
    """After how many seconds what was refused may be accepted; None: never."""
    if error.reason == "AlreadyExists":
        return 0
    if error.status == 403 and _NO_ACCOUNT in error.message:
        return _NO_ACCOUNT_SECONDS
    seconds = (error.body.get("details") or {}).get("retryAfterSeconds", 0)
    return seconds if error.reason == "ServerTimeout" and seconds else None


@contextmanager
def working(kube: Kube, name: str, emit: Emit, cancel: Cancel) -> Iterator[Work]:
    """A `Work` with threads of its own, which end with it."""
    cancel.check()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="deploy") as pool:
        yield Work(kube, name, emit, cancel, pool)


def _together(errors: Sequence[BaseException]) -> BaseException:
    first = next((e for e in errors if not isinstance(e, DeployError)), errors[0])     # Cancelled, unreachable, a fault of ours
    if not isinstance(first, DeployError) or len(errors) == 1:
        return first
    others = [f"Also: {e.message}" for e in errors if e is not first and isinstance(e, DevloopError)]
    return DeployError(first.message, hint=first.hint, details=(*first.details, *others))
