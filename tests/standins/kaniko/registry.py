"""A registry's API: manifests and blobs, with the logins of Docker's configuration."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from .names import HUB, private
from .transport import Reply, Tls, TransportError, basic, send

Json = dict[str, Any]

DOCKER, OCI = "application/vnd.docker.distribution.manifest", "application/vnd.oci.image"
MANIFESTS = (f"{DOCKER}.v2+json", f"{OCI}.manifest.v1+json")
LISTS = (f"{DOCKER}.list.v2+json", f"{OCI}.index.v1+json")


class RegistryError(Exception):
    pass


class Registry:
    """One registry, as somebody who may `pull`, or `pull,push`, of one repository."""

    def __init__(self, registry: str, repository: str, scope: str, *, insecure: bool, tls: Tls) -> None:
        self._registry, self._repository, self._scope, self._tls = registry, repository, scope, tls
        self._login = _login(registry)
        self._authorization = ""
        self._base = self._ping(insecure or private(registry))

    def manifest(self, reference: str) -> Json:
        found: Json = json.loads(self._ask("GET", f"manifests/{reference}", {"Accept": ", ".join(MANIFESTS + LISTS)}).body)
        return found

    def blob(self, digest: str, file: Path) -> None:
        """Into the file."""
        reply = self._ask("GET", f"blobs/{digest}", {}, save=file)
        for _ in range(3):
            if reply.status not in (301, 302, 303, 307, 308):
                return
            reply = send("GET", urljoin(self._base, reply.headers["Location"]), headers={}, tls=self._tls, save=file)
        raise RegistryError(f"GET {self._base}/v2/{self._repository}/blobs/{digest}: too many redirects")

    def may_push(self) -> None:
        """Begins an upload, and gives it up."""
        reply = self._ask("POST", "blobs/uploads/", {"Content-Length": "0"}, good=(202,))
        self._send("DELETE", urljoin(self._base, reply.headers["Location"]), {})

    def has(self, kind: str, reference: str) -> bool:
        reply = self._send("HEAD", self._url(f"{kind}/{reference}"), {"Accept": ", ".join(MANIFESTS)})
        if reply.status in (200, 404):
            return reply.status == 200
        raise RegistryError(f"HEAD {self._url(f'{kind}/{reference}')}: unexpected status code {reply.status} {reply.reason} "
                            "(HEAD responses have no body, use GET for details)")

    def mount(self, digest: str, repository: str) -> bool:
        """From another repository of this registry."""
        query = urlencode({"mount": digest, "from": repository})
        reply = self._ask("POST", f"blobs/uploads/?{query}", {"Content-Length": "0"}, good=(201, 202))
        if reply.status == 202:
            self._send("DELETE", urljoin(self._base, reply.headers["Location"]), {})
        return reply.status == 201

    def upload(self, digest: str, file: Path) -> None:
        began = self._ask("POST", "blobs/uploads/", {"Content-Length": "0"}, good=(202,))
        place = urljoin(self._base, began.headers["Location"])
        place += ("&" if "?" in place else "?") + urlencode({"digest": digest})
        with file.open("rb") as body:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
            self._good(self._send("PUT", place, headers, body), "PUT", place, (201,))

    def put_manifest(self, tag: str, manifest: bytes, media_type: str) -> None:
        self._ask("PUT", f"manifests/{tag}", {"Content-Type": media_type}, body=manifest, good=(201,))

    def _url(self, path: str) -> str:
        return f"{self._base}/v2/{self._repository}/{path}"

    def _ask(self, method: str, path: str, headers: dict[str, str], *, body: bytes | None = None,
             good: tuple[int, ...] = (200, 301, 302, 307, 308), save: Path | None = None) -> Reply:
        return self._good(self._send(method, self._url(path), headers, body, save), method, self._url(path), good)

    def _send(self, method: str, url: str, headers: dict[str, str], body: Any = None, save: Path | None = None) -> Reply:
        authorization = {"Authorization": self._authorization} if self._authorization else {}
        agent = {"User-Agent": "kaniko/stand-in"}
        return send(method, url, headers={**headers, **authorization, **agent}, body=body, tls=self._tls, save=save)

    @staticmethod
    def _good(reply: Reply, method: str, url: str, good: tuple[int, ...]) -> Reply:
        if reply.status in good:
            return reply
        raise RegistryError(f"{method} {url.partition('?')[0]}: {_told(reply)}")

    def _ping(self, plain: bool) -> str:
        """Where it answers, and how it wants to know who asks."""
        failures = []
        for scheme in ("https", "http") if plain else ("https",):
            base = f"{scheme}://{self._registry}"
            try:
                reply = send("GET", f"{base}/v2/", headers={}, tls=self._tls)
            except TransportError as error:
                failures.append(str(error))
                continue
            if reply.status == 401:
                self._authorization = self._authorize(reply.headers.get("WWW-Authenticate", ""))
            elif reply.status != 200:
                failures.append(f"GET {base}/v2/: {_told(reply)}")
                continue
            return base
        raise TransportError("; ".join(failures))

    def _authorize(self, challenge: str) -> str:
        user, password = self._login
        kind, _, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            return basic(user, password) if user else ""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        query = urlencode({"scope": f"repository:{self._repository}:{self._scope}", "service": asked.get("service", "")})
        headers = {"Authorization": basic(user, password)} if user else {}
        url = f"{asked['realm']}?{query}"
        reply = send("GET", url, headers=headers, tls=self._tls)
        if reply.status != 200:
            raise RegistryError(f"GET {url}: {_told(reply)}")
        token = json.loads(reply.body)
        return f"Bearer {token.get('token') or token['access_token']}"


def _login(registry: str) -> tuple[str, str]:
    file = Path(os.environ.get("DOCKER_CONFIG") or f"{os.environ.get('HOME') or '/root'}/.docker") / "config.json"
    try:
        configuration = json.loads(file.read_text())
    except FileNotFoundError:
        return "", ""
    except json.JSONDecodeError as error:
        why = f"invalid character '{error.doc[error.pos:][:1]}' looking for beginning of value"
        raise RegistryError(f"resolving authorization for {registry} failed: parsing config file ({file}): {why}") from None
    keys = [registry, f"https://{registry}", f"http://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/"]
    for key in [*keys, *(["docker.io"] if registry == HUB else [])]:
        if entry := configuration.get("auths", {}).get(key):
            user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
            return user or entry.get("username", ""), password or entry.get("password", "")
    return "", ""


def _told(reply: Reply) -> str:
    try:
        return "; ".join(f"{error['code']}: {error['message']}" + (f"; {_go(error['detail'])}" if error.get("detail") else "")
                         for error in json.loads(reply.body)["errors"])
    except (ValueError, KeyError, TypeError):
        body = reply.body.decode(errors="replace")
        return f"unexpected status code {reply.status} {reply.reason}" + (f": {body}" if body else "")


def _go(value: Any) -> str:
    """As Go's %v shows it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    return "" if value is None else str(value)
