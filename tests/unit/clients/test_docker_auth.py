"""Credentials as the docker CLI resolves them, with helpers that are real programs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from devloop.cancel import Cancel
from devloop.clients.docker_auth import HUB, Credentials, credentials, header
from devloop.clients.docker_config import DockerConfig
from devloop.errors import UnreachableError


class Login:
    """A docker configuration and the helpers in PATH."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def helper(self, name: str, script: str) -> None:
        file = self.home / f"docker-credential-{name}"
        file.write_text(f"#!/bin/sh\nread -r server\necho \"$1 $server\" >>{self.home}/asked\n{script}\n")
        file.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        file = self.home / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def find(self, registry: str, **config: Any) -> Credentials | None:
        environ = {"PATH": f"{self.home}:/usr/bin:/bin"}
        return credentials(DockerConfig(self.home, config), registry, environ, Cancel())


@pytest.fixture
def login(tmp_path: Path) -> Login:
    return Login(tmp_path)


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_nobody_logged_in(login: Login) -> None:
    assert login.find("ghcr.io") is None
    assert login.find("ghcr.io", auths={"ghcr.io": {}}) is None


@pytest.mark.parametrize("registry", ["", "docker.io", "index.docker.io"])
def test_docker_hub_is_filed_under_its_historical_address(login: Login, registry: str) -> None:
    found = login.find(registry, auths={HUB: entry("me", "secret:with:colons")})
    assert found == {"username": "me", "password": "secret:with:colons", "serveraddress": HUB}


def test_old_entries_that_are_urls_are_found(login: Login) -> None:
    assert login.find("reg.example:5000", auths={"https://reg.example:5000/v2/": entry("me", "x")}) == {
        "username": "me", "password": "x", "serveraddress": "reg.example:5000"}


def test_an_identity_token_is_passed_on(login: Login) -> None:
    assert login.find("a.azurecr.io", auths={"a.azurecr.io": {**entry("0000", ""), "identitytoken": "token"}}) == {
        "username": "0000", "identitytoken": "token", "serveraddress": "a.azurecr.io"}


def test_only_the_helper_of_the_registry_is_asked(login: Login) -> None:
    login.helper("one", 'echo \'{"ServerURL":"x","Username":"me","Secret":"s"}\'')
    config = {"credHelpers": {"one.example": "one", "two.example": "missing"}, "credsStore": "missing-too",
              "auths": {"one.example": entry("not", "this")}}
    assert login.find("one.example", **config) == {"username": "me", "password": "s", "serveraddress": "one.example"}
    assert login.asked == ["get one.example"]


def test_the_store_is_asked_for_all_other_registries(login: Login) -> None:
    login.helper("store", 'echo \'{"Username":"<token>","Secret":"t"}\'')
    assert login.find("", credsStore="store", credHelpers={"x": "y"}) == {"identitytoken": "t", "serveraddress": HUB}
    assert login.asked == [f"get {HUB}"]


def test_a_store_without_an_entry_is_nobody_logged_in(login: Login) -> None:
    login.helper("store", "echo credentials not found in native keychain; exit 1")
    assert login.find("ghcr.io", credsStore="store") is None


def test_a_missing_helper_is_named_with_its_registry(login: Login) -> None:
    with pytest.raises(UnreachableError, match=r"docker-credential-ecr-login, which .*config\.json names for e\.example, is not") as caught:
        login.find("e.example", credHelpers={"e.example": "ecr-login"})
    assert "docker login e.example" in caught.value.hint


def test_a_failing_helper_is_quoted(login: Login) -> None:
    login.helper("store", "echo keychain is locked; exit 1")
    with pytest.raises(UnreachableError, match=r"docker-credential-store has no answer for ghcr\.io: keychain is locked"):
        login.find("ghcr.io", credsStore="store")


def test_a_helper_that_cannot_be_run_is_named(login: Login) -> None:
    (login.home / "docker-credential-bad").write_bytes(b"\x7fELF")
    (login.home / "docker-credential-bad").chmod(0o755)
    with pytest.raises(UnreachableError, match="docker-credential-bad cannot be run"):
        login.find("ghcr.io", credsStore="bad")


@pytest.mark.parametrize("answer", ["s3cret but no JSON", '{"Username": "me", "Oops": "s3cret"}'])
def test_a_damaged_answer_is_not_shown(login: Login, answer: str) -> None:
    login.helper("store", f"echo '{answer}'")
    with pytest.raises(UnreachableError) as caught:
        login.find("ghcr.io", credsStore="store")
    shown = repr((caught.value, caught.value.__cause__, caught.value.hint))
    assert "no JSON for ghcr.io" in shown
    assert "s3cret" not in shown


def test_damaged_credentials_are_told_by_file(login: Login) -> None:
    with pytest.raises(UnreachableError, match=r"credentials for ghcr\.io in .* are damaged"):
        login.find("ghcr.io", auths={"ghcr.io": {"auth": "s3cret"}})


def test_the_header_is_url_safe_base64_of_json() -> None:
    value = {"r": {"username": "ÿ>?", "password": "ÿÿ"}}
    encoded = header(value)
    assert "+" not in encoded
    assert "/" not in encoded
    assert json.loads(base64.urlsafe_b64decode(encoded)) == value
