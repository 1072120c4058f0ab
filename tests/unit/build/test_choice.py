"""What builds each artifact, and who is asked for that."""

from __future__ import annotations

from typing import Any

import pytest

from devloop.build.choice import choose
from devloop.config.models import Build
from devloop.events import Event, Notice

NOWHERE = {"DOCKER_HOST": "tcp://127.0.0.1:9", "HOME": "/nonexistent"}


def build(**keys: Any) -> Build:
    return Build.model_validate({"artifacts": [{"image": "web"}, {"image": "api", "builder": "docker"}], **keys})


@pytest.mark.parametrize(("keys", "expected"), [
    ({}, {"web": "docker", "api": "docker"}),
    ({"builder": "kaniko"}, {"web": "kaniko", "api": "docker"}),
])
def test_what_is_said_is_done_and_nobody_is_asked(keys: dict[str, Any], expected: dict[str, str]) -> None:
    events: list[Event] = []
    assert choose(build(**keys), NOWHERE, events.append) == expected
    assert not events


def test_auto_takes_kaniko_where_no_engine_answers_and_kaniko_is_configured() -> None:
    events: list[Event] = []
    assert choose(build(builder="auto", kaniko={}), NOWHERE, events.append) == {"web": "kaniko", "api": "docker"}
    assert [isinstance(event, Notice) and "127.0.0.1:9" in event.message for event in events] == [True]


def test_auto_leaves_it_to_docker_to_say_what_is_wrong_where_kaniko_is_not_configured() -> None:
    assert choose(build(builder="auto"), NOWHERE, lambda _: None)["web"] == "docker"
