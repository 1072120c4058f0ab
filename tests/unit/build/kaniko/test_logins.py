"""Only the logins that a build needs leave this machine."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from devloop.build.kaniko.logins import OwnLogins, docker_config
from devloop.cancel import Cancel
from devloop.clients.docker_auth import Credentials
from devloop.clients.docker_config import DockerConfig
from devloop.config.models import Registry
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


def test_what_docker_has_logins_to() -> None:
    config = DockerConfig(Path(), {"auths": {"https://index.docker.io/v1/": {}, "https://ghcr.io": {}, "10.0.0.1:5000": {}},
                                   "credHelpers": {"1.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}, "credsStore": "secretservice"})
    assert OwnLogins(config, {}, Registry()).hosts == ["", "1.dkr.ecr.eu-west-1.amazonaws.com", "10.0.0.1:5000", "ghcr.io"]


def test_the_environments_login_is_for_the_registry_that_is_pushed_to() -> None:
    auth = base64.b64encode(b"me:s3cret").decode()
    config = DockerConfig(Path(), {"auths": {"ghcr.io": {"auth": auth}, "mine.io": {"auth": auth}}})
    of = OwnLogins(config, {"DEVLOOP_REGISTRY_USER": "ci", "DEVLOOP_REGISTRY_PASSWORD": "x"}, Registry()).of("mine.io")
    found = [of(host, Cancel()) for host in ("mine.io", "ghcr.io", "")]
    assert [known and known["username"] for known in found] == ["ci", "me", None]


@pytest.fixture
def events() -> list[Event]:
    return []
