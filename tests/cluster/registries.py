"""Real registries of every kind: open, with passwords, with TLS, with tokens; and a way to them that counts, and breaks."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import docker
import pytest
from project import eventually

from devloop.clients.docker import DockerEngine
from devloop.model import BuiltImage, ImageRef
from tests.cluster.cut import CuttableProxy

Build = Callable[..., BuiltImage]

USER, PASSWORD = "tester", "s3cret"
HTPASSWD = "tester:$2b$04$rfqJV2WrgpEf32t1hT18OenvwtFPLRcEy4M0quQmKtS4562fQC6n6\n"   # of that password


def free_address(host: str = "127.0.0.1") -> str:
    with socket.create_server((host, 0)) as free:
        return f"{host}:{free.getsockname()[1]}"


@contextmanager
def registry(home: Path, address: str = "", *, tls: tuple[Path, Path] | None = None, passwords: bool = False,
             token: dict[str, str] | None = None) -> Iterator[str]:
    """Its address. `home` keeps its images; `tls`: certificate and key; `token`: what its configuration calls so."""
    program = shutil.which("docker-registry")
    if not program:
        pytest.skip("missing: docker-registry (Debian's package of that name)")
    address = address or free_address()
    home.mkdir(exist_ok=True)
    http: dict[str, Any] = {"addr": address}
    if tls:
        http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    config: dict[str, Any] = {"version": "0.1", "log": {"level": "warn", "accesslog": {"disabled": True}}, "http": http,
                              "storage": {"filesystem": {"rootdirectory": str(home / "data")}, "delete": {"enabled": True}}}
    if passwords:
        (home / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "private", "path": str(home / "htpasswd")}}
    elif token:
        config["auth"] = {"token": token}
    (home / "config.yml").write_text(json.dumps(config))
    with (home / "log").open("ab") as log, subprocess.Popen([program, "serve", home / "config.yml"], stdout=log, stderr=log) as process:
        try:
            listening(address, process, home / "log")
            yield address
        finally:
            process.terminate()


def listening(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, _, port = address.rpartition(":")

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            return False
        return True

    eventually(answers)


def certificate(home: Path, host: str) -> tuple[Path, Path]:
    """A certificate for an address, which is its own authority, and its key."""
    home.mkdir(exist_ok=True)
    made = home / "cert.pem", home / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=devloop test",
                    "-addext", f"subjectAltName=IP:{host}", "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made


class Route(CuttableProxy):
    """A way to a registry that counts what is sent to it, and is cut, once, where `cut_at` bytes were, or before the next `request`."""

    def __init__(self, address: str, cut_at: int = 0, request: bytes = b"") -> None:
        host, _, port = address.rpartition(":")
        super().__init__(host, int(port))
        self.sent = 0
        self.cuts = 0
        self._cut_at, self._request = cut_at, request
        self._registry = (host, int(port))
        self._counting = threading.Lock()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def passing(self, data: bytes, sink: socket.socket) -> None:
        if sink.getpeername() != self._registry:
            return
        with self._counting:
            self.sent += len(data)
            cutting = 0 < self._cut_at <= self.sent and not self.cuts and data.startswith(self._request)
            self.cuts += cutting
        if cutting:
            self.cut()


SCOPE = re.compile(r"(?P<type>[a-z]+):(?P<name>[a-z0-9._/:-]+):(?P<actions>[a-z*]+(?:,[a-z*]+)*)")


class TokenServer:
    """Gives tokens that the registry takes, to `USER` only, by https://distribution.github.io/distribution/spec/auth/token/.

    `scopes`: what was asked for. Nobody gets anything at the repository `secret`: a token has the rest, or, if `strict`, there is none.
    """

    def __init__(self, home: Path, *, secret: str = "", strict: bool = False) -> None:
        self._certificate, self._key = certificate(home, "127.0.0.1")
        self._secret, self._strict = secret, strict
        self.scopes: list[list[str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                server.scopes.append(asked.get("scope", []))
                login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                good = self.headers["Authorization"] == f"Basic {login}"
                scopes = [SCOPE.fullmatch(scope) for scope in asked.get("scope", [])]
                wanted = [scope.groupdict() for scope in scopes if scope]
                given = [scope for scope in wanted if scope["name"] != server._secret]
                refused = server._strict and given != wanted
                status = 400 if not all(scopes) else 401 if not good else 403 if refused else 200
                body = json.dumps({"token": server._token(given)} if status == 200 else
                                  {"errors": [{"code": "UNAUTHORIZED", "message": "who?"}]})
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, name="tokens", daemon=True)

    @property
    def configuration(self) -> dict[str, str]:
        return {"realm": f"http://127.0.0.1:{self._http.server_port}/token", "service": "registry", "issuer": "tests",
                "rootcertbundle": str(self._certificate)}

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _token(self, given: list[dict[str, str]]) -> str:
        access = [{**scope, "actions": scope["actions"].split(",")} for scope in given]
        now = int(time.time())
        pem = self._certificate.read_text()
        head = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem.split("-----")[2].split())]}
        claims = {"iss": "tests", "aud": "registry", "sub": USER, "exp": now + 60, "nbf": now - 60, "iat": now, "jti": str(now),
                  "access": access}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self._key], input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{_base64(done.stdout)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def build_image(docker_api: docker.APIClient) -> Iterator[Build]:
    """Builds an image of files, a layer each, on a busybox; all of them are removed at the end."""
    made: list[str] = []

    def build(artifact: str = "hello-web", *layers: bytes, base: str = "busybox:1.36", run: str = "") -> BuiltImage:
        # a label makes it an image of its own, whatever its layers are: at the end all of its names go
        copies = "".join(f"COPY {n} /{n}-{secrets.token_hex(2)}\n" for n in range(len(layers)))
        dockerfile = f"FROM {base}\nLABEL test={secrets.token_hex(4)}\n{copies}{run}"
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, data in {"Dockerfile": dockerfile.encode(), **{str(n): data for n, data in enumerate(layers)}}.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        ref = ImageRef(f"devloop-test-registries/{artifact.rpartition('/')[2]}", secrets.token_hex(8))
        said = list(docker_api.build(fileobj=io.BytesIO(context.getvalue()), custom_context=True, tag=str(ref), rm=True, decode=True))
        assert not [m for m in said if "error" in m], said
        made.append(docker_api.inspect_image(str(ref))["Id"])
        return BuiltImage(artifact, ref, made[-1])

    yield build
    for image_id in reversed(made):
        _remove(docker_api, image_id)


def _remove(api: docker.APIClient, image_id: str) -> None:
    """With all the names that it got by being pushed and pulled, as soon as no container uses it."""
    def removed() -> bool:
        try:
            api.remove_image(image_id, force=True)
        except docker.errors.NotFound:
            return True
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
        return False

    eventually(removed)


class Home:
    """A docker configuration, and the Engine as who has it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._engines: list[DockerEngine] = []

    def engine(self, address: str = "", user: str = "", password: str = "", **environ: str) -> DockerEngine:
        """Logged in to the registry at `address`, if a user is given."""
        auths = {address: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}} if user else {}
        config = self._home / ".docker" / "config.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps({"auths": auths}))
        self._engines.append(DockerEngine({"PATH": os.environ["PATH"], "HOME": str(self._home), **environ}))
        return self._engines[-1]

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


@pytest.fixture
def docker_home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.close()
