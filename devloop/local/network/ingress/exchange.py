"""One client's connection: its requests, each carried to a pod and its answer back, without keeping more than a piece of either.

h11 knows HTTP's framing on both sides; what goes through is what it has understood, so that nothing can be smuggled past it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET

import h11

from devloop.clients.duplex import Broken, Duplex, NotConnected
from devloop.errors import DevloopError
from devloop.forward.peer import closed
from devloop.local.network.ingress.destinations import NowhereError
from devloop.local.network.table import Address

CHUNK = 1 << 16
HEADERS = 1 << 17         # bytes of a request's or an answer's head, at most
LINGER = 2.0              # seconds in which a client may read the last answer before its connection is closed
LOOK = 1.0                # seconds between two looks at a client that has said all
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"upgrade"}

Find = Callable[[str, str], Sequence[Address]]
Open = Callable[[str, int], Awaitable[Duplex]]
Headers = list[tuple[bytes, bytes]]


class Exchange:
    """`find` says by host and path where to go, or raises `NowhereError`; `dial` connects there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, find: Find, dial: Open) -> None:
        self._reader, self._writer, self._find, self._dial = reader, writer, find, dial
        self._client = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS)

    async def run(self) -> None:
        """To the end of the client's connection."""
        try:
            while await self._request():
                self._client.start_next_cycle()
            await self._part()
        except (OSError, Broken, h11.ProtocolError):
            self._reset()
        finally:
            self._writer.transport.abort()

    async def _request(self) -> bool:
        """One request and its answer. False: no other can follow on this connection."""
        try:
            request = await self._from_client()
        except h11.RemoteProtocolError as error:
            await self._say(error.error_status_hint, f"This is not HTTP/1.1: {error}.")
            return False
        if not isinstance(request, h11.Request):
            return False
        try:
            stream = await self._connected(request)
            try:
                return await self._carry(request, stream)
            finally:
                stream.close()
        except NowhereError as nowhere:
            while self._client.their_state is h11.SEND_BODY and isinstance(self._client.next_event(), h11.Data):
                pass        # what there is of a body that nobody gets; mostly there is none, and the connection can be used again
            await self._say(nowhere.status, str(nowhere), head=request.method == b"HEAD")
            return self._both_done()

    async def _connected(self, request: h11.Request) -> Duplex:
        hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
        if request.method == b"CONNECT":
            raise NowhereError(405, "CONNECT is for proxies of another kind.")
        problem = ""
        for ip, port in self._find(hosts[0] if hosts else "", request.target.decode("latin-1")):
            try:
                return await self._dial(ip, port)
            except (NotConnected, DevloopError) as error:
                problem = f"{ip}:{port}: {error}"
        raise NowhereError(503, f"The pods that this leads to do not accept connections ({problem}).")

    # --- both ways

    async def _carry(self, request: h11.Request, stream: Duplex) -> bool:
        pod = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS)
        await stream.write(pod.send(h11.Request(method=request.method, target=request.target, headers=self._forwarded(request))) or b"")
        body = asyncio.create_task(self._body(pod, stream))
        try:
            if await self._answer(pod, stream):
                await self._raw(pod, stream)
                return False
        finally:
            body.cancel()
            await asyncio.wait([body])
        return self._both_done()    # not where the answer came before the whole question: nobody reads the rest

    def _both_done(self) -> bool:
        return self._client.our_state is h11.DONE and self._client.their_state is h11.DONE

    async def _body(self, pod: h11.Connection, stream: Duplex) -> None:
        """Client to pod. That the pod takes no more is told by what it answers."""
        try:
            while not isinstance(event := await self._from_client(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    await stream.write(pod.send(event) or b"")
            await stream.write(pod.send(event) or b"")
            if self._client.their_state is h11.DONE:
                await self._gone()
                stream.close()      # and so ends what is read for it
        except Broken:
            pass
        except (OSError, h11.ProtocolError):
            stream.close()

    async def _gone(self) -> None:
        """Returns when the client has closed: an answer may be long in coming."""
        while data := await self._reader.read(CHUNK):
            self._client.receive_data(data)
            if len(self._client.trailing_data[0]) > CHUNK:
                await asyncio.Future()      # it says more than it may before it has its answer: it is there
        while not closed(self._writer.get_extra_info("socket")):
            await asyncio.sleep(LOOK)       # it has said all, and may still listen

    async def _answer(self, pod: h11.Connection, stream: Duplex) -> bool:
        """Pod to client. True: both speak another protocol from now on."""
        begun = False
        while True:
            try:
                event = pod.next_event()
                if event is h11.NEED_DATA:
                    pod.receive_data(await stream.read())
                    continue
            except (NotConnected, Broken, h11.RemoteProtocolError) as error:
                if begun:
                    raise Broken("the answer was cut") from error
                raise NowhereError(502, f"The pod has not answered in HTTP: {error}.") from error
            match event:
                case h11.InformationalResponse():
                    await self._to_client(h11.InformationalResponse(
                        status_code=event.status_code, headers=_kept(event.headers, upgrade=event.status_code == 101), reason=event.reason))
                    if event.status_code == 101:
                        return True
                case h11.Response():
                    begun = True
                    await self._to_client(h11.Response(status_code=event.status_code, headers=_kept(event.headers), reason=event.reason))
                case h11.Data():
                    await self._to_client(h11.Data(data=bytes(event.data)))
                case _:
                    await self._to_client(h11.EndOfMessage(headers=event.headers if isinstance(event, h11.EndOfMessage) else []))
                    return False

    async def _raw(self, pod: h11.Connection, stream: Duplex) -> None:
        """After an upgrade: bytes, until both have ended."""
        async def up() -> None:
            data: bytes = self._client.trailing_data[0]
            while data or not self._reader.at_eof():
                await stream.write(data)
                data = await self._reader.read(CHUNK)
            stream.write_eof()

        upward = asyncio.create_task(up())
        try:
            data: bytes = pod.trailing_data[0] or await stream.read()
            while data:
                self._writer.write(data)
                await self._writer.drain()
                data = await stream.read()
            self._writer.write_eof()
        finally:
            upward.cancel()
            await asyncio.wait([upward])

    def _forwarded(self, request: h11.Request) -> Headers:
        """The request's headers as the pod gets them: each request has a connection of its own."""
        upgrade = any(name == b"upgrade" for name, _ in request.headers)
        host = next((value for name, value in request.headers if name == b"host"), b"localhost")     # HTTP/1.0 may have none
        client = str(self._writer.get_extra_info("peername")[0]).encode()
        before = [value for name, value in request.headers if name == b"x-forwarded-for"]
        port = str(self._writer.get_extra_info("sockname")[1]).encode()
        own = [(b"Host", host), (b"X-Forwarded-For", b", ".join((*before, client))), (b"X-Real-IP", client), (b"X-Forwarded-Host", host),
               (b"X-Forwarded-Proto", b"http"), (b"X-Forwarded-Port", port)]
        ours = {name.lower() for name, _ in own}
        kept = [(name, value) for name, value in _kept(request.headers, upgrade=upgrade) if name.lower() not in ours]
        return own + kept + ([] if upgrade else [(b"Connection", b"close")])

    # --- the client's side

    async def _from_client(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._client.next_event()) is h11.NEED_DATA:
            self._client.receive_data(await self._reader.read(CHUNK))
        return event

    async def _to_client(self, event: h11.Event) -> None:
        self._writer.write(self._client.send(event) or b"")
        await self._writer.drain()

    async def _say(self, status: int, text: str, *, head: bool = False) -> None:
        """An answer of our own."""
        body = f"devloop: {text}\n".encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        await self._to_client(h11.Response(status_code=status, reason=HTTPStatus(status).phrase.encode(), headers=list(headers.items())))
        if not head:
            await self._to_client(h11.Data(data=body))
        await self._to_client(h11.EndOfMessage())

    async def _part(self) -> None:
        """Let the client read the whole answer: closing while it still talks would reset it."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._reader.read(CHUNK):
                    pass
        self._writer.close()
        await self._writer.wait_closed()

    def _reset(self) -> None:
        """A cut answer must not look like a whole one."""
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))


def _kept(headers: Sequence[tuple[bytes, bytes]], *, upgrade: bool = False) -> Headers:
    """All but those that are about one connection only."""
    named = {part.strip().lower() for name, value in headers if name == b"connection" for part in value.split(b",")}
    found = [(name, value) for name, value in headers if name not in _HOP and (name not in named or name in (b"host", b"content-length"))]
    return found + [(name, value) for name, value in headers if upgrade and name in (b"upgrade", b"connection")]
