"""devloop's tails beside ``kubectl logs -f``, in one run on one cluster: seconds for all lines of one container, and processor time.

    KUBECONFIG=... python bench/logs.py [--rounds 5] [--lines 200000] [--image busybox:1.36]

Whole processes, from their start, and from their first line, to the last line on the other end of a pipe. All take turns, so that
a busy machine is busy for each. Every line is counted: a number that is too low fails the benchmark.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from devloop.clients.kube import Kube
from devloop.config.models import Logs
from devloop.errors import ApiError
from devloop.logs import LogTailer
from devloop.pods import Pods
from devloop.report import Bus, make_reporter

NAMESPACE = "default"
LABEL = "devloop-bench"


def tail(output: str, app: str) -> None:
    """What `devloop` does for logs alone, as a process of its own."""
    environ = {"TERM": "xterm", **os.environ}
    bus = Bus(make_reporter(output, sys.stdout, environ=environ))
    kube = Kube()
    LogTailer(kube, Pods(kube, bus.emit), namespaces=[NAMESPACE], selector=f"{LABEL}={app}", config=Logs(), emit=bus.emit).start()
    signal.pause()


@contextmanager
def flooded(kube: Kube, image: str, lines: int) -> Iterator[str]:
    """A pod that has written so many lines and is silent now."""
    name = f"devloop-bench-{secrets.token_hex(3)}"
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    script = f"""awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) print "line " i " of the flood, as long as lines of logs are on the whole" }}'
                 echo done > /done; exec sleep 100000"""
    kube.request("POST", pods, body={
        "metadata": {"name": name, "labels": {LABEL: name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
            "readinessProbe": {"exec": {"command": ["test", "-e", "/done"]}, "periodSeconds": 1}}]}})
    try:
        while True:
            conditions = kube.get(f"{pods}/{name}")["status"].get("conditions", ())
            if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                break
            time.sleep(0.2)
        yield name
    finally:
        kube.request("DELETE", f"{pods}/{name}", query={"gracePeriodSeconds": 0})


def measure(command: list[str], lines: int) -> tuple[float, float, float]:
    """Seconds until the last line, of these from the first on, and processor seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    count, first = 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"FORCE_COLOR": ""}) as process:
        assert process.stdout
        while count < lines:
            data = os.read(process.stdout.fileno(), 1 << 20)
            if not data:
                sys.exit(f"{command[0]} ended after {count} of {lines} lines")
            first = first or time.perf_counter()
            count += data.count(b"\n")
        last = time.perf_counter()
        process.kill()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return last - started, last - first, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--image", default="busybox:1.36")
    parser.add_argument("--tail", nargs=2, metavar=("OUTPUT", "APP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tail:
        tail(*options.tail)
        return
    kube = Kube()
    try:
        kube.get(f"/api/v1/namespaces/{NAMESPACE}")
    except ApiError as error:
        sys.exit(error.message)
    with flooded(kube, options.image, options.lines) as name:
        own = [sys.executable, __file__, "--tail"]
        tools = {"kubectl logs -f": ["kubectl", "logs", "-f", "-n", NAMESPACE, name],
                 "devloop, plain": [*own, "plain", name],
                 "devloop, json": [*own, "json", name]}
        results: dict[str, list[tuple[float, float, float]]] = {tool: [] for tool in tools}
        for _ in range(options.rounds):
            for tool, command in tools.items():
                results[tool].append(measure(command, options.lines))
    print(f"{options.lines} lines of one container, medians of {options.rounds}:")  # noqa: T201
    for tool, rounds in results.items():
        seconds, flowing, processor = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"  {tool:20}{seconds:6.2f} s   from the first line {flowing:5.2f} s   processor {processor:5.2f} s")  # noqa: T201
    kube.close()


if __name__ == "__main__":
    main()
