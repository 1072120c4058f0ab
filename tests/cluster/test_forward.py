"""Forwards to real pods: every byte, both ends, whatever happens to the pods."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from project import eventually

from devloop.clients.duplex import PodRef
from devloop.clients.kube import Kube
from devloop.clients.portforward import KubeDialer, Way
from devloop.config.models import PortForward
from devloop.errors import ApiError, UsageError
from devloop.events import Event, ForwardChanged, Notice
from devloop.forward import Forwarder
from devloop.pods import Pods, ready

from .cut import CuttableProxy
from .workloads import await_service_account, change, create, deployment, pod, pod_spec, shell, workload

pytestmark = pytest.mark.cluster

ECHO, DIGEST_OF_ALL, FILE, DIGEST_OF_FILE, FLOOD, SLOW, NOTHING = 7001, 7002, 7003, 7004, 7005, 7006, 7009
SERVERS = f"""head -c 20000000 /dev/urandom > /file
serve() {{ printf '#!/bin/sh\\nexec %s\\n' "$2" > /$1; chmod +x /$1; nc -ll -p $1 -e /$1 & }}
serve {ECHO} cat
serve {DIGEST_OF_ALL} sha256sum
serve {FILE} 'cat /file'
serve {DIGEST_OF_FILE} 'sha256sum /file'
serve {SLOW} 'sh -c "read line; sleep 2; echo \\$line"'
serve {FLOOD} 'cat /dev/zero'
wait"""


class Events:
    """What was emitted; waits for what is to come."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self._news = threading.Condition()

    def emit(self, event: Event) -> None:
        with self._news:
            self.seen.append(event)
            self._news.notify_all()

    def first(self, wanted: Callable[[Any], bool]) -> Any:
        with self._news:
            assert self._news.wait_for(lambda: any(wanted(e) for e in self.seen), 60), self.seen
            return next(e for e in self.seen if wanted(e))

    def port(self, resource: str, port: int | str) -> int:
        """The local port of a forward."""
        return int(self.first(lambda e: isinstance(e, ForwardChanged) and (e.resource, e.port) == (resource, str(port))).local_port)

    def await_state(self, state: str, **fields: str) -> ForwardChanged:
        found: ForwardChanged = self.first(lambda e: isinstance(e, ForwardChanged) and e.state == state
                                           and all(getattr(e, key) == value for key, value in fields.items()))
        return found


def forward(resource: str, port: int | str, **more: Any) -> PortForward:
    return PortForward.model_validate({"resource": resource, "port": port, **more})


@contextmanager
def forwarding(kube: Kube, namespace: str, *forwards: PortForward, ways: Sequence[Way] = ()) -> Iterator[tuple[Forwarder, Events]]:
    events = Events()
    pods = Pods(kube, events.emit)
    forwarder = Forwarder(kube, pods, forwards, namespace=namespace, emit=events.emit, dialer=lambda: KubeDialer(kube, ways))
    try:
        forwarder.start()
        yield forwarder, events
    finally:
        forwarder.stop()
        pods.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("devloop-forward")]


@pytest.fixture(scope="module")
def servers(kube: Kube) -> Iterator[str]:
    """A namespace with the pod ``servers``, which is up."""
    name = f"devloop-test-{secrets.token_hex(4)}"
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await_service_account(kube, name)
    probe = {"tcpSocket": {"port": FLOOD}, "periodSeconds": 1}
    create(kube, name, pod("servers", pod_spec(shell(SERVERS, ports=[{"containerPort": ECHO, "name": "echo"}], readinessProbe=probe))))
    await_ready(kube, name, "servers")
    yield name
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


def await_ready(kube: Kube, namespace: str, name: str) -> None:
    def up() -> bool:
        try:
            return ready(kube.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))
        except ApiError as error:
            if error.status != 404:
                raise
            return False

    eventually(up)


def ways(kube: Kube) -> Sequence[Way]:
    """Those that the cluster's version has."""
    known: Sequence[Way] = get_args(Way)
    return known if minor(kube) >= 30 else [way for way in known if way != "tunnel"]


def minor(kube: Kube) -> int:
    return int(kube.get("/version")["minor"].rstrip("+"))


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def receive(sock: socket.socket, size: int = -1) -> bytes:
    """`size` bytes, or all there are until the end."""
    parts = []
    while size and (data := sock.recv(1 << 18 if size < 0 else min(size, 1 << 18))):
        parts.append(data)
        size -= len(data) if size > 0 else 0
    return b"".join(parts)


def echoed(port: int, data: bytes) -> bytes:
    with connect(port) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        got = receive(sock, len(data))
        sender.join()
    return got


def test_every_byte_arrives_in_every_way_the_cluster_has(kube: Kube, servers: str) -> None:
    data = os.urandom(2_000_000)
    for way in ways(kube):
        with forwarding(kube, servers, *(forward("pod/servers", port) for port in (ECHO, FILE, DIGEST_OF_FILE)), ways=[way]) as (_, events):
            assert echoed(events.port("pod/servers", ECHO), data) == data, way
            with connect(events.port("pod/servers", DIGEST_OF_FILE)) as digest, connect(events.port("pod/servers", FILE)) as file:
                expected = receive(digest, 64).decode()
                assert hashlib.sha256(receive(file, 20_000_000)).hexdigest() == expected, way


def test_the_cluster_is_spoken_to_in_the_best_way_it_has(kube: Kube, servers: str) -> None:
    async def dial() -> Way | None:
        dialer = KubeDialer(kube)
        stream = await dialer.dial(PodRef(servers, "servers", "uid"), FILE)
        assert await stream.read()
        stream.close()
        await dialer.close()
        return dialer.way

    assert asyncio.run(dial()) == ("tunnel" if minor(kube) >= 31 else "spdy")      # 1.30 has the tunnel switched off


def test_a_client_that_has_said_all_is_still_answered(kube: Kube, servers: str) -> None:
    [status] = kube.get(f"/api/v1/namespaces/{servers}/pods/servers")["status"]["containerStatuses"]
    docker = status["containerID"].startswith("docker:")      # its programs see the end; containerd would cut the answer off after a second
    port, data = DIGEST_OF_ALL if docker else SLOW, os.urandom(3_000_000)
    for way in ways(kube):
        if docker and way == "channels":      # it has no way to say so
            continue
        with forwarding(kube, servers, forward("pod/servers", port), ways=[way]) as (_, events), \
                connect(events.port("pod/servers", port)) as sock:
            sock.sendall(data if docker else b"hello\n")
            sock.shutdown(socket.SHUT_WR)
            assert receive(sock).split()[0].decode() == (hashlib.sha256(data).hexdigest() if docker else "hello"), way


def test_many_connections_at_once(kube: Kube, servers: str) -> None:
    with forwarding(kube, servers, forward("pod/servers", ECHO)) as (_, events), ThreadPoolExecutor(200) as threads:
        port = events.port("pod/servers", ECHO)
        everyone = threading.Barrier(200, timeout=60)

        def talk(number: int) -> bytes:
            with connect(port) as sock:
                sock.sendall(b"%06d" % number)
                got = receive(sock, 6)
                everyone.wait()            # all of them are open now
                sock.sendall(b"again")
                return got + receive(sock, 5)

        assert list(threads.map(talk, range(200))) == [b"%06dagain" % number for number in range(200)]


def test_a_client_that_does_not_read_stops_the_pod_and_disturbs_nobody(kube: Kube, servers: str) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with forwarding(kube, servers, forward("pod/servers", FLOOD), forward("pod/servers", ECHO)) as (_, events):
        echo = events.port("pod/servers", ECHO)
        assert echoed(echo, b"before") == b"before"
        before = resident()
        with connect(events.port("pod/servers", FLOOD)) as slow:
            assert receive(slow, 1 << 20) == bytes(1 << 20)
            for _ in range(20):        # a second's worth would be more than a hundred MB
                assert echoed(echo, b"x" * 100_000) == b"x" * 100_000
                assert resident() - before < 48 << 20
            assert receive(slow, 8 << 20) == bytes(8 << 20)


def test_nothing_listening_is_told_once_with_what_there_is(kube: Kube, servers: str) -> None:
    with forwarding(kube, servers, forward("pod/servers", NOTHING)) as (_, events):
        with connect(events.port("pod/servers", NOTHING)), connect(events.port("pod/servers", NOTHING)):
            notice = events.first(lambda e: isinstance(e, Notice))
            assert f"nothing listens on port {NOTHING} in pod servers" in notice.message
            assert f"{ECHO} (echo)" in notice.message
            waiting = events.await_state("waiting", pod="servers")
            assert "does not accept" in waiting.detail
        assert len([e for e in events.seen if isinstance(e, Notice)]) == 1


def test_a_taken_port_gives_way_to_the_next_and_strict_does_not(kube: Kube, servers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with forwarding(kube, servers, forward("pod/servers", ECHO, localPort=taken)) as (forwarder, events):
            port = events.port("pod/servers", ECHO)
            notice = events.first(lambda e: isinstance(e, Notice))
            assert str(taken) in notice.message
            assert str(port) in notice.message
            assert echoed(port, b"hello") == b"hello"
            with pytest.raises(UsageError, match=f"port {taken} is taken"):
                forwarder.update([forward("pod/servers", ECHO, localPort=taken, strict=True)])
            assert echoed(port, b"hello") == b"hello"      # all as it was


def test_a_reload_touches_only_what_has_changed(kube: Kube, servers: str) -> None:
    kept, gone, new = forward("pod/servers", ECHO), forward("pod/servers", FLOOD), forward("pod/servers", FILE)
    with forwarding(kube, servers, kept, gone) as (forwarder, events):
        with connect(events.port("pod/servers", ECHO)) as stays, connect(events.port("pod/servers", FLOOD)) as ends:
            stays.sendall(b"one")
            assert receive(stays, 3) == b"one"
            assert receive(ends, 10) == bytes(10)
            port = events.port("pod/servers", FLOOD)
            forwarder.update([kept, new])
            stays.sendall(b"two")
            assert receive(stays, 3) == b"two"
            with pytest.raises(OSError, match="refused"):
                connect(port)
        with connect(events.port("pod/servers", FILE)) as file:
            assert len(receive(file, 1000)) == 1000


def test_a_reload_may_lead_the_same_port_elsewhere(kube: Kube, servers: str) -> None:
    with forwarding(kube, servers, forward("pod/servers", ECHO)) as (forwarder, events):
        port = events.port("pod/servers", ECHO)
        forwarder.update([forward("pod/servers", DIGEST_OF_FILE, localPort=port, strict=True)])
        with connect(port) as sock:
            assert len(receive(sock, 64)) == 64


def test_the_api_server_may_go_and_come_back(proxied: tuple[Kube, CuttableProxy], servers: str) -> None:
    client, proxy = proxied
    with forwarding(client, servers, forward("pod/servers", ECHO)) as (_, events):
        port = events.port("pod/servers", ECHO)
        assert echoed(port, b"hello") == b"hello"
        with connect(port) as broken:
            broken.sendall(b"x")
            assert receive(broken, 1) == b"x"
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                receive(broken)          # a cut reply must not look like a whole one
        assert echoed(port, b"again") == b"again"


# --- pods that come and go

def serving(text: str, *, more: str = "", **extra: Any) -> dict[str, Any]:
    """A container that answers over HTTP with `text`, after a while."""
    script = f"mkdir /w; echo {text} > /w/index.html; {more} sleep 0.3; exec httpd -f -h /w -p 8080"
    return shell(script, ports=[{"containerPort": 8080, "name": "web"}], **extra)


def service(name: str, **more: Any) -> Mapping[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **more}}


def curl(port: int) -> str:
    with connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        reply = b""
        while not reply.endswith(b"\n") or b"\r\n\r\n" not in reply or reply.endswith(b"\r\n\r\n"):
            data = sock.recv(4096)
            assert data, reply
            reply += data
    return reply.rpartition(b"\r\n\r\n")[2].decode().strip()


def test_a_service_that_appears_later_is_found_and_who_has_connected_is_served(kube: Kube, namespace: str) -> None:
    with forwarding(kube, namespace, forward("service/web", "http")) as (_, events), ThreadPoolExecutor(1) as thread:
        waiting = events.await_state("waiting")
        assert "no service/web" in waiting.detail
        reply = thread.submit(curl, events.port("service/web", "http"))
        create(kube, namespace, dict(service("web")))
        create(kube, namespace, deployment("web", serving("hello")))
        assert reply.result() == "hello"
        assert events.await_state("ready").pod.startswith("web-")


def test_new_connections_go_to_the_new_pod_and_old_ones_stay_while_it_ends(kube: Kube, namespace: str) -> None:
    # the old pod does not want to end: connections to it must live on, and no new one may go there
    stubborn = f"trap '' TERM; nc -ll -p {ECHO} -e cat &"
    spec = deployment("web", serving("one", more=stubborn))
    spec["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 60
    create(kube, namespace, dict(service("web")))
    ref = create(kube, namespace, spec)
    with forwarding(kube, namespace, forward("service/web", 80), forward("deployment/web", ECHO)) as (_, events):
        port = events.port("service/web", 80)
        assert curl(port) == "one"
        with connect(events.port("deployment/web", ECHO)) as open_one:
            open_one.sendall(b"one")
            assert receive(open_one, 3) == b"one"
            change(kube, ref, {"template": {"spec": {"containers": [serving("two")]}}})
            replies = []
            deadline = time.monotonic() + 60
            while not replies or replies[-1] != "two":
                replies.append(curl(port))          # each of them is answered
                assert time.monotonic() < deadline
            assert set(replies) <= {"one", "two"}
            assert [curl(port) for _ in range(5)] == ["two"] * 5
            open_one.sendall(b"still")
            assert receive(open_one, 5) == b"still"
    kube.request("DELETE", f"/api/v1/namespaces/{namespace}/pods", query={"gracePeriodSeconds": 0})


def test_a_killed_pod_is_replaced_without_the_client_noticing(kube: Kube, namespace: str) -> None:
    create(kube, namespace, deployment("web", serving("hello")))
    with forwarding(kube, namespace, forward("deployment/web", "web")) as (_, events):
        port = events.port("deployment/web", "web")
        assert curl(port) == "hello"
        name = events.await_state("ready").pod
        kube.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", query={"gracePeriodSeconds": 0})
        for _ in range(20):
            assert curl(port) == "hello"
        events.first(lambda e: isinstance(e, ForwardChanged) and e.state == "ready" and e.pod != name)


def test_a_stateful_sets_next_pod_has_the_same_name_and_is_another(kube: Kube, namespace: str) -> None:
    ref = create(kube, namespace, workload("StatefulSet", "db", pod_spec(serving("one"))))
    with forwarding(kube, namespace, forward("statefulset/db", 8080)) as (_, events):
        port = events.port("statefulset/db", 8080)
        assert curl(port) == "one"
        change(kube, ref, {"template": {"spec": {"containers": [serving("two")]}}})
        deadline = time.monotonic() + 60
        while curl(port) != "two":
            assert time.monotonic() < deadline


def test_a_changed_service_leads_elsewhere(kube: Kube, namespace: str) -> None:
    create(kube, namespace, deployment("web", serving("one")))
    create(kube, namespace, deployment("other", serving("two")))
    ref = create(kube, namespace, dict(service("web")))
    with forwarding(kube, namespace, forward("service/web", 80)) as (_, events):
        port = events.port("service/web", 80)
        assert curl(port) == "one"
        change(kube, ref, {"selector": {"app": "other"}})
        deadline = time.monotonic() + 60
        while curl(port) != "two":
            assert time.monotonic() < deadline
