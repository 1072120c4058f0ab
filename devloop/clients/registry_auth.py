"""How a registry wants to be shown who asks: with a password, or with a token that another server gives for the password.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

from devloop.cancel import Cancel
from devloop.clients.docker_auth import Credentials
from devloop.clients.registry_http import Answer, Direct, Link

_CHALLENGE = re.compile(r"(\w+)\s+((?:[\w-]+\s*=\s*(?:\"[^\"]*\"|[^\s,]+)\s*,?\s*)*)")
_PARAMETER = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|([^\s,]+))")


def challenges(header: str) -> dict[str, dict[str, str]]:
    """``WWW-Authenticate``'s value: parameters by scheme, both in lower case."""
    return {scheme.lower(): {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(parameters)}
            for scheme, parameters in _CHALLENGE.findall(header)}


class TokenRefused(Exception):
    """The token server gives none; `answer` is what it said."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP status {answer.status}")
        self.answer = answer


class Authorizer:
    """The Authorization header for each purpose (a repository, and whether it is written to) at one registry. Safe from every thread."""

    def __init__(self, login: Callable[[Cancel], Credentials | None], environ: Mapping[str, str], *, lenient: bool) -> None:
        """`login`: asked whenever the registry wants one that is new. `lenient`: passwords may go over plain HTTP."""
        self._login, self._environ, self._lenient = login, environ, lenient
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._headers: dict[str, dict[str, str]] = {}

    @property
    def user(self) -> str:
        """Who we said we are; empty where no login was wanted or there is none."""
        known = self._credentials or {}
        return known.get("username") or ("(by token)" if known.get("identitytoken") else "")

    def header(self, purpose: str) -> dict[str, str]:
        """What was wanted before."""
        with self._lock:
            return self._headers.get(purpose) or self._headers.get("") or {}

    def satisfy(self, challenge: str, purpose: str, cancel: Cancel) -> dict[str, str]:
        """A header that answers the ``WWW-Authenticate`` challenge; empty: there is nothing to answer with.

        Raises `TokenRefused`, `ConnectionLost`, OSError, `Cancelled`.
        """
        wanted = challenges(challenge)
        known = self._credentials = self._login(cancel)
        if "bearer" in wanted:
            value = f"Bearer {self._token(wanted['bearer'], known, cancel)}"
        elif "basic" in wanted and known and known.get("password"):
            value, purpose = _basic(known), ""
        else:
            return {}
        with self._lock:
            self._headers[purpose] = {"Authorization": value}
            return self._headers[purpose]

    def _token(self, wanted: Mapping[str, str], known: Credentials | None, cancel: Cancel) -> str:
        url = urlsplit(wanted.get("realm", ""))
        plain = url.scheme == "http" and self._lenient
        link = Link(url.netloc, Direct(url.netloc, self._environ, plain=plain, verify=not self._lenient))
        asked, scopes = {"service": wanted.get("service", "")}, wanted.get("scope", "").split()
        try:
            if known and known.get("identitytoken"):
                form = urlencode({**asked, "scope": " ".join(scopes), "grant_type": "refresh_token", "client_id": "devloop",
                                  "refresh_token": known["identitytoken"]})      # in a form one parameter, as OAuth has it (RFC 6749)
                answer = link.request("POST", url.path, cancel, body=form.encode(),
                                      headers={"Content-Type": "application/x-www-form-urlencoded"})
            else:
                query = "&".join(filter(None, (url.query, urlencode({**asked, "scope": scopes}, doseq=True))))
                answer = link.request("GET", f"{url.path}?{query}", cancel, headers={"Authorization": _basic(known)} if known else {})
        finally:
            link.close()
        if answer.status != 200:
            raise TokenRefused(answer)
        said = json.loads(answer.body)
        return str(said.get("token") or said["access_token"])


def _basic(known: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{known['username']}:{known['password']}".encode()).decode()
