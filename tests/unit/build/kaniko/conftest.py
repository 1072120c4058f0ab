from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from devloop.build.builder import BuildJob
from devloop.build.kaniko.diagnosis import Talk
from devloop.build.kaniko.talk import Listener
from devloop.events import Event

Hear = Callable[..., tuple[Talk, list[Event]]]


@pytest.fixture
def hear() -> Hear:
    """What is made of an executor's lines; those that begin with ``I`` are its own."""

    def hear(job: BuildJob, text: str) -> tuple[Talk, list[Event]]:
        events: list[Event] = []
        listener = Listener(job, events.append)
        for line in text.strip().splitlines():
            own = json.dumps({"level": "info", "msg": line[2:], "time": "2026-11-21T15:48:39Z"}, separators=(",", ":"))
            listener.take(own if line.startswith("I ") else line)
        return listener.talk, events

    return hear
