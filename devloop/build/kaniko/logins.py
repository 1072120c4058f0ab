"""The logins that one build needs, as docker's configuration. Never print what comes from here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from devloop.cancel import Cancel
from devloop.clients.docker_auth import HUB, Credentials, key
from devloop.clients.docker_config import DockerConfig
from devloop.config.models import Registry
from devloop.errors import UnreachableError
from devloop.events import Emit, Notice
from devloop.model import Object
from devloop.publish.logins import Logins

Login = Callable[[str, Cancel], Credentials | None]
"""A registry's host (empty: Docker Hub): the login to it on this machine."""


class OwnLogins:
    """This machine's. `hosts`: the registries that docker has a login to, or a helper for."""

    def __init__(self, docker: DockerConfig, environ: Mapping[str, str], registry: Registry) -> None:
        self.hosts = stored(docker)
        self.published = Logins(docker, environ, registry)
        self._others = Logins(docker, environ, registry, from_environment=False)

    def of(self, pushed: str) -> Login:
        """The environment's login is for the registry that is pushed to, and for no other."""
        return lambda host, cancel: (self.published if host == pushed else self._others).of(host, cancel)


def docker_config(hosts: Iterable[str], login: Login, needed: str, emit: Emit, cancel: Cancel) -> bytes:
    """``config.json`` with the logins to these registries, and no others; those that nobody has logged in to are left out.

    `needed`: the registry that is pushed to; a helper that has no answer for another one is a `Notice` only. Raises `UnreachableError`.
    """
    auths: dict[str, Mapping[str, str]] = {}
    for host in sorted(set(hosts)):
        try:
            known = login(host, cancel)
        except UnreachableError as error:
            if host == needed:
                raise
            emit(Notice(f"base images of {host or 'Docker Hub'} are pulled without a login: {error.message}", error.hint, "warning"))
            continue
        if known:
            auths[key(host)] = _entry(known)
    return json.dumps({"auths": auths}).encode()


def stored(config: DockerConfig) -> list[str]:
    """The hosts that docker has a login to, or a helper for; empty for Docker Hub. A store's are listed in the file, too."""
    names = {*config.section("auths"), *config.section("credHelpers")}
    hosts = {urlsplit(name if "://" in name else f"//{name}").netloc for name in names}
    return sorted({"" if key(host) == HUB else host for host in hosts})


def of_secret(secret: Object) -> list[str]:
    """The registries that a Secret of type kubernetes.io/dockerconfigjson has logins to, as docker names them."""
    try:
        return sorted(json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"])
    except (KeyError, ValueError, TypeError):
        return []


def _entry(known: Credentials) -> Mapping[str, str]:
    if token := known.get("identitytoken"):
        return {"auth": _encoded(known.get("username") or "00000000-0000-0000-0000-000000000000", ""), "identitytoken": token}
    return {"auth": _encoded(known["username"], known["password"])}


def _encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
