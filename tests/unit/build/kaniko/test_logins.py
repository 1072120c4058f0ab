"""Only the logins that a build needs leave this machine."""

from __future__ import annotations

import base64
import json

import pytest

from devloop.build.kaniko.logins import docker_config
from devloop.cancel import Cancel
from devloop.clients.docker_auth import Credentials
from devloop.errors import UnreachableError
from devloop.events import Event, Notice

KNOWN: dict[str, Credentials] = {"ghcr.io": {"username": "me", "password": "s3cret"}, "": {"username": "hub", "password": "x"},
                                 "acr.io": {"identitytoken": "token"}}


def login(host: str, cancel: Cancel) -> Credentials | None:
    if host == "broken.io":
        raise UnreachableError("the credential helper has no answer")
    return KNOWN.get(host)


def test_only_those_asked_for(events: list[Event]) -> None:
    auths = json.loads(docker_config(["ghcr.io", "public.io", "ghcr.io"], login, "ghcr.io", events.append, Cancel()))["auths"]
    assert auths == {"ghcr.io": {"auth": base64.b64encode(b"me:s3cret").decode()}}
    assert not events


def test_docker_hub_has_the_name_that_kaniko_looks_it_up_by(events: list[Event]) -> None:
    auths = json.loads(docker_config(["", "acr.io"], login, "", events.append, Cancel()))["auths"]
    assert set(auths) == {"https://index.docker.io/v1/", "acr.io"}
    assert auths["acr.io"]["identitytoken"] == "token"


def test_a_helper_that_fails_matters_for_the_registry_that_is_pushed_to(events: list[Event]) -> None:
    assert json.loads(docker_config(["broken.io"], login, "ghcr.io", events.append, Cancel())) == {"auths": {}}
    assert [event.level for event in events if isinstance(event, Notice)] == ["warning"]
    with pytest.raises(UnreachableError):
        docker_config(["broken.io"], login, "broken.io", events.append, Cancel())


@pytest.fixture
def events() -> list[Event]:
    return []
