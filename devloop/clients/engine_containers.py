"""Containers and volumes that are ours to make: created, started, watched, ended and removed."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import quote

from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.docker import DockerEngine, Message, messages
from devloop.clients.kube import ByteStream
from devloop.errors import EngineError
from devloop.model import Object

_HEADER = 8      # bytes before each piece of output: the stream's number, and its length in the last four
_SLOW = 300.0    # seconds: an Engine under load starts a container as late as this


class EngineContainers:
    """One Engine's containers and volumes. Safe from every thread. Raises `EngineError` and `UnreachableError`."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine

    # --- containers

    def create(self, name: str, config: Object) -> str:
        """Its id. `config` as in the Engine's ``POST /containers/create``."""
        return str(self._json("POST", "/containers/create", query={"name": name}, body=config)["Id"])

    def start(self, container: str) -> None:
        self._call("POST", f"/containers/{container}/start")

    def kill(self, container: str, signal: str) -> None:
        """Send a signal; nothing happens where it has ended."""
        self._call("POST", f"/containers/{container}/kill", query={"signal": signal}, fine=(404, 409, 500))

    def update(self, container: str, changes: Object) -> None:
        self._call("POST", f"/containers/{container}/update", body=changes)

    def remove(self, container: str) -> bool:
        """With its anonymous volumes, running or not; no error where it has gone.

        False: Podman keeps it, ended, while there are containers that use its network.
        """
        try:      # 409: somebody removes it
            self._call("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"}, fine=(404, 409))
            return True
        except EngineError as error:
            if "dependent containers" not in error.message:
                raise
            self.kill(container, "SIGKILL")
            return False

    def inspect(self, container: str) -> Object:
        """What ``docker inspect`` shows; empty where it has gone."""
        return cast(Object, self._json("GET", f"/containers/{container}/json", fine=(404,)))

    def labelled(self, labels: Sequence[str]) -> list[Object]:
        """The containers, running or not, that have all these labels (``KEY`` or ``KEY=VALUE``), as ``GET /containers/json`` has them."""
        query = {"all": "1", "filters": json.dumps({"label": list(labels)})}
        return _labelled(self._json("GET", "/containers/json", query=query), labels)

    # --- files

    def put(self, container: str, directory: str, tar: bytes) -> None:
        """Unpack a tar in a directory of the container, running or not. Into a volume: by its own directory, for Podman's sake."""
        self._call("PUT", f"/containers/{container}/archive", query={"path": directory}, data=tar)

    def file(self, container: str, path: str, most: int) -> bytes:
        """The last `most` bytes of a file; none where there is no such file or it is empty."""
        response = self._call("HEAD", f"/containers/{container}/archive", query={"path": path}, fine=(400, 404))
        stat = response.headers.get("X-Docker-Container-Path-Stat")
        if response.status_code >= 400 or not stat or not json.loads(base64.b64decode(stat))["size"]:
            return b""
        response = self._call("GET", f"/containers/{container}/archive", query={"path": path}, fine=(400, 404))
        if response.status_code >= 400:
            return b""
        with tarfile.open(fileobj=io.BytesIO(response.content)) as tar:
            first = tar.next()
            found = tar.extractfile(first) if first and first.isreg() else None
            return found.read()[-most:] if found else b""

    def exists(self, container: str, path: str) -> bool:
        """Whether the container has such a file or folder, running or not."""
        response = self._call("HEAD", f"/containers/{container}/archive", query={"path": path}, fine=(400, 404))
        return bool(response.status_code < 400)

    # --- volumes and networks

    def create_volume(self, name: str, labels: Mapping[str, str], options: Mapping[str, str]) -> str:
        """Its path on the Engine's machine. One that is there already is taken as it is."""
        body = {"Name": name, "Driver": "local", "Labels": dict(labels), "DriverOpts": dict(options)}
        return str(self._json("POST", "/volumes/create", body=body)["Mountpoint"])

    def volume(self, name: str) -> Object:
        """Empty where there is none."""
        return cast(Object, self._json("GET", f"/volumes/{quote(name)}", fine=(404,)))

    def remove_volume(self, name: str) -> None:
        """No error where it has gone, or a container still has it."""
        self._call("DELETE", f"/volumes/{quote(name)}", fine=(404, 409))

    def labelled_volumes(self, labels: Sequence[str]) -> list[Object]:
        query = {"filters": json.dumps({"label": list(labels)})}
        return _labelled(self._json("GET", "/volumes", query=query).get("Volumes") or [], labels)

    def remove_networks(self, labels: Sequence[str]) -> None:
        """The networks that have all these labels and no container."""
        query = {"filters": json.dumps({"label": list(labels)})}
        for network in _labelled(self._json("GET", "/networks", query=query), labels):
            self._call("DELETE", f"/networks/{network['Id']}", fine=(403, 404, 409))

    # --- streams

    @contextmanager
    def logs(self, container: str, query: Mapping[str, str], cancel: Cancel, *, tty: bool = False) -> Iterator[ByteStream]:
        """What the container wrote, both streams in one. `query` as in ``GET /containers/ID/logs``."""
        with self.engine.mapped(), self.engine.stream("GET", f"/containers/{container}/logs", cancel, query=query) as response:
            yield _Mapped(self.engine, response) if tty else _Frames(_Mapped(self.engine, response))

    @contextmanager
    def events(self, labels: Sequence[str], events: Sequence[str], cancel: Cancel) -> Iterator[Iterator[Message]]:
        """What happens to the containers that have all these labels, from now on: the stream is open when the block is entered."""
        filters = {"type": ["container"], "label": list(labels), "event": list(events)}
        with self.engine.mapped(), self.engine.stream("GET", "/events", cancel, query={"filters": json.dumps(filters)}) as response:
            yield messages(response)

    def pull(self, reference: str, login: docker_auth.Credentials | None, cancel: Cancel) -> Generator[Message, None, None]:
        """``POST /images/create``. What the registry refuses comes in an ``errorDetail`` message, or as an `EngineError`."""
        headers = {"X-Registry-Auth": docker_auth.header(login or {})}
        query = {"fromImage": reference}
        if "@" not in reference and ":" not in reference.rpartition("/")[2]:
            query["tag"] = "latest"     # else the Engine pulls every tag there is
        with self.engine.mapped(), self.engine.stream("POST", "/images/create", cancel, query=query, headers=headers) as response:
            yield from messages(response)

    def capacity(self) -> tuple[int, int]:
        """The processors and the bytes of memory that the Engine's machine has."""
        info = self._json("GET", "/info")
        return int(info["NCPU"]), int(info["MemTotal"])

    # --- requests

    def _json(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, fine: Sequence[int] = ()) -> Any:
        response = self._call(method, path, query=query, body=body, fine=fine)
        return response.json() if response.status_code < 400 else {}

    def _call(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, data: bytes | None = None,
              fine: Sequence[int] = ()) -> Any:
        """The answer, read. `fine`: error statuses that are answers, too."""
        with self.engine.mapped():
            api = cast(Any, self.engine.connected())
            headers = {"Content-Type": "application/x-tar"} if data is not None else None
            response = api.request(method, f"{api.base_url}/v{api.api_version}{path}", params=query, json=body, data=data, headers=headers,
                                   timeout=(api.timeout[0], _SLOW))
            if response.status_code < 400 or response.status_code in fine:
                return response
        raise EngineError(_said(response), status=response.status_code)


def _labelled(found: list[Object], labels: Sequence[str]) -> list[Object]:
    """Those that have all of the labels: Podman answers with volumes that have one of them."""
    wanted = [label.partition("=") for label in labels]
    return [each for each in found if all((has := each.get("Labels") or {}).get(key) == value or (not equals and key in has)
                                          for key, equals, value in wanted)]


class _Mapped:
    """An answer's body, its errors ours."""

    def __init__(self, engine: DockerEngine, response: Any) -> None:
        self._engine, self._response = engine, response

    def read1(self, amt: int | None = None) -> bytes:
        with self._engine.mapped():
            return cast(bytes, self._response.read1(amt))


class _Frames:
    """The pieces of both streams one after the other, without their headers."""

    def __init__(self, raw: ByteStream) -> None:
        self._raw = raw
        self._rest = b""

    def read1(self, amt: int | None = None) -> bytes:
        while data := self._raw.read1(amt):
            whole, at, end = [], 0, 0
            buffer = self._rest + data
            while len(buffer) >= at + _HEADER:
                end = at + _HEADER + int.from_bytes(buffer[at + 4:at + _HEADER])
                if end > len(buffer):
                    break
                whole.append(buffer[at + _HEADER:end])
                at = end
            self._rest = buffer[at:]
            if whole:
                return b"".join(whole)
        return b""


def _said(response: Any) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip() or f"HTTP status {response.status_code}"
