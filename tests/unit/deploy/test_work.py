"""Requests that are made again, to a server that follows a script: what a real one says only once in a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from scripted import kube_of

from devloop.cancel import Cancel
from devloop.clients.kube import Kube
from devloop.deploy.work import working
from devloop.errors import ApiError

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}}
PATH = "/api/v1/namespaces/new/pods/bare"


def refusal(status: int, reason: str, message: str, **details: Any) -> tuple[int, Any]:
    return status, {"kind": "Status", "code": status, "reason": reason, "message": message, "details": details}


NO_ACCOUNT = refusal(403, "Forbidden", 'pods "bare" is forbidden: error looking up service account new/default: '
                                       'serviceaccount "default" not found')
NO_TOKEN = refusal(500, "ServerTimeout", "No API token found for service account \"default\", retry after the token is automatically "
                                         "created and added to the service account", retryAfterSeconds=1)
TWIN = refusal(409, "AlreadyExists", 'pods "bare" already exists')
NO_RIGHT = refusal(403, "Forbidden", 'pods "bare" is forbidden: User "me" cannot patch resource "pods"')
OTHER_ACCOUNT = refusal(403, "Forbidden", 'pods "bare" is forbidden: error looking up service account new/robot: '
                                          'serviceaccount "robot" not found')


@contextmanager
def server(tmp_path: Path, *answers: tuple[int, Any]) -> Iterator[Kube]:
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = left.pop(0)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with kube_of(Handler, tmp_path) as kube:
        yield kube
    assert not left


def applied(kube: Kube, attempts: int = 10) -> Any:
    with working(kube, "hello", lambda event: None, Cancel()) as work:
        return work.apply(PATH, POD, force=False, attempts=attempts)


def test_what_a_new_namespace_lacks_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    with server(tmp_path, NO_ACCOUNT, NO_TOKEN, TWIN, (201, POD)) as kube:
        assert applied(kube) == POD


@pytest.mark.parametrize("answer", [NO_RIGHT, OTHER_ACCOUNT], ids=["right", "account"])
def test_what_nobody_will_mend_is_an_error_at_once(tmp_path: Path, answer: tuple[int, Any]) -> None:
    with server(tmp_path, answer) as kube, pytest.raises(ApiError) as refused:
        applied(kube)
    assert refused.value.message == answer[1]["message"]


def test_what_stays_missing_is_an_error_after_the_last_attempt(tmp_path: Path) -> None:
    with server(tmp_path, NO_ACCOUNT, NO_ACCOUNT) as kube, pytest.raises(ApiError, match='serviceaccount "default" not found'):
        applied(kube, attempts=2)
