"""What a user of devloop can see of what runs: the lines of containers, and what ports answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self
from urllib.request import urlopen

from harness import Event, Session

from tests.conformance.cases import Lines, is_it

PATIENCE = 150.0    # seconds: the kubelet looks at a pod's ConfigMaps once a minute or so


@dataclass(frozen=True)
class Observer:
    """Looks at what the session of a project shows."""

    session: Session
    lacks: Mapping[str, str]

    def lines(self, pattern: str) -> list[Event]:
        """Those of the containers POD/CONTAINER."""
        return self.session.all("logLine", pod=lambda pod: fnmatchcase(pod, pattern.partition("/")[0]), container=pattern.partition("/")[2])

    def logs(self, stated: Mapping[str, Any], *, wait: bool = True) -> None:
        """The containers write these lines and no others."""
        for pattern, lines in stated.items():
            expected = Lines.of(lines, self.lacks)
            self._until(lambda p=pattern, e=expected: e.match([line["line"] for line in self.lines(p)]), PATIENCE if wait else 0,
                        lambda p=pattern, e=expected: f"{p} should say {e.shown()}, but says {[line['line'] for line in self.lines(p)]}")

    def order(self, stated: Sequence[Sequence[str]]) -> None:
        """These lines, POD/CONTAINER and text each, were written one after the other."""
        moments = [min(_moment(line) for line in self.lines(pattern) if line["line"] == text) for pattern, text in stated]
        assert moments == sorted(moments), f"{stated} were written at {moments}"

    def answers(self, stated: Sequence[Mapping[str, Any]]) -> None:
        """What is asked comes to answer this."""
        for asked in stated:
            url = asked.get("url") or self.url(asked)
            self._until(lambda u=url, a=asked: is_it(a, _answer(u)), PATIENCE, lambda u=url, a=asked: f"{a} answers {_answer(u)!r}")

    def url(self, asked: Mapping[str, Any]) -> str:
        """Of a forward."""
        ready = self.session.wait_for("forwardChanged", resource=asked["forward"], port=str(asked["port"]), state="ready", timeout=PATIENCE)
        return f"http://127.0.0.1:{ready['localPort']}/"

    def told(self) -> str:
        """What devloop said of late, without the containers' lines."""
        return "\n".join(json.dumps(event, ensure_ascii=False) for event in self.session.events if event["type"] != "logLine")[-8000:]

    def _until(self, seen: Callable[[], bool], seconds: float, instead: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not seen():
            assert time.monotonic() < deadline, f"{instead()}\n{self.told()}"
            assert self.session.process.poll() is None, f"devloop has ended\n{self.session.said()}"
            time.sleep(0.1)


def no_kubectl(events: Iterable[Event]) -> None:
    """No message and no hint sends the user of the Docker Engine to a cluster."""
    assert not [event for event in events if event["type"] != "logLine" and "kubectl" in json.dumps(event)]


def _answer(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode()).strip()
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def _moment(line: Event) -> tuple[str, str]:
    """The time of a line, to be compared: RFC 3339 leaves out zeros at the end."""
    second, _, fraction = line["timestamp"].removesuffix("Z").partition(".")
    return second, fraction.ljust(9, "0")


class Steady:
    """Asks a URL over and over, each time on a new connection; `failures` must stay empty, `answers` are those that came."""

    def __init__(self, url: str) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="steady")

    def _ask(self) -> None:
        while not self._stop.wait(0.03):
            try:
                with urlopen(self._url, timeout=10) as answer:
                    self.answers.append(answer.read().decode().strip())
            except OSError as error:
                self.failures.append(f"after {len(self.answers)} answers: {error}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
