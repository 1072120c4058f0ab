"""Watches against a server that follows a script: what a real one does only once in a while."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from scripted import kube_of

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, WatchEvent
from devloop.errors import ApiError, Cancelled, UnreachableError

PATH = "/api/v1/pods"


class Script:
    """Answers lists and watches in the order given. A watch is a list of lines to send; `asked`: the versions asked for
    (empty: a list). `watched`: one of them was a watch; `waiting`: there is no answer left."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.watched, self.waiting = threading.Event(), threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        self.asked.append(query.get("resourceVersion", [""])[0])
        if self.asked[-1]:
            self.watched.set()
        if not self.answers:
            self.waiting.set()
            handler.connection.recv(1)   # until the client goes away
            return
        answer = self.answers.pop(0)
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        handler.send_response(status)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in body if isinstance(body, list) else [body]:
            data = chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() + b"\n"
            handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if not (isinstance(body, list) and body and body[-1] == b"{"):
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True


@contextmanager
def server(tmp_path: Path, script: Script) -> Iterator[Kube]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with kube_of(Handler, tmp_path) as kube:
        yield kube


def listed(version: str, *names: str) -> Any:
    items = [{"metadata": {"name": n}} for n in names]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}


def changed(kind: str, version: str, name: str = "") -> Any:
    return {"type": kind, "object": {"kind": "Pod", "metadata": {"name": name, "resourceVersion": version}}}


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


def follow(kube: Kube, script: Script) -> list[tuple[str, list[str]]]:
    """What the watch tells until the script is at its end."""
    cancel = Cancel()
    told: list[tuple[str, list[str]]] = []

    def collect() -> None:
        for event in kube.watch(PATH, cancel=cancel):
            told.append((event.type, [o["metadata"]["name"] for o in event.objects]))

    ender = threading.Thread(target=lambda: (script.waiting.wait(20), cancel.cancel()))
    ender.start()
    with pytest.raises(Cancelled):
        collect()
    ender.join()
    return told


def test_a_watch_that_the_server_ends_goes_on_where_it_was(tmp_path: Path) -> None:
    script = Script(listed("5", "a"), [changed("ADDED", "6", "b"), changed("BOOKMARK", "9")], [changed("DELETED", "10", "a")])
    with server(tmp_path, script) as kube:
        assert follow(kube, script) == [("SNAPSHOT", ["a"]), ("ADDED", ["b"]), ("DELETED", ["a"])]
    assert script.asked == ["", "5", "9", "10"]


def test_a_watch_that_breaks_in_the_middle_of_a_line_goes_on_where_it_was(tmp_path: Path) -> None:
    script = Script(listed("5"), [changed("ADDED", "6", "b"), b"{"], [changed("MODIFIED", "7", "b")])
    with server(tmp_path, script) as kube:
        assert follow(kube, script) == [("SNAPSHOT", []), ("ADDED", ["b"]), ("MODIFIED", ["b"])]
    assert script.asked == ["", "5", "6", "7"]


@pytest.mark.parametrize("gone", [[{"type": "ERROR", "object": GONE}], (410, GONE)], ids=["event", "status"])
def test_a_version_that_has_expired_brings_a_new_snapshot(tmp_path: Path, gone: Any) -> None:
    script = Script(listed("5", "a"), [changed("ADDED", "6", "b")], gone, listed("90", "c"))
    with server(tmp_path, script) as kube:
        assert follow(kube, script) == [("SNAPSHOT", ["a"]), ("ADDED", ["b"]), ("SNAPSHOT", ["c"])]
    assert script.asked == ["", "5", "6", "", "90"]


def test_items_of_a_list_know_their_kind(tmp_path: Path) -> None:
    with server(tmp_path, Script(listed("5", "a"))) as kube:
        event = next(iter(kube.watch(PATH, cancel=Cancel())))
    assert event == WatchEvent("SNAPSHOT", ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}},))


def test_what_is_refused_is_raised(tmp_path: Path) -> None:
    forbidden = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "pods is forbidden"}
    with server(tmp_path, Script((403, forbidden))) as kube, pytest.raises(ApiError, match="pods is forbidden") as refused:
        next(iter(kube.watch(PATH, cancel=Cancel())))
    assert refused.value.status == 403


def test_another_error_in_the_watch_is_raised(tmp_path: Path) -> None:
    broken = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd has no leader"}}
    with server(tmp_path, Script(listed("5"), [broken])) as kube, pytest.raises(ApiError, match="etcd has no leader"):
        list(kube.watch(PATH, cancel=Cancel()))


def test_a_server_that_ends_every_watch_is_not_asked_without_pause(tmp_path: Path) -> None:
    script = Script(listed("5"), [], [], [])
    with server(tmp_path, script) as kube:
        cancel = Cancel()
        # counted from the first watch on: a busy machine may take long until that is asked for
        ender = threading.Thread(target=lambda: (script.watched.wait(20), script.waiting.wait(0.5), cancel.cancel()))
        ender.start()
        with pytest.raises(Cancelled):
            list(kube.watch(PATH, cancel=cancel))
        ender.join()
    assert script.asked == ["", "5"]


def test_a_request_that_gets_no_answer_can_be_called_off(tmp_path: Path) -> None:
    script, cancel = Script(), Cancel()
    with server(tmp_path, script) as kube:
        ender = threading.Thread(target=lambda: (script.waiting.wait(20), cancel.cancel()))
        ender.start()
        with pytest.raises(Cancelled):
            kube.request("GET", PATH, cancel=cancel)
        ender.join()


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with server(tmp_path, Script()) as kube:
        pass
    with pytest.raises(UnreachableError, match="does not answer"):
        kube.get(PATH)


def test_connections_probe_their_peer() -> None:
    from devloop.clients.transport import pool_manager

    with socket.create_server(("127.0.0.1", 0)) as listener, pool_manager("") as manager:
        pool = manager.connection_from_host("127.0.0.1", listener.getsockname()[1], "http")
        connection = pool._get_conn()
        connection.connect()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
        connection.close()
