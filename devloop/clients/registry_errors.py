"""What registries refuse, and what the way to them does, as messages: which registry, which user, and what to do."""

from __future__ import annotations

import re

from devloop.clients.docker_auth import login_command
from devloop.errors import DevloopError, PublishError, UnreachableError

_QUOTA = re.compile(r"quota|insufficient storage|no space left", re.IGNORECASE)
_RATE = re.compile(r"toomanyrequests|too many requests|rate limit", re.IGNORECASE)
_UNAUTHORIZED = re.compile(r"unauthorized|authentication required|no basic auth credentials|incorrect username or password"
                           r"|invalid (username|token)|authorization failed", re.IGNORECASE)
_DENIED = re.compile(r"denied|forbidden|insufficient_scope|not authorized", re.IGNORECASE)
_UNKNOWN = re.compile(r"name unknown|name_unknown|repository .*(not found|does not exist)|project .*not found", re.IGNORECASE)
_PLAIN = re.compile(r"server gave HTTP response to HTTPS client|wrong version number|record layer failure|packet length too long",
                    re.IGNORECASE)
_TLS = re.compile(r"x509|certificate|tls: |\bSSL\b", re.IGNORECASE)
_AWAY = re.compile(r"connection refused|no such host|name or service not known|name resolution|nodename nor servname|timed? ?out|timeout"
                   r"|unreachable|no route|connection reset|\bEOF\b|closed connection|remote end closed|server misbehaving"
                   r"|deadline exceeded|cannot assign requested address", re.IGNORECASE)
_IMMUTABLE = re.compile(r"immutab|cannot be overwritten|\btag\b.* already exists|does not allow updating", re.IGNORECASE)
_EXPIRED = re.compile(r"token (has|is) expired|expired token", re.IGNORECASE)
_STATUS = re.compile(r"\bHTTP (?:status:? )?(413|429|5\d\d)\b|unexpected status\b.*?: (413|429|5\d\d)\b|StatusCode: (413|429|5\d\d)\b")
"""The registry's status where the Engine tells of it: ``received unexpected HTTP status: 503 Service Unavailable``."""


_LOGIN_VARIABLES = "Set DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD anew, or unset them to have docker's own login used."


class RegistryUnreachable(UnreachableError):
    """No answer of the registry came, or none that could be trusted."""


class LoginWanted(PublishError):
    """Who is not logged in, or is logged in as somebody else, may not do this."""


class EnvironmentUser(str):
    """A user whom DEVLOOP_REGISTRY_USER names: these variables come before all that `docker login` could change."""

    __slots__ = ()


def tag_taken(text: str) -> bool:
    """Whether this refusal says that the tag is another image's, and is to stay that."""
    return bool(_IMMUTABLE.search(text))


def refused(registry: str, text: str, *, repository: str = "", status: int = 0, user: str = "") -> DevloopError:
    """`text`: what the registry, or the Engine about it, said; `status` the registry's, 0 where it is not known.

    `user`: who asked; empty: nobody was logged in.
    """
    host = registry or "Docker Hub"
    code = status or _told(text)
    said = " ".join(text.split())[:300] or f"HTTP status {status}"
    login = _LOGIN_VARIABLES if isinstance(user, EnvironmentUser) else login_command(registry)
    where = f"{host} refuses {repository}" if repository else f"the registry {host} refuses"
    text = text.replace(repository, "") if repository else text      # quota-service is no quota
    if _UNKNOWN.search(text):
        return PublishError(f"{host} has no repository {repository}: {said}", hint="This registry wants it created before the first push.")
    if tag_taken(text):
        return PublishError(f"{where}: it keeps the image that has this tag already: {said}",
                            hint="It was built and pushed elsewhere. Remove that tag there, or let the repository's tags be overwritten.")
    if _QUOTA.search(text) or code == 507:
        return PublishError(f"{where}: there is no room: {said}", hint="Remove old images there, or have the quota raised.")
    if code == 413:
        return PublishError(f"{where}: a layer is too large for it, or for a proxy in front of it: {said}",
                            hint="Raise what a request there may hold: nginx has client_max_body_size, its Ingress the annotation "
                                 'nginx.ingress.kubernetes.io/proxy-body-size: "0".')
    if _RATE.search(text) or code == 429:
        who = f"user '{user}'" if user else "this address"
        return PublishError(f"{where}: too many requests from {who}: {said}",
                            hint="Wait a while." + ("" if user else f" Who is logged in may ask more often: {login}"))
    if _PLAIN.search(text):
        return RegistryUnreachable(f"the registry {host} speaks plain HTTP: {said}",
                                   hint="If that is meant to be, set publish.registry.insecure: true in devloop.yaml; the cluster's nodes "
                                        "must accept it, too.")
    if _TLS.search(text):
        return RegistryUnreachable(f"the registry {host} is not trusted: {said}",
                                   hint=f"Put its certificate authority into /etc/docker/certs.d/{registry}/ca.crt (where the Engine runs, "
                                        "too), or set publish.registry.insecure: true in devloop.yaml.")
    if status == 401 or _EXPIRED.search(text) or (_UNAUTHORIZED.search(text) and status != 403):
        return _login(host, said, user, login)
    if status == 403 or _DENIED.search(text):
        return _denied(host, repository, said, user, login)
    if not status and _AWAY.search(text):
        return RegistryUnreachable(f"the registry {host} cannot be reached: {said}",
                                   hint="Is its name right, does it run, and does this machine's network (proxy, VPN) lead there?")
    return PublishError(f"{where}: {said}", hint="Its own logs may say more." if code >= 500 else "")


def _told(text: str) -> int:
    found = _STATUS.search(text)
    return int(next(filter(None, found.groups()))) if found else 0


def _login(host: str, said: str, user: str, login: str) -> LoginWanted:
    if user:
        again = login if isinstance(user, EnvironmentUser) else f"Log in again: {login}"
        return LoginWanted(f"the registry {host} does not accept the login of user '{user}'{_origin(user)}: {said}", hint=again)
    return LoginWanted(f"the registry {host} wants a login, and there is none for it on this machine: {said}",
                       hint=f"Log in: {login}. In CI set DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD.")


def _origin(user: str) -> str:
    return " (of DEVLOOP_REGISTRY_USER)" if isinstance(user, EnvironmentUser) else ""


def _denied(host: str, repository: str, said: str, user: str, login: str) -> LoginWanted:
    what = repository or "images"
    if user:
        return LoginWanted(f"user '{user}'{_origin(user)} may not push {what} to {host}: {said}",
                           hint=f"Has the user, or the access token, the right to write there, and does the repository exist? "
                                f"To be somebody else: {login}")
    return LoginWanted(f"{host} lets nobody push {what} without a login: {said}",
                       hint=f"Log in: {login}. Or is publish.registry.repository in devloop.yaml not yours?")
