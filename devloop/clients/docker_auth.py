"""Credentials for one registry, as the docker CLI resolves them: credHelpers, then credsStore, then auths.

docker-py asks every helper for every registry it knows before each build: slow, and one broken helper breaks all builds.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from devloop.cancel import Cancel
from devloop.clients import process
from devloop.clients.docker_config import DockerConfig
from devloop.errors import UnreachableError

HUB = "https://index.docker.io/v1/"
_HUB_HOSTS = ("", "docker.io", "index.docker.io", "registry-1.docker.io")

Credentials = dict[str, str]
"""The Engine's AuthConfig: ``username`` and ``password``, or ``identitytoken``; and ``serveraddress``. Never print it."""


def key(registry: str) -> str:
    """The name under which docker files a registry: its host, or Docker Hub's historical address."""
    return HUB if registry in _HUB_HOSTS else registry


def credentials(config: DockerConfig, registry: str, environ: Mapping[str, str], cancel: Cancel) -> Credentials | None:
    """For the registry at this host (empty or docker.io: Docker Hub). None: nobody has logged in to it.

    Raises `UnreachableError` where the helper for exactly this registry is missing or fails, `Cancelled`.
    """
    name = key(registry)
    helpers = config.section("credHelpers")
    helper = next((helpers[n] for n in _spellings(name) if n in helpers), None) or config.data.get("credsStore")
    if helper:
        return _from_helper(str(helper), name, config, environ, cancel)
    auths = config.section("auths")
    entry = next((auths[n] for n in _spellings(name) if n in auths), None)
    if entry is None:   # old entries are URLs
        entry = next((value for url, value in auths.items() if _host(url) == registry), None)
    return _from_entry(entry, name, config) if isinstance(entry, dict) else None


def from_environment(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """For CI: what DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD say, for the registry that images are published to."""
    user, password = environ.get("DEVLOOP_REGISTRY_USER"), environ.get("DEVLOOP_REGISTRY_PASSWORD")
    return {"username": user, "password": password, "serveraddress": key(registry)} if user and password else None


def login_command(registry: str) -> str:
    """What a user types to log in."""
    return _login(key(registry))


def header(found: Mapping[str, Any]) -> str:
    """X-Registry-Config's value, by registry `key`; X-Registry-Auth's, for one registry's."""
    return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()


def _spellings(name: str) -> tuple[str, ...]:
    return (name, *_HUB_HOSTS[1:]) if name == HUB else (name,)


def _host(url: str) -> str:
    return urlsplit(url if "://" in url else f"//{url}").netloc


def _from_entry(entry: Mapping[str, Any], name: str, config: DockerConfig) -> Credentials | None:
    try:
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except ValueError as error:
        raise UnreachableError(f"the credentials for {name} in {config.file} are damaged", hint=_login(name)) from error
    user, password = entry.get("username") or user, entry.get("password") or password.rstrip("\0")
    token = entry.get("identitytoken")
    if token:
        return {"username": user, "identitytoken": token, "serveraddress": name}
    return {"username": user, "password": password, "serveraddress": name} if user else None


def _from_helper(helper: str, name: str, config: DockerConfig, environ: Mapping[str, str], cancel: Cancel) -> Credentials | None:
    program = f"docker-credential-{helper}"
    path = process.which(program, environ)
    if path is None:
        raise UnreachableError(f"the credential helper {program}, which {config.file} names for {name}, is not installed",
                               hint=f"Install {program}, or remove its line from {config.file} and log in again: {_login(name)}")
    try:
        done = process.capture([path, "get"], environ=environ, cancel=cancel, stdin=name)
    except OSError as error:
        raise UnreachableError(f"the credential helper {path} cannot be run: {error}") from error
    if done.code:
        # by the protocol what it prints now is an error message, and this one is no error
        if "credentials not found" in done.output:
            return None
        said = (done.output or done.errors).strip()[:200] or f"exit code {done.code}"
        raise UnreachableError(f"the credential helper {program} has no answer for {name}: {said}", hint=_login(name))
    try:
        answer = json.loads(done.output)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        # not `from error`: a JSON error quotes what it could not read
        raise UnreachableError(f"the credential helper {program} gave no JSON for {name} ({type(error).__name__})") from None
    if user == "<token>":
        return {"identitytoken": secret, "serveraddress": name}
    return {"username": user, "password": secret, "serveraddress": name}


def _login(name: str) -> str:
    return "docker login" if name == HUB else f"docker login {name}"
