"""A tail whose cluster is ahead of its own words: by the time a log is asked for, the container has restarted."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from devloop.clients.kube import ByteStream
from devloop.events import Event, LogLine
from devloop.local.kube import LocalKube
from devloop.local.refusals import refused
from devloop.local.store import Store
from devloop.logs.names import Source
from devloop.logs.tail import Tail
from devloop.model import Object
from devloop.pods import PODS, Container

PATIENCE = 30.0
SOURCE = Source("default", "web", "main", "web", "deployment/web")


class Runtime:
    """A node's: `instances` have run, each with its lines; the last of them is the present one. `meanwhile`: what happens while the
    lines of the one before it are read."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] = lambda: None
        self.instances: list[list[str]] = []
        self.asked: list[str] = []

    @contextmanager
    def open(self, pod: Object, container: str, *, previous: bool, since: float | None, **_: Any) -> Iterator[ByteStream]:
        self.asked.append(("previous" if previous else "present") + (" since" if since else ""))
        if previous and len(self.instances) < 2:
            raise refused(400, "BadRequest", "previous terminated container not found")
        lines = self.instances[-2 if previous else -1]
        if previous:
            self.meanwhile, happens = (lambda: None), self.meanwhile
            happens()
        yield cast(ByteStream, io.BytesIO("".join(f"{line}\n" for line in lines).encode()))


class World:
    """One pod with one container, and what its tail says. `say` is the pod's status, as the API server has it."""

    def __init__(self) -> None:
        self.runtime, self.lines = Runtime(), queue.SimpleQueue[str]()
        self._store = Store()
        self._kube = LocalKube(self._store, self.runtime, engine="unix:///nowhere")
        self._store.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
                            "spec": {"containers": [{"name": "main"}]}})
        self.tail = Tail(self._kube, SOURCE, self._emit, lambda source, error: None)

    def _emit(self, event: Event) -> None:
        assert isinstance(event, LogLine)
        self.lines.put(event.line)

    def say(self, restarts: int, **state: Any) -> None:
        found = {"name": "main", "restartCount": restarts, "state": state}
        if restarts:
            found["lastState"] = {"terminated": {"exitCode": 1}}
        self._store.set_status(PODS, "default", "web", {"containerStatuses": [found]})
        self.tail.update(Container("main", "main", {"name": "main"}, found), SOURCE)

    def said(self, count: int) -> list[str]:
        return [self.lines.get(timeout=PATIENCE) for _ in range(count)]

    def close(self) -> None:
        self.tail.stop()
        self.tail.join(PATIENCE)
        assert self.lines.empty()
        self._kube.close()
        self._store.close()


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.close()


def line(second: int, text: str) -> str:
    return f"2026-01-02T03:04:{second:02}.000000000Z {text}"


ENDED = {"terminated": {"exitCode": 1}}


def test_the_lines_of_an_instance_whose_successor_was_read_for_it_come_late_but_come(world: World) -> None:
    world.runtime.instances = [[line(1, "try 1"), line(2, "fails")], [line(3, "try 2")]]
    world.say(0, **ENDED)
    assert world.said(1) == ["try 2"]
    world.say(1, **ENDED)
    assert world.said(2) == ["try 1", "fails"]
    world.runtime.instances.append([line(9, "try 3")])
    world.say(2, **ENDED)
    assert world.said(1) == ["try 3"]


def test_an_instance_that_was_read_is_not_read_again(world: World) -> None:
    world.runtime.instances = [[line(1, "try 1")]]
    world.say(0, **ENDED)
    assert world.said(1) == ["try 1"]
    world.runtime.instances = [[line(1, "try 1"), line(2, "last words")], [line(3, "try 2")]]
    world.say(1, **ENDED)
    assert world.said(2) == ["last words", "try 2"]
    assert world.runtime.asked == ["present", "previous", "previous since", "present since"]


def test_an_instance_that_ends_while_the_one_before_is_read_is_not_left_out(world: World) -> None:
    def ends() -> None:
        world.runtime.instances.append([line(5, "try 3")])
        world.say(2, **ENDED)

    world.runtime.instances = [[line(1, "try 1")]]
    world.say(0, **ENDED)
    assert world.said(1) == ["try 1"]
    world.runtime.instances = [[line(1, "try 1"), line(2, "last words")], [line(3, "try 2")]]
    world.runtime.meanwhile = lambda: setattr(world.runtime, "meanwhile", ends)      # not at the look for the first line, but after it
    world.say(1, **ENDED)
    assert world.said(3) == ["last words", "try 2", "try 3"]


def test_instances_that_end_while_late_lines_are_read_are_not_left_out(world: World) -> None:
    def ends() -> None:
        world.runtime.instances += [[line(9, "try 3")], [line(20, "try 4")]]
        world.say(3, **ENDED)

    world.runtime.instances = [[line(1, "try 1")], [line(3, "try 2")]]
    world.say(0, **ENDED)
    assert world.said(1) == ["try 2"]
    world.runtime.meanwhile = lambda: setattr(world.runtime, "meanwhile", ends)      # not at the look for the first line, but after it
    world.say(1, **ENDED)
    assert world.said(3) == ["try 1", "try 3", "try 4"]


def test_who_has_joined_a_tail_finds_its_thread_ended(world: World) -> None:
    for number in range(50):
        world.runtime.instances.append([line(number, f"try {number}")])
        world.say(number, **ENDED)
        assert world.said(1) == [f"try {number}"]
        world.tail.join(PATIENCE)
        assert not [thread for thread in threading.enumerate() if thread.name == "log web/main"]
        assert not world.tail.reading
