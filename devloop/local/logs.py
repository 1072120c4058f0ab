"""A pod's ``/log``: which container is meant and whether it has a log yet, in the words of an API server and a kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from time import time
from typing import Protocol

from devloop.cancel import Cancel
from devloop.clients.kube import ByteStream, Query
from devloop.local.refusals import refused
from devloop.model import Object
from devloop.pods import Container, containers

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class LogSource(Protocol):
    """The kubelet, as far as logs are asked of it."""

    def open(self, pod: Object, container: str, *, follow: bool, previous: bool, timestamps: bool, since: float | None, tail: int | None,
             cancel: Cancel) -> AbstractContextManager[ByteStream]:
        """The output of one instance of a container, both streams, in the order in which it came, from its first line, or from what came
        at or after `since` (Unix time), or its last `tail` lines; `timestamps`: each line after its RFC 3339 time and a space.
        With `follow`, until the container ends. `previous`: the instance before this one.

        Cancelling ends a blocked read. Raises `ApiError` where there is none (any more), `UnreachableError` without the Engine.
        """
        ...


@contextmanager
def opened(source: LogSource, pod: Object, query: Query, cancel: Cancel) -> Iterator[ByteStream]:
    container, previous = _chosen(pod, str(query.get("container", ""))), _yes(query, "previous")
    _refuse(pod, container, previous)
    since = time() - float(query["sinceSeconds"]) if "sinceSeconds" in query else None
    if "sinceTime" in query:
        since = datetime.fromisoformat(str(query["sinceTime"]).replace("Z", "+00:00")).timestamp()
    tail = int(query["tailLines"]) if "tailLines" in query else None
    with source.open(pod, container.name, follow=_yes(query, "follow"), previous=previous, timestamps=_yes(query, "timestamps"),
                     since=since, tail=tail, cancel=cancel) as stream:
        yield stream


def _yes(query: Query, key: str) -> bool:
    return str(query.get(key, "")).lower() in ("true", "1")


def _chosen(pod: Object, name: str) -> Container:
    meta, found = pod["metadata"], list(containers(pod))
    name = name or (meta.get("annotations") or {}).get(DEFAULT_CONTAINER, "") or (found[0].name if len(found) == 1 else "")
    if not name:
        names = " ".join(c.name for c in found if c.kind == "main")
        inits = " ".join(c.name for c in found if c.kind == "init")
        raise refused(400, "BadRequest", f"a container name must be specified for pod {meta['name']}, choose one of: [{names}]"
                      + (f" or one of the init containers: [{inits}]" if inits else ""))
    chosen = next((c for c in found if c.name == name), None)
    if chosen is None:
        raise refused(400, "BadRequest", f"container {name} is not valid for pod {meta['name']}")
    return chosen


def _refuse(pod: Object, container: Container, previous: bool) -> None:
    """What has no log (yet)."""
    which = f'container "{container.name}" in pod "{pod["metadata"]["name"]}"'
    if previous and not container.last_terminated:
        raise refused(400, "BadRequest", f"previous terminated {which} not found")
    if not previous and not (container.running or container.terminated or container.last_terminated):
        reason = container.waiting.get("reason")
        raise refused(400, "BadRequest", f"{which} is waiting to start: {reason}" if reason else f"{which} is not available")
