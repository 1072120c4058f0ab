"""Tails on the real cluster: every line once, whatever happens to containers and connections."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from project import eventually

from devloop.clients.kube import Kube
from devloop.config.models import Logs
from devloop.events import Event, LogLine
from devloop.logs import LogTailer
from devloop.pods import Pods
from tests.cluster.cut import CuttableProxy

pytestmark = pytest.mark.cluster

PATIENCE = 60.0
SELECTOR = "app=talk"


class Seen:
    """Collects log lines; `wait` returns as soon as they are as wanted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.lines: list[LogLine] = []
        self.others: list[Event] = []

    def emit(self, event: Event) -> None:
        with self._changed:
            (self.lines if isinstance(event, LogLine) else self.others).append(event)  # type: ignore[arg-type]
            self._changed.notify_all()

    def of(self, container: str) -> list[str]:
        return [line.line for line in self.lines if line.container == container]

    def wait(self, wanted: Callable[[Seen], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: wanted(self), PATIENCE), f"saw {[line.line for line in self.lines[-20:]]} {self.others}"


@contextmanager
def tailing(kube: Kube, namespace: str, config: Logs | None = None) -> Iterator[tuple[Seen, LogTailer]]:
    seen = Seen()
    pods = Pods(kube, seen.emit)
    tailer = LogTailer(kube, pods, namespaces=[namespace], selector=SELECTOR, config=config or Logs(), emit=seen.emit)
    tailer.start()
    try:
        yield seen, tailer
    finally:
        tailer.stop()
        pods.close()
        # `stop` waits for them, but for two seconds at most
        eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("log ")], 5)


def pod(kube: Kube, namespace: str, name: str, *scripts: str, init: str = "", restart: str = "Never") -> None:
    """A pod whose containers c0, c1 … run these scripts."""
    def container(name: str, script: str) -> dict[str, Any]:
        return {"name": name, "image": "busybox:1.36", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]}

    kube.request("POST", f"/api/v1/namespaces/{namespace}/pods", body={
        "metadata": {"name": name, "labels": {"app": "talk"}},
        "spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 0,
                 "initContainers": [container("init", init)] if init else [],
                 "containers": [container(f"c{n}", script) for n, script in enumerate(scripts)]}})


def test_ten_thousand_lines_come_once_each_and_in_order(kube: Kube, namespace: str) -> None:
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "flood", "seq 10000; sleep 1000")
        seen.wait(lambda s: "10000" in s.of("c0"))
    assert seen.of("c0") == [str(n) for n in range(1, 10001)]
    assert {line.source for line in seen.lines} == {"flood"}


def test_odd_lines_come_whole(kube: Kube, namespace: str) -> None:
    script = (r"printf 'crlf\r\n'; printf '\n'; head -c 40000 /dev/zero | tr '\0' x; echo; head -c 16384 /dev/zero | tr '\0' y; echo; "
              r"head -c 20000 /dev/zero | tr '\0' '\377'; echo; printf 'nul\0nul\n'; printf 'ünïcödé\n'; printf 'no end'")
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "odd", script)
        seen.wait(lambda s: "no end" in s.of("c0"))
    assert seen.of("c0") == ["crlf", "", "x" * 40000, "y" * 16384, "�" * 20000, "nul\0nul", "ünïcödé", "no end"]


def test_every_container_is_heard_from_its_first_line(kube: Kube, namespace: str) -> None:
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "three", "echo one; sleep 1000", "echo two; sleep 1000", init="echo prepare")
        seen.wait(lambda s: len(s.lines) == 3)
    assert {(line.container, line.line, line.source) for line in seen.lines} == {
        ("init", "prepare", "three/init"), ("c0", "one", "three/c0"), ("c1", "two", "three/c1")}


def test_a_container_that_restarts_loses_no_line(kube: Kube, namespace: str) -> None:
    script = "echo begin $(cat /proc/sys/kernel/random/uuid); seq 200; printf 'last words'; exit 1"
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "crash", script, restart="Always")
        seen.wait(lambda s: s.of("c0").count("last words") == 2)
    lines = seen.of("c0")
    instances = [n for n, line in enumerate(lines) if line.startswith("begin")]
    assert len(instances) == len({lines[n] for n in instances}) == 2
    for first in instances:
        assert lines[first + 1:first + 202] == [*map(str, range(1, 201)), "last words"]


def test_pods_that_were_there_and_pods_that_come_are_read_and_the_excluded_are_not(kube: Kube, namespace: str) -> None:
    pod(kube, namespace, "early", "echo early; sleep 1000", "echo never; sleep 1000")
    with tailing(kube, namespace, Logs(exclude=["c1", "quiet-*/c?"])) as (seen, tailer):
        seen.wait(lambda s: s.of("c0") == ["early"])
        pod(kube, namespace, "quiet-one", "echo hush; sleep 1000")
        pod(kube, namespace, "late", "echo late; sleep 1000")
        seen.wait(lambda s: s.of("c0") == ["early", "late"])
        tailer.update(namespaces=[namespace], config=Logs(exclude=["quiet-*/c?"]))
        seen.wait(lambda s: s.of("c1") == ["never"])
    assert seen.of("c0") == ["early", "late"]


def test_a_deleted_pod_is_read_to_its_end(kube: Kube, namespace: str) -> None:
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "leaving", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
        seen.wait(lambda s: "ready" in s.of("c0"))
        kube.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/leaving", query={"gracePeriodSeconds": 5})
        seen.wait(lambda s: s.of("c0") == ["ready", "bye"])


def test_since_leaves_out_what_is_older(kube: Kube, namespace: str) -> None:
    pod(kube, namespace, "old", "echo older; sleep 1; echo old; sleep 2; while :; do echo new; sleep 0.2; done")
    with tailing(kube, namespace) as (seen, _):
        seen.wait(lambda s: "new" in s.of("c0"))
    with tailing(kube, namespace, Logs(since="now")) as (seen, _):
        seen.wait(lambda s: len(s.lines) > 1)
    assert set(seen.of("c0")) == {"new"}
    with tailing(kube, namespace, Logs(since="1h")) as (seen, _):
        seen.wait(lambda s: "new" in s.of("c0"))
    assert seen.of("c0")[:2] == ["older", "old"]


def test_a_cut_connection_resumes_without_loss_or_doubling(proxied: tuple[Kube, CuttableProxy], namespace: str) -> None:
    kube, proxy = proxied
    script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; echo err $i >&2; [ $((i % 30)) = 0 ] && sleep 0.05; done; sleep 1000"
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "steady", script, script)
        for reached in (300, 1000, 1500, 2500):
            seen.wait(lambda s, reached=reached: str(reached) in s.of("c0"))  # type: ignore[misc]
            eventually(proxy.cut)      # it may just be connecting anew, after the last cut
        seen.wait(lambda s: all("err 3000" in s.of(c) and "3000" in s.of(c) for c in ("c0", "c1")))
    for container in ("c0", "c1"):
        streams: dict[bool, list[str]] = defaultdict(list)
        for line in seen.of(container):
            streams[line.startswith("err")].append(line.removeprefix("err "))
        assert streams[False] == streams[True] == [str(n) for n in range(1, 3001)]


def test_stopping_ends_a_silent_tail_at_once(kube: Kube, namespace: str) -> None:
    with tailing(kube, namespace) as (seen, _):
        pod(kube, namespace, "silent", "echo one; sleep 1000")
        seen.wait(lambda s: bool(s.lines))
