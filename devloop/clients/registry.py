"""A registry's own API (https://distribution.github.io/distribution/spec/api/): what is there, and manifests. Blobs: `registry_upload`."""

from __future__ import annotations

import errno
import json
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from devloop.cancel import Cancel
from devloop.clients.docker_auth import Credentials
from devloop.clients.registry_auth import Authorizer, TokenRefused
from devloop.clients.registry_errors import LoginWanted, RegistryUnreachable, refused
from devloop.clients.registry_http import Answer, Connect, ConnectionLost, Direct, Link, is_here
from devloop.errors import DevloopError, PublishError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.index.v1+json",
              "application/vnd.docker.distribution.manifest.list.v2+json")
_HUB = "registry-1.docker.io"
_VERSION = "docker-distribution-api-version"


@dataclass(frozen=True)
class Stored:
    """A manifest as the registry has it."""

    digest: str
    media_type: str
    body: bytes

    @property
    def config(self) -> str:
        """The digest of the image's config; empty for a list of platforms, and for what is none: a network's own page, say."""
        try:
            return str((json.loads(self.body).get("config") or {}).get("digest", ""))
        except (ValueError, AttributeError):
            return ""

    @property
    def blobs(self) -> tuple[str, ...]:
        """The digests of the image's config and layers; none where `config` is empty."""
        try:
            said = json.loads(self.body)
            return tuple(str(blob["digest"]) for blob in (said["config"], *said["layers"]))
        except (ValueError, TypeError, KeyError):
            return ()


class Registry:
    """One registry. Safe from every thread.

    All methods raise `PublishError` for what it refuses, `RegistryUnreachable` where it does not answer, `Cancelled`.
    """

    def __init__(self, host: str, environ: Mapping[str, str], login: Callable[[Cancel], Credentials | None] = lambda _: None, *,
                 insecure: bool = False, connect: Connect | None = None) -> None:
        """`host` as images name it (empty: Docker Hub). `connect`: another way to it than by its name. `insecure`: plain HTTP and any
        certificate will do, as they do for registries on this machine."""
        self.host = host
        name = host if host not in ("", "docker.io", "index.docker.io") else _HUB
        lenient = insecure or is_here(name) or connect is not None
        self._direct = Direct(name, environ, lenient=lenient, verify=not lenient)
        self._link = Link(name, connect or self._direct)
        self._authorizer = Authorizer(login, environ, lenient=lenient)

    @property
    def user(self) -> str:
        """Who is logged in, as far as that was asked for."""
        return self._authorizer.user

    def close(self) -> None:
        self._link.close()

    def ping(self, cancel: Cancel) -> None:
        """Is it a registry, and are we let in?"""
        self.expect(self.request("GET", "/v2/", cancel), "", 200)

    # --- what is there

    def blob(self, repository: str, digest: str, cancel: Cancel) -> int | None:
        """The size of a blob that is there."""
        answer = self.request("HEAD", f"/v2/{repository}/blobs/{digest}", cancel, repository=repository)
        if answer.status == 404:
            return None
        size = self.expect(answer, repository, 200).headers.get("content-length", "")
        return int(size) if size.isdigit() else None

    def mount(self, repository: str, digest: str, source: str, cancel: Cancel) -> bool:
        """Have a blob of the repository `source` here, too, without sending it. False: it is not there, or we may not read there."""
        path = f"/v2/{repository}/blobs/uploads/?{urlencode({'mount': digest, 'from': source})}"
        try:
            answer = self.request("POST", path, cancel, repository=repository)
        except LoginWanted:            # there is no token for both repositories; one for this one alone is another question
            return False
        if answer.status == 202:       # an upload was begun instead
            self.request("DELETE", self.location(answer), cancel, repository=repository)
        return answer.status not in (401, 403) and self.expect(answer, repository, 201, 202).status == 201

    def digest(self, repository: str, reference: str, cancel: Cancel) -> str:
        """The digest of the manifest with this tag or digest; empty where there is none."""
        return self._manifest("HEAD", repository, reference, cancel).headers.get("docker-content-digest", "")

    def manifest(self, repository: str, reference: str, cancel: Cancel) -> Stored | None:
        answer = self._manifest("GET", repository, reference, cancel)
        if answer.status == 404:
            return None
        return Stored(answer.headers.get("docker-content-digest", ""), answer.headers.get("content-type", ""), answer.body)

    def put_manifest(self, repository: str, reference: str, media_type: str, body: bytes, cancel: Cancel) -> None:
        answer = self.request("PUT", f"/v2/{repository}/manifests/{quote(reference)}", cancel, repository=repository, body=body,
                              headers={"Content-Type": media_type})
        self.expect(answer, repository, 201)

    def _manifest(self, method: str, repository: str, reference: str, cancel: Cancel) -> Answer:
        answer = self.request(method, f"/v2/{repository}/manifests/{quote(reference)}", cancel, repository=repository,
                              headers={"Accept": ", ".join(_MANIFESTS)})
        # a repository that nobody may see, and one that is not there yet, answer alike
        return self.expect(answer, repository, 200, 404)

    # --- requests

    def request(self, method: str, path: str, cancel: Cancel, *, repository: str = "", headers: Mapping[str, str] | None = None,
                body: bytes | memoryview = b"") -> Answer:
        """One answer, after a login where one is wanted."""
        try:
            return self.request_once(method, path, cancel, repository=repository, headers=headers, body=body, again=True)
        except ConnectionLost as error:
            raise self.unreachable(error) from error

    def request_once(self, method: str, path: str, cancel: Cancel, *, repository: str = "", headers: Mapping[str, str] | None = None,
                     body: bytes | memoryview = b"", again: bool = False) -> Answer:
        """As `request`, but raises `ConnectionLost` where it cannot be told what has arrived."""
        try:
            def ask(login: Mapping[str, str]) -> Answer:
                return self._link.request(method, path, cancel, body=body, again=again, headers={**(headers or {}), **login})

            purpose = f"{repository} {'r' if method in ('GET', 'HEAD') else 'w'}"
            answer = ask(self._authorizer.header(purpose))
            if answer.status == 401:
                login = self._authorizer.satisfy(answer.headers.get("www-authenticate", ""), purpose, cancel)
                answer = ask(login) if login else answer
            return answer
        except TokenRefused as error:
            raise refused(self.host, _said(error.answer), repository=repository, status=error.answer.status, user=self.user) from error
        except (OSError, ValueError, KeyError) as error:
            raise self.unreachable(error) from error

    def expect(self, answer: Answer, repository: str, *statuses: int) -> Answer:
        """The answer, where it has one of these statuses."""
        if answer.status in statuses:
            return answer
        if is_here(self.host) and _VERSION not in answer.headers:      # macOS' AirPlay has port 5000, too
            server = answer.headers.get("server", "").strip() or "something unknown"
            raise PublishError(f"what answers at {self.host} is no registry, but {server}",
                               hint="Is the registry's port another one? Port 5000 of a Mac is often AirPlay's: switch that off in System "
                                    "Settings, General, AirDrop & Handoff.")
        raise refused(self.host, _said(answer), repository=repository, status=answer.status, user=self.user)

    def location(self, answer: Answer) -> str:
        """Where the answer says to go on; always at this registry, under whatever name it knows itself."""
        url = urlsplit(answer.headers.get("location", ""))
        return url.path + (f"?{url.query}" if url.query else "")

    def unreachable(self, error: BaseException) -> DevloopError:
        text = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLError):
            return refused(self.host, f"TLS fails: {text}")
        return RegistryUnreachable(f"the registry {self.host or 'Docker Hub'} cannot be reached: {text}",
                                   hint="Is its name right, does it run, and does this machine's network (proxy, VPN) lead there?")


def _said(answer: Answer) -> str:
    """``CODE: message`` of each error, and what its disk says; plain text from what is no registry."""
    try:
        errors = json.loads(answer.body)["errors"]
        return "; ".join(": ".join(filter(None, (str(e.get("code", "")).lower(), str(e.get("message", "")), _of_disk(e.get("detail")))))
                         for e in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP status {answer.status} " + " ".join(answer.body.decode(errors="replace").split())[:200]


def _of_disk(detail: object) -> str:
    """docker's registry has no code for a disk that is full, and calls it an unknown error: Go's ``PathError`` is in the detail."""
    text = json.dumps(detail)
    return os.strerror(errno.ENOSPC) if "no space left" in text or f'"Err": {errno.ENOSPC}' in text else ""
