"""devloop's forwards beside ``kubectl port-forward``, in one run on one cluster: MB/s down one connection, new connections per second.

    KUBECONFIG=... python bench/forward.py [--rounds 5] [--image busybox:1.36]

A connection is new, one request, its answer read, closed. Both tools take turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from devloop.clients.kube import Kube
from devloop.config.models import PortForward
from devloop.events import Event, ForwardChanged
from devloop.forward import Forwarder
from devloop.pods import Pods, ready

MEGABYTES = 200
CONNECTIONS = 50
AT_ONCE = 8
WARM_UP = 20
STUCK = 20.0              # seconds without a byte


def pod(name: str, image: str) -> dict[str, object]:
    script = f"mkdir /w; cd /w; echo hello > index.html; dd if=/dev/zero of=big bs=1M count={MEGABYTES} 2>/dev/null; exec httpd -f -p 8080"
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "web", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
                "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1}}]}}


@contextmanager
def running_pod(kube: Kube, namespace: str, image: str) -> Iterator[str]:
    name = f"devloop-bench-{secrets.token_hex(3)}"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    while True:
        try:
            kube.request("POST", pods, body=pod(name, image))
            break
        except Exception as error:  # before Kubernetes 1.24 a new namespace has no service account at first
            if "serviceaccount" not in str(error):
                raise
            time.sleep(0.2)
    try:
        while not ready(kube.get(f"{pods}/{name}")):
            time.sleep(0.2)
        yield name
    finally:
        kube.request("DELETE", f"{pods}/{name}", query={"gracePeriodSeconds": 0})


@contextmanager
def listening(*command: str) -> Iterator[int]:
    """A forward in a process of its own; its local port, which both tools print as ``127.0.0.1:PORT ->``."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline().split(":")[1].split()[0])
        process.terminate()


def serve(kube: Kube, namespace: str, name: str) -> None:
    """Be devloop's forward, until terminated."""
    def emit(event: Event) -> None:
        if isinstance(event, ForwardChanged) and event.state == "listening":
            sys.stdout.write(f"127.0.0.1:{event.local_port} -> {event.port}\n")
            sys.stdout.flush()

    forwarder = Forwarder(kube, Pods(kube, emit), [PortForward(resource=f"pod/{name}", port=8080)], namespace=namespace, emit=emit)
    forwarder.start()
    threading.Event().wait()


def get(port: int, path: str) -> int:
    """One request on a new connection; the bytes of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=STUCK) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1 << 16)
        header, _, body = head.partition(b"\r\n\r\n")
        length = int(header.lower().split(b"content-length:")[1].split()[0])
        got = len(body)
        while got < length:
            got += len(sock.recv(1 << 18))
    return got


def down(port: int) -> float:
    begun = time.perf_counter()
    return get(port, "/big") / (time.perf_counter() - begun) / 1e6


def in_turn(port: int) -> float:
    begun = time.perf_counter()
    for _ in range(CONNECTIONS):
        get(port, "/")
    return CONNECTIONS / (time.perf_counter() - begun)


def at_once(port: int) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda _: in_turn(port), range(AT_ONCE)))
    return AT_ONCE * CONNECTIONS / (time.perf_counter() - begun)


MEASURES = {"MB/s down one connection": down,
            "new connections/s, one after another": in_turn,
            f"new connections/s, {AT_ONCE} at once": at_once}


def once(command: tuple[str, ...], run: Callable[[int], float]) -> list[float]:
    """One number, from a forward just started and used a little; none where it got stuck, as kubectl does now and then."""
    with listening(*command) as port:
        try:
            for _ in range(WARM_UP):
                get(port, "/")
            return [run(port)]
        except TimeoutError:
            sys.stderr.write(f"{command[0]} got stuck\n")
            return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", default="busybox:1.36")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--serve", metavar="POD", help=argparse.SUPPRESS)
    options = parser.parse_args()
    kube = Kube(kubeconfig=os.environ.get("KUBECONFIG", ""))
    if options.serve:
        serve(kube, options.namespace, options.serve)
    found: dict[str, dict[str, list[float]]] = {measure: {"kubectl": [], "devloop": []} for measure in MEASURES}
    with running_pod(kube, options.namespace, options.image) as name:
        tools = {"kubectl": ("kubectl", "-n", options.namespace, "port-forward", f"pod/{name}", ":8080"),
                 "devloop": (sys.executable, __file__, "--namespace", options.namespace, "--serve", name)}
        for _ in range(options.rounds):
            for measure, run in MEASURES.items():
                for tool, command in tools.items():
                    found[measure][tool] += once(command, run)
    kube.close()
    medians = {measure: {tool: statistics.median(values) for tool, values in tools.items()} for measure, tools in found.items()}
    if options.json:
        sys.stdout.write(json.dumps(medians) + "\n")
        return
    sys.stdout.write(f"{'medians of ' + str(options.rounds):40} {'kubectl':>9} {'devloop':>9} {'ratio':>7}\n")
    for measure, tools in medians.items():
        sys.stdout.write(f"{measure:40} {tools['kubectl']:9.0f} {tools['devloop']:9.0f} {tools['devloop'] / tools['kubectl']:6.1f}x\n")


if __name__ == "__main__":
    main()
