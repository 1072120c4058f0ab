"""Exec's framing in the three protocols, against servers of another make, over sockets; the real ones are in tests/cluster."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.typing import Subprotocol

from devloop.cancel import Cancel
from devloop.clients.exec import exec, run, script
from devloop.clients.kube import Kube
from devloop.clients.spdy import DICTIONARY
from devloop.errors import ApiError, UnreachableError

from .kubelet import answer, in_thread

SUCCESS = {"metadata": {}, "status": "Success"}
Say = Callable[[int, bytes], Awaitable[None]]
Program = Callable[[bytes, Say], Awaitable[None]]


class Server:
    """Runs `program` for each exec: it is given all of the input, and says its output, errors (1, 2) and status (3)."""

    def __init__(self, program: Program, speaks: Sequence[str], refuse: Response | None = None) -> None:
        self.program, self.speaks, self.refuse = program, speaks, refuse
        self.requests: list[dict[str, str]] = []
        self.port = 0

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True)))
        offered = request.headers.get("Sec-WebSocket-Protocol")
        # as servers do that do not know it
        return self.refuse or (None if offered in self.speaks else answer(403, ""))

    async def websocket(self, websocket: ServerConnection) -> None:
        async def say(channel: int, data: bytes) -> None:
            await websocket.send([bytes((channel,)) + data[:10], data[10:]])      # in two frames

        given = b""
        await say(1, b"")                  # kubelets begin so
        if self.requests[-1]["stdin"] == "true":
            async for message in websocket:
                assert isinstance(message, bytes)
                if message == b"\xff\0":
                    break
                assert message[0] == 0
                given += message[1:]
                if websocket.subprotocol == "v4.channel.k8s.io" and given.endswith(b"END"):
                    break
        await self.program(given, say)

    async def spdy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "SPDY/3.1" not in request:
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
        inflate = zlib.decompressobj(zdict=DICTIONARY)
        streams: dict[str, int] = {}
        given, ended = b"", False
        while not ended:
            first, second = struct.unpack(">II", await reader.readexactly(8))
            payload = await reader.readexactly(second & 0xFFFFFF)
            if first >> 31:
                assert first & 0xFFFF == 1, "SYN_STREAM"
                block = inflate.decompress(payload[10:])
                streams[block[-_last(block):].decode()] = int.from_bytes(payload[:4])
                ended = len(streams) == 3 and "stdin=false" in request
            else:
                assert first == streams["stdin"]
                given += payload
                ended = bool(second >> 24 & 1)
        assert list(streams) == [name for name in ("error", "stdin", "stdout", "stderr") if name in streams]

        async def say(channel: int, data: bytes) -> None:
            number = streams[("", "stdout", "stderr", "error")[channel]]
            for part in (data[:7], data[7:]):
                writer.write(struct.pack(">II", number, len(part)) + part)

        writer.write(struct.pack(">HHIII", 0x8003, 3, 8, streams["stdin"], 5) if "stdin" in streams else b"")      # a reset is no output
        await self.program(given, say)
        await writer.drain()
        writer.close()


def _last(block: bytes) -> int:
    """The length of the last header's value: there is only one header."""
    name = struct.unpack_from(">I", block, 4)[0]
    return int(struct.unpack_from(">I", block, 8 + name)[0])


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    @asynccontextmanager
    async def listening() -> AsyncIterator[None]:
        if "spdy" in server.speaks:
            listener = await asyncio.start_server(server.spdy, "127.0.0.1", 0)
            server.port = listener.sockets[0].getsockname()[1]
            async with listener:
                yield
        else:
            names = [Subprotocol(name) for name in server.speaks]
            async with serve(server.websocket, "127.0.0.1", 0, subprotocols=names, process_request=server.answer, compression=None,
                             max_size=None) as sockets:
                server.port = next(iter(sockets.sockets)).getsockname()[1]
                yield

    with in_thread("server", listening):
        yield server


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[Callable[[Server], Kube]]:
    made: list[Kube] = []

    def client(server: Server) -> Kube:
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}]}))
        made.append(Kube(kubeconfig=str(config)))
        return made[-1]

    yield client
    for each in made:
        each.close()


async def swap(given: bytes, say: Say) -> None:
    await say(2, b"errors ")
    await say(1, given[::-1])
    await say(2, b"more")
    await say(3, json.dumps(SUCCESS).encode())


async def silent(given: bytes, say: Say) -> None:
    await say(1, b"half")


def ending(status: object, output: bytes = b"") -> Program:
    async def end(given: bytes, say: Say) -> None:
        await say(1, output)
        await say(3, json.dumps(status).encode())

    return end


Client = Callable[[Server], Kube]


@pytest.mark.parametrize("speaks", ["v5.channel.k8s.io", "spdy"])
def test_streams_arrive_as_they_were_sent(kube: Client, speaks: str) -> None:
    data = bytes(range(256)) * 2000
    with serving(Server(swap, [speaks])) as server:
        done = run(kube(server), "ns", "web", "main", ["a", "b c"], cancel=Cancel(), stdin=[data[:100_000], data[100_000:]])
        assert (done.code, done.output, done.errors) == (0, data[::-1].decode(errors="replace"), "errors more")
        assert run(kube(server), "ns", "web", "main", ["a"], cancel=Cancel()).output == ""


def test_the_query_names_the_command(kube: Client) -> None:
    with serving(Server(swap, ["v5.channel.k8s.io"])) as server:
        run(kube(server), "ns", "web", "main", ["a", "b & c="], cancel=Cancel())
        assert server.requests == [{"container": "main", "stdin": "false", "stdout": "true", "stderr": "true", "command": "b & c="}]


def test_version_4_is_taken_where_there_is_no_other_and_cannot_tell_the_end(kube: Client) -> None:
    with serving(Server(swap, ["v4.channel.k8s.io"])) as server:
        with exec(kube(server), "ns", "web", "main", ["a"], stdin=True, cancel=Cancel()) as running:
            assert not running.half_closes
            with pytest.raises(UnreachableError, match="a in container main of pod web cannot be told that its input has ended"):
                running.close_stdin()
            running.write(b"the END")
            assert [piece for piece in iter(running.read, None) if piece[0] == 1] == [(1, b"DNE eht")]
            assert running.exit_code == 0
        with pytest.raises(UnreachableError, match="cannot be told"):
            run(kube(server), "ns", "web", "main", ["a"], cancel=Cancel(), stdin=[b"x"])


def test_a_connection_that_ends_without_a_status_is_no_end(kube: Client) -> None:
    for speaks in ("v5.channel.k8s.io", "spdy"):
        with serving(Server(silent, [speaks])) as server, exec(kube(server), "ns", "web", "main", ["a"], stdin=False,
                                                               cancel=Cancel()) as running:
            assert running.read() == (1, b"half")
            assert running.read() is None
            with pytest.raises(UnreachableError, match="the connection to a in container main of pod web broke"):
                _ = running.exit_code
            with pytest.raises(BrokenPipeError):
                running.write(b"x")
            running.close()
        running.close()


def failure(code: str) -> dict[str, object]:
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": code}]}}


def test_exit_codes_and_what_could_not_be_started(kube: Client) -> None:
    def outcome(status: object, output: bytes = b"") -> int:
        with serving(Server(ending(status, output), ["v5.channel.k8s.io"])) as server:
            return run(kube(server), "ns", "web", "main", ["nix"], cancel=Cancel()).code

    assert outcome(failure("7")) == 7
    assert outcome(failure("126"), b"my own output") == 126
    why = 'OCI runtime exec failed: exec failed: unable to start container process: exec: "nix": executable file not found in $PATH'
    for status, output in ((failure("126"), why.encode()),                                                              # Docker
                           ({"status": "Failure", "reason": "InternalError", "code": 500, "message": f"failed to exec: {why}"}, b"")):
        with pytest.raises(ApiError) as error:
            outcome(status, output)
        assert error.value.message == 'nix in container main of pod web could not be run: exec: "nix": executable file not found in $PATH'


@pytest.mark.parametrize(("status", "text", "kind", "why"), [
    (404, '{"kind": "Status", "message": "pods \\"web\\" not found"}', ApiError, 'pods "web" not found'),
    (500, "container not found", ApiError, "container not found"),
    (403, '{"kind": "Status", "message": "you cannot create resource"}', ApiError, "you cannot create resource"),
    (401, "who?", UnreachableError, "credentials"),
    (426, "no", UnreachableError, "does not run commands in pods"),
])
def test_refusals_say_why(kube: Client, status: int, text: str, kind: type[ApiError | UnreachableError], why: str) -> None:
    with serving(Server(swap, ["v5.channel.k8s.io"], answer(status, text))) as server:
        with pytest.raises(kind, match=why) as error:
            run(kube(server), "ns", "web", "main", ["a"], cancel=Cancel())
        assert status in (404, 500) or error.value.hint


def test_a_script_keeps_its_shell() -> None:
    import subprocess

    done = subprocess.run([*script("head -c 1 >/dev/null; exit 3")], input=b"x" * 1_000_000, check=False)
    assert done.returncode == 3
