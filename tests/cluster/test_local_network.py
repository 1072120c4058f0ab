"""The local target's network on the real Engine: names, Services, the gate, forwards and Ingress, with pods of busybox."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from devloop.clients.duplex import NotConnected
from devloop.config.models import PortForward
from devloop.forward import Forwarder
from devloop.local.network.dialer import GateStream
from devloop.pods import Pods
from tests.cluster.localnet import LocalNet, Pod, eventually

pytestmark = pytest.mark.cluster

LOCAL = "127.0.0.1"
HASHES = ("nc", "-ll", "-p", "9000", "-e", "sha256sum")      # what it has heard, once that has ended


@pytest.fixture(scope="module")
def net() -> Iterator[LocalNet]:
    found = LocalNet()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def client(net: LocalNet) -> Pod:
    """A pod that serves nothing."""
    return net.pod("client", "client", "sleep", "1000000", ready=False)


@pytest.fixture
def hashes(net: LocalNet) -> Iterator[Pod]:
    pod = net.pod("hashes", "hashes", *HASHES)
    eventually(lambda: net.listens(pod, 9000))
    yield pod
    pod.end()


def answers(client: Pod, url: str, count: int = 6) -> set[str]:
    return set(client.run("sh", "-c", f"for i in $(seq {count}); do wget -qO- {url}; done").output.split())


def everything(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(1 << 16):
        found += data
    return bytes(found)


def browse(port: int, path: str = "/", host: str = "localhost") -> str:
    with urllib.request.urlopen(urllib.request.Request(f"http://{LOCAL}:{port}{path}", headers={"Host": host}), timeout=60) as answer:
        return str(answer.read().decode().strip())


# --- names and Services


def test_a_services_names_lead_to_its_ready_pods_in_turn_from_every_namespace(net: LocalNet, client: Pod) -> None:
    net.service("web")
    pods = [net.pod(name, "web") for name in ("web-1", "web-2", "web-3")]
    far = net.pod("far", "far", "sleep", "1000000", namespace="elsewhere", ready=False)
    pods[2].ready(False)
    assert eventually(lambda: (found := answers(client, "http://web/")) == {"web-1", "web-2"} and found)
    for name in ("web.default", "web.default.svc", "web.default.svc.cluster.local"):
        assert client.get(f"http://{name}/") in {"web-1", "web-2"}
        assert far.get(f"http://{name}/") in {"web-1", "web-2"}
    assert far.run("wget", "-qO-", "http://web/").code != 0
    for pod in (*pods, far):
        pod.end()


def test_a_name_is_there_when_a_pod_begins_that_came_after_its_service(net: LocalNet) -> None:
    services = [net.service(f"early-{number}") for number in range(2)]
    resolves = "nslookup early-0.default.svc.cluster.local && nslookup early-1.default.svc.cluster.local && exec sleep 1000000"
    pod = net.pod("late", "late", "sh", "-c", resolves, ready=False)
    assert all(net.live(service)["spec"]["clusterIP"] not in ("", "None") for service in services)
    assert pod.run("nslookup", "early-0.default.svc.cluster.local").code == 0
    pod.end()


def test_what_no_service_is_called_is_known_to_be_nothing(client: Pod) -> None:
    asked = client.run("nslookup", "nobody.default.svc.cluster.local")
    assert asked.code != 0
    assert "NXDOMAIN" in asked.output


def test_a_headless_service_names_its_pods_and_each_by_its_hostname(net: LocalNet, client: Pod) -> None:
    net.service("db", clusterIP="None")
    pods = [net.pod(name, "db", hostname=name, subdomain="db") for name in ("db-0", "db-1")]
    both = {pod.sandbox.ip for pod in pods}
    eventually(lambda: both <= set(client.run("nslookup", "db.default.svc.cluster.local").output.split()))
    assert client.get("http://db-1.db:8080/") == "db-1"
    assert pods[0].run("hostname", "-f").output.strip() == "db-0.db.default.svc.cluster.local"
    pods[1].ready(False)
    eventually(lambda: client.run("nslookup", "db-1.db.default.svc.cluster.local").code != 0)
    for pod in pods:
        pod.end()


def test_an_external_name_has_the_addresses_of_what_it_names(net: LocalNet, client: Pod) -> None:
    net.make("Service", "alias", type="ExternalName", externalName=f"devloop-{net.project}-{client.ref.name}-{client.ref.uid[:8]}.test")
    net.make("Service", "own", type="ExternalName", externalName="web.default.svc.cluster.local")
    own = eventually(lambda: (found := client.run("nslookup", "own.default.svc.cluster.local")).code == 0 and found.output)
    address = client.run("nslookup", "web.default.svc.cluster.local").output.split()[-1]
    assert address in own
    # nobody here knows a name of the world: that it is asked for, and the answer brought back, is all that can be seen
    assert client.run("nslookup", "alias.default.svc.cluster.local").code != 0


def test_an_update_moves_the_backends_without_a_lost_connection(net: LocalNet) -> None:
    service = net.service("moves", type="NodePort")
    old = net.pod("old", "moves")
    port = eventually(lambda: net.live(service)["spec"]["ports"][0].get("nodePort"))
    eventually(lambda: taken(port))
    seen: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(browse(port))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: len(seen) > 5)
    new = net.pod("new", "moves")
    old.ready(False)
    eventually(lambda: "new" in seen)
    eventually(lambda: seen[-10:] == ["new"] * 10)
    old.end()
    count = len(seen)
    eventually(lambda: len(seen) > count + 20 or not asking.is_alive())
    stop.set()
    asking.join()
    assert set(seen) == {"old", "new"}
    assert set(seen[count:]) == {"new"}
    new.end()


def taken(port: int) -> bool:
    with suppress(OSError):
        return bool(browse(port))
    return False


def test_a_load_balancers_port_that_is_taken_is_another_and_told(net: LocalNet) -> None:
    with socket.create_server((LOCAL, 0)) as somebody:
        wanted = somebody.getsockname()[1]
        service = net.service("public", type="LoadBalancer", ports=[{"port": wanted, "targetPort": "http"}])
        pod = net.pod("public", "public")
        found = eventually(lambda: net.live(service).get("status", {}).get("loadBalancer", {}).get("ingress"))
        assert found[0]["ip"] == LOCAL
    assert net.told(f"port {wanted} of this machine is taken")
    pod.end()


def test_a_service_that_goes_takes_its_name_and_its_container_with_it(net: LocalNet, client: Pod) -> None:
    before = set(net.left())
    net.service("brief")
    eventually(lambda: client.run("nslookup", "brief.default.svc.cluster.local").code == 0)
    net.kube.request("DELETE", "/api/v1/namespaces/default/services/brief")
    eventually(lambda: client.run("nslookup", "brief.default.svc.cluster.local").code != 0)
    eventually(lambda: set(net.left()) <= before)


def test_a_services_container_that_somebody_removes_is_made_again(net: LocalNet, client: Pod) -> None:
    service = net.service("again")
    pod = net.pod("again", "again")
    eventually(lambda: answers(client, "http://again/", 1) == {"again"})
    address = net.live(service)["spec"]["clusterIP"]
    relay = next(each["Id"] for each in net.containers.labelled([f"devloop.dev/name={net.project}", "devloop.dev/local=service"])
                 if each["NetworkSettings"]["Networks"][net.network.name]["IPAddress"] == address)
    net.containers.remove(relay)
    pod.ready(False)
    eventually(lambda: not net.addresses(service))
    pod.ready()
    eventually(lambda: answers(client, "http://again/", 1) == {"again"})
    pod.end()


# --- the gate


def test_the_gate_reaches_a_program_that_listens_on_localhost_only(net: LocalNet) -> None:
    pod = net.pod("shy", "shy", "httpd", "-f", "-p", "127.0.0.1:7000", "-h", "/etc", ready=False)

    def said() -> bytes:
        with suppress(NotConnected), net.connect(pod, 7000, localhost=True) as sock:
            sock.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
            return everything(sock)
        return b""

    assert eventually(said).endswith(b"\r\n\r\nshy\n")
    with pytest.raises(NotConnected) as refused:
        net.connect(pod, 7000)
    assert not refused.value.listening
    pod.end()


def test_a_port_where_nothing_listens_is_refused(net: LocalNet, client: Pod) -> None:
    for localhost in (True, False):
        with pytest.raises(NotConnected) as refused:
            net.connect(client, 7, localhost=localhost)
        assert not refused.value.listening


def test_a_pod_that_has_gone_is_not_connected(net: LocalNet) -> None:
    pod = net.pod("gone", "gone", "sleep", "1000000", ready=False)
    pod.end()
    with pytest.raises(NotConnected):
        asyncio.run(net.network.dialer().dial(pod.ref, 80)).close()


def test_half_close_goes_through_and_every_byte_with_it(net: LocalNet, hashes: Pod) -> None:
    said = random.randbytes(30_000_000)
    for localhost in (True, False):
        with net.connect(hashes, 9000, localhost=localhost) as sock:
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
            assert everything(sock).split()[0].decode() == hashlib.sha256(said).hexdigest()


def test_frames_carry_it_all_and_their_end(net: LocalNet, hashes: Pod) -> None:
    async def carried() -> tuple[bytes, bytes]:
        stream = await net.network.dialer().dial(hashes.ref, 9000)
        assert isinstance(stream, GateStream)
        await stream.write(b"hello")
        stream.write_eof()
        got, end = await stream.read(), await stream.read()
        stream.close()
        return got, end

    got, end = asyncio.run(carried())
    assert (got.split()[0].decode(), end) == (hashlib.sha256(b"hello").hexdigest(), b"")


def test_two_hundred_connections_at_once(net: LocalNet) -> None:
    pod = net.pod("echo", "echo", "nc", "-ll", "-p", "9000", "-e", "cat")
    eventually(lambda: net.listens(pod, 9000))
    with ExitStack() as stack:
        socks = [stack.enter_context(net.connect(pod, 9000, localhost=True)) for _ in range(200)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%03d" % number)
        for number, sock in enumerate(socks):
            assert sock.recv(3, socket.MSG_WAITALL) == b"%03d" % number
    pod.end()


def test_forwards_go_through_the_gate_and_to_the_next_pod(net: LocalNet) -> None:
    net.service("page")
    first = net.pod("page-1", "page")
    pods = Pods(net.kube, net.events.append)
    port = 20_000 + os.getpid() % 10_000
    forwards = [PortForward.model_validate({"resource": "service/page", "port": 80, "localPort": port})]
    forwarder = Forwarder(net.kube, pods, forwards, namespace="default", emit=net.events.append, dialer=net.network.dialer)
    forwarder.start()
    try:
        at = eventually(lambda: [event.local_port for event in net.events if getattr(event, "resource", "") == "service/page"])[0]
        assert browse(at) == "page-1"
        second = net.pod("page-2", "page")
        first.end()
        assert browse(at) == "page-2"
        second.end()
    finally:
        forwarder.stop()
        pods.close()


# --- Ingress


def test_ingress_leads_by_host_and_path_and_says_what_is_missing(net: LocalNet) -> None:
    def backend(name: str) -> dict[str, object]:
        return {"service": {"name": name, "port": {"number": 80}}}

    for name in ("shop", "api"):
        net.service(name)
    net.make("Ingress", "shop", defaultBackend=backend("nobody"), rules=[{"host": "shop.test", "http": {"paths": [
        {"path": "/", "pathType": "Prefix", "backend": backend("shop")},
        {"path": "/index.html", "pathType": "Exact", "backend": backend("api")}]}}])
    pods = [net.pod(name, name) for name in ("shop", "api")]
    port = eventually(lambda: net.ingresses.port)
    assert eventually(lambda: _page(port, "/", "shop.test")) == "shop"
    assert eventually(lambda: _page(port, "/index.html", "shop.test")) == "api"
    with pytest.raises(urllib.error.HTTPError) as missing:
        browse(port, "/", "other.test")
    with missing.value as answer:
        assert answer.code == 503
        assert "service/nobody: there is no such Service" in answer.read().decode()
    assert net.told(f"Ingress is served at http://localhost:{port}")
    for pod in pods:
        pod.end()


def _page(port: int, path: str, host: str) -> str:
    """Empty while its Service has no ready pod."""
    try:
        return browse(port, path, host)
    except urllib.error.HTTPError as error:
        error.close()
        return ""
