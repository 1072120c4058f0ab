"""Kubernetes over raw JSON.

The official client's `config` package finds the credentials (kubeconfig merging, exec plugins, OIDC, in-cluster). Its API
classes cost 1.7 s to import and 0.7 ms to deserialise one pod, its watch stops at the second 410 and hangs on a half-open
connection: requests and watches are made here, on urllib3.
"""

from __future__ import annotations

import json
import re
import shlex
import ssl
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast
from urllib.parse import quote, urlencode, urlsplit

from devloop.cancel import Cancel
from devloop.clients.chunked import reader_of
from devloop.clients.kubeconfig import load, proxy_url, tls
from devloop.clients.transport import cancelled_by, pool_manager
from devloop.errors import ApiError, UnreachableError
from devloop.model import Object, ObjectRef

Query = Mapping[str, str | int | bool]

SSA = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

CONNECT_TIMEOUT = 5.0
SHORT_WATCH = 1.0        # a server that ends watches sooner, and without an event, is not asked again at once

KUBECTL = re.compile(r"\bkubectl (?!config |kustomize)")
"""In a hint: a command that asks a cluster, unlike the two that are left out."""


@dataclass(frozen=True)
class Resource:
    """An API resource as discovery names it: ``apps/v1``, Deployment, deployments, namespaced."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of one object, or of the collection where `name` is empty (in all namespaces where that is empty)."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{quote(namespace)}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{quote(name)}" if name else "")


@dataclass(frozen=True)
class WatchEvent:
    """``SNAPSHOT``: the whole collection, at the start and whenever the watch had to start over; what is not in it is gone.
    The others: one object that was added, changed or deleted."""

    type: Literal["SNAPSHOT", "ADDED", "MODIFIED", "DELETED"]
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Endpoint:
    """What a connection of one's own to the API server needs (for upgrades to SPDY or websocket).

    `ssl_context` is None for plain HTTP, `prefix` the path before ``/api`` (usually empty), `proxy` a proxy's URL or empty.
    """

    host: str
    port: int
    server_name: str
    ssl_context: ssl.SSLContext | None
    headers: dict[str, str]
    prefix: str
    proxy: str


class ByteStream(Protocol):
    """A response body that is read as it comes."""

    def read1(self, amt: int | None = None) -> bytes:
        """At least one byte, at most `amt`; empty at the end."""
        ...


class Kube:
    """One cluster, as one kubeconfig context sees it. Safe from every thread.

    `context`, `namespace` (the context's default) and `server` are the kubeconfig's; `cluster_entry` and `context_entry` its
    raw entries, extensions included. `in_cluster` where the service account of our own pod is used. The server is asked to end
    each watch after `watch_seconds`; one that is silent for `watch_grace` seconds longer is taken for half-open.
    """

    watch_seconds = 240
    watch_grace = 15.0

    def __init__(self, *, context: str = "", kubeconfig: str = "") -> None:
        """Reads the kubeconfig (KUBECONFIG obeyed); connects to nothing. Raises `UnreachableError` where there is none."""
        import urllib3

        self._configuration, entry = load(context, kubeconfig)
        self.context: str = entry.context
        self.namespace: str = entry.namespace
        self.cluster_entry: Mapping[str, Any] = entry.cluster
        self.context_entry: Mapping[str, Any] = entry.context_entry
        self.in_cluster: bool = entry.in_cluster
        self.server: str = self._configuration.host.rstrip("/")
        self._kubectl = "kubectl " if entry.current else f"kubectl --context {shlex.quote(self.context)} "
        self._tls = tls(self._configuration) if self.server.startswith("https") else None
        self._proxy = proxy_url(self._configuration)
        pool: dict[str, Any] = {"ssl_context": self._tls, "maxsize": 32, "retries": False,
                                "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT, read=60)}
        if self._configuration.tls_server_name:
            pool |= {"server_hostname": self._configuration.tls_server_name, "assert_hostname": self._configuration.tls_server_name}
        self._pool = pool_manager(self._proxy, **pool)
        self._resources: dict[str, list[Resource]] = {}
        self._lock = threading.Lock()

    # --- requests

    def request(self, method: str, path: str, *, query: Query | None = None, body: Any = None,
                content_type: str = "application/json", timeout: float = 60, cancel: Cancel | None = None) -> Object:
        """One request, its answer as a dict (empty for an empty body).

        Raises `ApiError` for an error status, `UnreachableError` where no answer comes or the credentials are refused,
        `Cancelled` as soon as `cancel` is.
        """
        cancel = cancel or Cancel()
        data = json.dumps(body).encode() if body is not None else None
        response = self._send(method, self._url(path, query), self._headers(content_type), timeout=timeout, cancel=cancel, body=data)
        try:
            with cancel.closing(lambda: _shut(response)), _mapped(self):
                text = response.read()
        finally:
            response.release_conn()
        if response.status >= 400:
            raise self._error(method, path, response.status, text)
        return cast(Object, json.loads(text)) if text else {}

    def get(self, path: str, **query: str | int | bool) -> Object:
        return self.request("GET", path, query=query)

    @contextmanager
    def open(self, path: str, *, query: Query | None = None, cancel: Cancel, read_timeout: float | None = None) -> Iterator[ByteStream]:
        """A GET whose body is read as it comes (logs, watches). Cancelling ends a blocked read; errors as for `request`."""
        response = self._send("GET", self._url(path, query), self._headers(None), timeout=read_timeout, cancel=cancel)
        try:
            with cancel.closing(lambda: _shut(response)):
                stream = _Stream(self, response, cancel)
                if response.status >= 400:
                    raise self._error("GET", path, response.status, b"".join(iter(stream.read1, b"")))
                yield stream
        finally:
            # never back into the pool: the body may not have been read to its end
            response.close()

    def _send(self, method: str, url: str, headers: dict[str, str], *, timeout: float | None, cancel: Cancel,
              body: bytes | None = None) -> Any:
        """The response, its body unread."""
        import urllib3

        def once() -> Any:
            cancel.check()
            return self._pool.request(method, url, body=body, headers=headers, preload_content=False,
                                      timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=timeout))

        with _mapped(self), cancelled_by(cancel):
            try:
                return once()
            except urllib3.exceptions.ProtocolError as error:
                # the server may close an idle connection just when it is used again: what changes nothing is asked anew
                if method != "GET" or not isinstance(error.args[-1], (ConnectionResetError, BrokenPipeError)):
                    raise
                return once()

    def watch(self, path: str, *, cancel: Cancel, query: Query | None = None) -> Iterator[WatchEvent]:
        """The collection at `path` as a `SNAPSHOT`, then every change, for ever, until cancelled (raises `Cancelled`).

        A watch that ends, breaks or has expired (410) goes on where it was or starts over with a new snapshot. What the server
        refuses (403, 404) is raised. While it is out of reach, `UnreachableError` is raised: the caller decides about trying again.
        """
        while True:
            listed = self.request("GET", path, query=query, cancel=cancel)
            yield WatchEvent("SNAPSHOT", tuple(_complete(item, listed) for item in listed.get("items") or ()))
            version = start = listed["metadata"]["resourceVersion"]
            while version:
                asked, before = time.monotonic(), version
                version = yield from self._watch_once(path, query, version, cancel)
                if (version == before or (before == start and not version)) and time.monotonic() - asked < SHORT_WATCH:
                    cancel.wait(SHORT_WATCH)

    def _watch_once(self, path: str, query: Query | None, version: str, cancel: Cancel) -> Generator[WatchEvent, None, str]:
        """One watch request; its generator's value is the version to go on from, empty where the watch must start over."""
        parameters = {**(query or {}), "watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true",
                      "timeoutSeconds": self.watch_seconds}
        try:
            with self.open(path, query=parameters, cancel=cancel, read_timeout=self.watch_seconds + self.watch_grace) as stream:
                for kind, obj in _events(stream):
                    if kind == "ERROR":
                        raise ApiError(f"watching {path}: {obj.get('message')}", status=obj.get("code", 500),
                                       reason=obj.get("reason", ""), body=obj)
                    version = obj["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        yield WatchEvent(kind, (obj,))
        except ApiError as error:
            if error.status != 410:
                raise
            return ""
        return version

    # --- what there is

    def resource(self, api_version: str, kind: str) -> Resource:
        """The API resource of a kind. Raises `ApiError` (404) where the cluster does not have it."""
        found = next((r for r in self._group(api_version) if r.kind == kind), None)
        if found is None:
            with self._lock:
                self._resources.pop(api_version, None)   # a CRD may add it at any time
            found = next((r for r in self._group(api_version) if r.kind == kind), None)
        if found is None:
            raise ApiError(f"the cluster has no kind {kind} in {api_version}", status=404, reason="NotFound", body={},
                           hint="Is its custom resource definition (CRD) installed, and the apiVersion right for this cluster?")
        return found

    def _group(self, api_version: str) -> list[Resource]:
        with self._lock:
            known = self._resources.get(api_version)
        if known is None:
            try:
                listed = self.get(f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}")
            except ApiError as error:
                if error.status != 404:
                    raise
                listed = {}
            known = [Resource(api_version, r["kind"], r["name"], r["namespaced"])
                     for r in listed.get("resources", ()) if "/" not in r["name"]]
            with self._lock:
                self._resources[api_version] = known
        return known

    def path(self, ref: ObjectRef) -> str:
        """The URL path of the object that `ref` names."""
        return self.resource(ref.api_version, ref.kind).path(ref.namespace, ref.name)

    def endpoint(self) -> Endpoint:
        """For connections of one's own. The headers hold fresh credentials: never print them."""
        url = urlsplit(self.server)
        host = url.hostname or ""
        return Endpoint(host, url.port or (443 if self._tls else 80), self._configuration.tls_server_name or host,
                        self._tls, self._headers(None), url.path, self._proxy)

    def hint(self, text: str) -> str:
        """A hint as it is true of this cluster: the kubectl that it names asks the current context, if not told otherwise."""
        return KUBECTL.sub(lambda _: self._kubectl, text)

    def close(self) -> None:
        self._pool.clear()

    def _url(self, path: str, query: Query | None) -> str:
        if not query:
            return self.server + path
        values = {k: str(v).lower() if isinstance(v, bool) else v for k, v in query.items()}
        return f"{self.server}{path}?{urlencode(values)}"

    def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "devloop"}
        if content_type:
            headers["Content-Type"] = content_type
        token = self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")   # refreshes it when due
        if token:
            headers["Authorization"] = token
        elif self._configuration.username:
            headers["Authorization"] = self._configuration.get_basic_auth_token()
        return headers

    def _error(self, method: str, path: str, status: int, data: bytes) -> Exception:
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        said = body.get("message") or data.decode(errors="replace").strip()[:500] or f"HTTP status {status}"
        if status == 401:
            return UnreachableError(f"the cluster of context '{self.context}' does not accept our credentials (401: {said})",
                                    hint="Log in again as your cluster asks for it, then see whether 'kubectl get pods' works.")
        if status == 403:
            return ApiError(said, status=status, reason=body.get("reason", ""), body=body,
                            hint=f"'kubectl auth can-i --list' shows what you may do; this was {method} {path}.")
        return ApiError(said, status=status, reason=body.get("reason", ""), body=body)


def lines(stream: ByteStream, size: int = 1 << 16) -> Iterator[bytes]:
    """The stream's lines without their ``\\n``, an unterminated last one included. Linear in the bytes read."""
    parts: list[bytes] = []
    while data := stream.read1(size):
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield b"".join((*parts, line)) if parts else line
            parts = []
        if rest:
            parts.append(rest)
    if parts:
        yield b"".join(parts)


def _events(stream: ByteStream) -> Iterator[tuple[Any, Object]]:
    """Type and object of each watch event, until the stream ends or breaks: what comes next is the same."""
    try:
        for line in lines(stream):
            event = json.loads(line)
            yield event["type"], event["object"]
    except (UnreachableError, ValueError):   # half a line is what a broken connection leaves
        return


def _complete(item: Object, listed: Object) -> Object:
    """Items of a list lack what the list says once."""
    kind = listed.get("kind", "")
    return {"apiVersion": listed.get("apiVersion", ""), "kind": kind.removesuffix("List"), **item}


class _Stream:
    """A response's body, with errors mapped, and nothing more from it once it was cancelled."""

    def __init__(self, kube: Kube, response: Any, cancel: Cancel) -> None:
        self._kube, self._read1, self._cancel = kube, reader_of(response).read1, cancel

    def read1(self, amt: int | None = None) -> bytes:
        try:
            data = cast(bytes, self._read1(amt))
        except Exception:
            with _mapped(self._kube):
                raise
        # shutting a TLS socket down drops its decryption: what a read finds after that is not text
        self._cancel.check()
        return data


def _shut(response: Any) -> None:
    """End a read that blocks in another thread."""
    try:
        response.shutdown()
    except (OSError, ValueError, RuntimeError):
        response.close()   # it was at its end already


@contextmanager
def _mapped(kube: Kube) -> Iterator[None]:
    """urllib3's errors as ours."""
    from urllib3.exceptions import HTTPError
    from urllib3.util.ssl_match_hostname import CertificateError

    try:
        yield
    except (HTTPError, OSError) as error:
        server = f"the API server {kube.server} (context '{kube.context}')"
        if error.args and isinstance(error.args[0], (ssl.SSLCertVerificationError, CertificateError)):
            raise UnreachableError(f"{server} shows a certificate that cannot be trusted: {error}",
                                   hint="Was the cluster made anew? Then its kubeconfig entry must be, too.") from error
        raise UnreachableError(f"{server} does not answer: {_cause(error)}",
                               hint="Is the cluster running, and is this the right context?") from error


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rpartition(": ")[2] or type(error).__name__
