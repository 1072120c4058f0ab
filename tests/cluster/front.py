"""What stands before a real registry and says no where that would not: real registries of those kinds are services."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Front:
    """Hands on what `refusal` lets pass to the registry at `address`; its own `address` is another."""

    def __init__(self, address: str) -> None:
        self._registry = address
        self.refused = 0
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = b"".join(_body(self))
                status, headers, answer = front.refusal(self.command, self.path, self.headers.get("Authorization", "")) or front.asked(
                    self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(answer))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else answer)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, name="front")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def refusal(self, method: str, path: str, login: str) -> tuple[int, dict[str, str], bytes] | None:
        raise NotImplementedError

    def refuse(self, status: int, code: str, message: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        self.refused += 1
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return (status, {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0", **said},
                json.dumps({"errors": [{"code": code, "message": message}]}).encode())

    def asked(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """What the registry says."""
        sent = {name: value for name, value in headers.items() if name.lower() not in ("transfer-encoding", "content-length", "connection")}
        with closing(http.client.HTTPConnection(self._registry)) as connection:
            connection.request(method, path, body, sent | {"Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, {k: v for k, v in answer.getheaders() if k.lower() != "transfer-encoding"}, answer.read()


class ImmutableTags(Front):
    """As Amazon's ECR with that setting."""

    def refusal(self, method: str, path: str, login: str) -> tuple[int, dict[str, str], bytes] | None:
        if method == "PUT" and "/manifests/" in path and self.asked("HEAD", path, {"Accept": "*/*"})[0] == 200:
            return self.refuse(400, "TAG_INVALID", "The image tag already exists in the repository and cannot be overwritten because the "
                                                   "repository is immutable.")
        return None


class AnonymousTokens(Front):
    """As Docker Hub: everybody gets a token, with which nobody may push."""

    def refusal(self, method: str, path: str, login: str) -> tuple[int, dict[str, str], bytes] | None:
        if path.startswith("/token"):
            return 200, {}, json.dumps({"token": "anonymous"}).encode()
        if login != "Bearer anonymous" or path != "/v2/":
            return self.refuse(401, "UNAUTHORIZED", "authentication required",
                               WWW_Authenticate=f'Bearer realm="http://{self.address}/token",service="front"')
        return None


def _body(request: BaseHTTPRequestHandler) -> Iterator[bytes]:
    if request.headers.get("Transfer-Encoding", "").lower() != "chunked":
        yield request.rfile.read(int(request.headers.get("Content-Length", 0)))
        return
    while size := int(request.rfile.readline(), 16):
        yield request.rfile.read(size)
        request.rfile.readline()
    request.rfile.readline()
