"""One Docker Engine, through docker-py for connections and plain questions.

docker-py's own `build()` copies the whole context to a temporary file, matches ignore patterns wrongly, asks every credential
helper and cannot be interrupted: builds are streamed here over a connection whose socket is in our hands from its first byte.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from devloop.cancel import Cancel
from devloop.clients import docker_auth, process
from devloop.clients.docker_config import DockerConfig, DockerEndpoint, Tls
from devloop.clients.docker_ssh import SshRelay
from devloop.errors import DevloopError, EngineError, UnreachableError
from devloop.model import ImageRef

if TYPE_CHECKING:
    import requests
    from docker import APIClient
    from urllib3 import HTTPResponse
    from urllib3.connection import HTTPConnection

CONNECT_TIMEOUT = 10.0   # seconds; ssh and TLS to far machines included
ANSWER_TIMEOUT = 60.0    # seconds, for questions; builds are silent as long as they like

_OTHERS = {"nerdctl": "nerdctl will not do: containerd has no Docker Engine API. In Rancher Desktop choose dockerd (moby) in Preferences "
                      "> Container Engine.",
           "podman": "Podman will do: systemctl --user start podman.socket, and DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock."}

Message = dict[str, Any]
"""One JSON object of the Engine's stream: ``stream``, ``status`` with ``progressDetail``, ``aux``, or ``errorDetail``."""


@dataclass(frozen=True)
class EngineInfo:
    """Who the Engine is. `platform` as in images (``linux/amd64``), `kernel` and `operating_system` those of its machine.

    `containerd_store`: images are in containerd's store, where an image's id is its manifest's digest, not its config's.
    """

    name: str
    platform: str
    version: str
    api_version: str
    kernel: str
    operating_system: str
    containerd_store: bool = False
    product: Literal["Docker Engine", "Podman"] = "Docker Engine"


class DockerEngine:
    """One Engine, found as the docker CLI finds it. Connects at first use, speaks the API version the Engine has.

    Safe from every thread: docker-py's client is never changed once it is made, its connection pool is thread-safe, and each
    build has a connection of its own. All methods raise `UnreachableError`, and `EngineError` where the Engine refuses.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """`environ`: what to take DOCKER_HOST, DOCKER_CONTEXT and so on from; default: the process's own environment.

        Raises `UnreachableError` where the docker CLI's configuration cannot be read.
        """
        self.environ = os.environ if environ is None else environ
        self.config = DockerConfig.load(self.environ)
        self.endpoint: DockerEndpoint = self.config.endpoint(self.environ)
        self._lock = threading.Lock()
        self._api: APIClient | None = None
        self._relay: SshRelay | None = None

    # --- questions

    def ping(self) -> None:
        """Raises `UnreachableError` where the Engine does not answer."""
        with self.mapped():
            self.connected().ping()

    def info(self) -> EngineInfo:
        with self.mapped():
            api = self.connected()
            info = api.info()
            version = api.version(api_version=False)
        podman = any(each.get("Name") == "Podman Engine" for each in version.get("Components") or ())
        containerd = any("io.containerd.snapshotter" in str(entry) for entry in info.get("DriverStatus") or ())
        return EngineInfo(info["Name"], f"{version['Os']}/{version['Arch']}", version["Version"], version["ApiVersion"],
                          info["KernelVersion"], info["OperatingSystem"], containerd,
                          "Podman" if podman else "Docker Engine")

    def image_id(self, ref: ImageRef | str) -> str | None:
        """The id (``sha256:…``) of the image with this reference or id; None where there is none."""
        image = self.image(str(ref))
        return image["Id"] if image else None

    def image(self, name: str) -> dict[str, Any]:
        """What ``docker image inspect`` shows of the image with this reference or id; empty where there is none."""
        import docker.errors

        with self.mapped():
            try:
                return cast(dict[str, Any], cast(Any, self.connected()).inspect_image(name))
            except docker.errors.NotFound:
                return {}

    def tagged(self, repository: str, pattern: str) -> ImageRef | None:
        """The newest reference in `repository` whose tag matches the glob `pattern`."""
        with self.mapped():
            images = self.connected().images(filters={"reference": f"{repository}:{pattern}"})
        newest = sorted(images, key=lambda image: int(image["Created"]), reverse=True)
        refs = [ref for image in newest for ref in image["RepoTags"] if fnmatchcase(ref, f"*{repository}:{pattern}")]
        return ImageRef(repository, refs[0].rpartition(":")[2]) if refs else None

    def tag(self, image_id: str, ref: ImageRef) -> None:
        """Let `ref` name this image; what it named before loses it."""
        with self.mapped():
            self.connected().tag(image_id, ref.repository, ref.tag)

    # --- images that are no longer wanted

    def remove_tag(self, ref: ImageRef) -> bool:
        """Remove the reference, and the image with it where it was its last. False: a container uses it, it stays."""
        return self._remove(str(ref))

    def remove_untagged(self, image_id: str) -> bool:
        """Remove an image that has no reference. False: it has one, or a container or another image uses it, so it stays."""
        return not self.image(image_id).get("RepoTags") and self._remove(image_id)

    def _remove(self, name: str) -> bool:
        try:
            with self.mapped():
                self.connected().remove_image(name)
        except EngineError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404   # gone already
        return True

    # --- building

    def credentials(self, registries: Iterable[str], cancel: Cancel) -> dict[str, docker_auth.Credentials]:
        """What we know for these registries (hosts; empty: Docker Hub), by the name docker files them under. Never print it."""
        found = {r: docker_auth.credentials(self.config, r, self.environ, cancel) for r in registries}
        return {docker_auth.key(registry): known for registry, known in found.items() if known}

    def build(self, query: Mapping[str, str], tar: Iterable[bytes], credentials: Mapping[str, docker_auth.Credentials],
              cancel: Cancel) -> Generator[Message, None, None]:
        """``POST /build``: the context goes out while it is read, what the Engine says comes in as it is said.

        A build that fails says so in an ``errorDetail`` message. What `tar` raises is raised; cancelling, or leaving the iterator
        early, closes the connection, and the Engine then stops the build and removes its container.
        """
        headers = {"Content-Type": "application/x-tar", "X-Registry-Config": docker_auth.header(credentials)}
        with self.mapped(), self.stream("POST", "/build", cancel, query=query, headers=headers, body=tar) as response:
            yield from messages(response)

    @contextmanager
    def stream(self, method: str, path: str, cancel: Cancel, *, query: Mapping[str, str] | None = None,
               headers: dict[str, str] | None = None, body: Iterable[bytes] = ()) -> Iterator[HTTPResponse]:
        """The response, its status checked and its body unread, on a connection of its own that `cancel` closes. Use it `mapped`."""
        with self.connection(method, path, cancel, query=query, headers=headers) as (connection, request):
            with suppress(BrokenPipeError, ConnectionResetError):   # refused before it had read everything: the answer says why
                connection.request(method, request.path_url, _readable(body), headers=cast(Any, request.headers),
                                   chunked=True, preload_content=False, decode_content=True)
            with self.answer(connection) as response:
                yield response

    @contextmanager
    def connection(self, method: str, path: str, cancel: Cancel, *, query: Mapping[str, str] | None = None,
                   headers: dict[str, str] | None = None) -> Iterator[tuple[HTTPConnection, requests.PreparedRequest]]:
        """A connection of its own that `cancel` closes, and the request to send over it."""
        import requests

        api = self.connected()
        request = api.prepare_request(requests.Request(method, f"{api.base_url}/v{api.api_version}{path}", headers, params=query))
        adapter = cast("requests.adapters.HTTPAdapter", api.get_adapter(request.url or ""))
        pool = cast(Any, adapter.get_connection_with_tls_context(request, api.verify, cert=api.cert))
        with closing(cast("HTTPConnection", pool._new_conn())) as connection:   # the pool's own requests cannot be interrupted
            connection.timeout = CONNECT_TIMEOUT
            connection.connect()
            sock = connection.sock
            connection.timeout = None
            sock.settimeout(None)
            with cancel.closing(lambda: _shut(sock)):
                yield connection, request

    @contextmanager
    def answer(self, connection: HTTPConnection) -> Iterator[HTTPResponse]:
        """What comes back over this connection, its status checked."""
        with closing(connection.getresponse()) as response:
            if response.status >= 400:
                raise _refused(response.status, response.read())
            yield response

    # --- the connection

    def close(self) -> None:
        with self._lock:
            if self._api:
                self._api.close()
                self._api = None
            if self._relay:
                self._relay.close()
                self._relay = None

    def connected(self) -> APIClient:
        """docker-py's client, for plain questions. Use it `mapped`."""
        with self._lock:
            if self._api is None:
                self._api = self._connect()
            return self._api

    def _connect(self) -> APIClient:
        import docker

        host = self.endpoint.host
        if host.startswith("ssh://"):
            self._relay = self._relay or SshRelay(host, self.environ)
            host = self._relay.url
        elif host.startswith("unix://"):   # docker-py leaves a socket open that it cannot connect
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(CONNECT_TIMEOUT)
                probe.connect("/" + host.removeprefix("unix://").lstrip("/"))
        tls = _tls(self.endpoint.tls) if self.endpoint.tls else False

        def client(version: str) -> APIClient:
            api = docker.APIClient(base_url=host, version=version, tls=tls)
            api.trust_env = False   # else REQUESTS_CA_BUNDLE wins over the Engine's own authority (requests #3829)
            cast(Any, api).timeout = (CONNECT_TIMEOUT, ANSWER_TIMEOUT)   # as requests takes it; the constructor cannot
            return api

        with closing(client("1.24")) as api:   # to ask for the version is the one thing that every version can do
            version = cast(dict[str, str], api.version(api_version=False))["ApiVersion"]
        return client(version)

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """docker-py's, requests', urllib3's and the system's errors as ours."""
        import docker.errors
        import requests
        import urllib3

        try:
            yield
        except docker.errors.APIError as error:
            raise EngineError(error.explanation or str(error), status=error.status_code or 0) from error
        except (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> DevloopError:
        causes = list(_causes(error))
        number = next((c.errno for c in causes if isinstance(c, OSError) and c.errno), 0)
        where, text = f"the Docker Engine at {self.endpoint}", str(causes[-1]) or type(causes[-1]).__name__
        if self._relay:
            return UnreachableError(f"{where} cannot be used: {self._relay.complaint or text}",
                                    hint=f"Does 'ssh {urlsplit(self.endpoint.address).netloc} docker info' work without asking anything?")
        if "ertificate" in str(error) or any(type(c).__name__ in ("SSLError", "SSLCertVerificationError") for c in causes):
            return UnreachableError(f"{where}: TLS fails: {text}", hint="Are the certificates this Engine's own and not expired? "
                                    "DOCKER_CERT_PATH or the docker context say where they are.")
        if number in (errno.EACCES, errno.EPERM):
            return UnreachableError(f"no permission to use {where}", hint="Your user must be in the group 'docker': "
                                    "sudo usermod -aG docker $USER, then log in again.")
        if number in (errno.ENOENT, errno.ECONNREFUSED):
            return UnreachableError(f"{where} is not running: {text}", hint="Start Docker (sudo systemctl start docker, Docker Desktop, "
                                    "colima start ...), or say with DOCKER_HOST or 'docker context use' where it is."
                                    + "".join(f" {hint}" for program, hint in _OTHERS.items() if process.which(program, self.environ)))
        if any("imed out" in str(c) or isinstance(c, TimeoutError) for c in causes):
            return UnreachableError(f"{where} does not answer: {text}", hint="Does 'docker info' answer?")
        return UnreachableError(f"{where} cannot be used: {text}", hint="See whether 'docker info' works with the same settings.")


def messages(response: HTTPResponse) -> Iterator[Message]:
    """The objects of an answer, each as it comes."""
    rest = b""
    while data := response.read1(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield cast(Message, json.loads(line))
    if rest.strip():
        yield cast(Message, json.loads(rest))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps, outermost first: requests and urllib3 keep causes in `args` and `reason`, too."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        current = todo.pop(0)
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            wrapped = (*current.args, getattr(current, "reason", None), current.__cause__, current.__context__)
            todo += [cause for cause in wrapped if isinstance(cause, BaseException)]


def _refused(status: int, body: bytes) -> EngineError:
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace").strip() or f"HTTP status {status}"
    return EngineError(message, status=status)


def _readable(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Keeps a file's errors apart from the socket's."""
    try:
        yield from chunks
    except OSError as error:
        raise EngineError(f"the build context cannot be read: {error}", status=0) from error


def _shut(sock: socket.socket) -> None:
    """Ends a read or write that blocks in another thread; the Engine sees the connection end."""
    with suppress(OSError):   # it has ended by itself
        sock.shutdown(socket.SHUT_RDWR)


def _tls(tls: Tls) -> Any:
    from docker.tls import TLSConfig

    return TLSConfig(client_cert=(tls.cert, tls.key) if tls.cert else None, ca_cert=tls.ca or None, verify=tls.verify)
