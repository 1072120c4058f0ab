"""A whole `devloop dev` session as events with the seconds before each, and what is needed to show it."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

from devloop.events import (
    ConfigReloaded,
    Event,
    Failure,
    ForwardChanged,
    GenerationFinished,
    GenerationStarted,
    LogLine,
    Notice,
    ObjectApplied,
    SessionStarted,
    StepFinished,
    StepOutput,
    StepProgress,
    StepStarted,
)

TAG = "3f9a2b1c0d4e5f60718293a4b5c6d7e8"


def log(line: str, source: str = "web", pod: str = "web-7d9f-x7k2p", workload: str = "deployment/web") -> LogLine:
    return LogLine("default", pod, "main", line, "2026-11-21T13:00:00.123456789Z", workload, source)


ERROR = ("src/app.ts(12,7): error TS2322: Type 'string' is not assignable to type 'number'.", "1 error")

SESSION: list[tuple[float, Event]] = [
    (0, SessionStarted("dev", "hello", "kind-dev", "default", "kind", "a local kind cluster")),
    (0, GenerationStarted(1, (), 0)),
    (0, ForwardChanged("service/hello", "http", "127.0.0.1", 8080, "listening")),
    (0, ForwardChanged("service/db", "5432", "127.0.0.1", 5433, "listening", detail="port 5432 is taken by postgres (pid 812)")),
    (0, StepStarted("build", "hello-web")),
    (0, StepStarted("build", "hello-api")),
    (0.4, StepFinished("build", "hello-web", 0.4, f"hello-web:{TAG}", True)),
    (0.1, StepProgress("build", "hello-api", "RUN npm ci", 3, 5, "steps")),
    (1.0, StepOutput("build", "hello-api", "added 312 packages\x1b[K")),
    (0.5, StepFinished("build", "hello-api", 2.0, f"ghcr.io/acme/hello-api:{TAG}")),
    (0, Notice("imagePullPolicy Always became IfNotPresent for hello-web: its image is only on this machine")),
    (0, StepStarted("deploy")),
    (0, ObjectApplied("created", "deployment/web", "default")),
    (0.1, StepFinished("deploy", "", 0.1, "1 created")),
    (0, StepStarted("rollout", "deployment/web")),
    (0, log("listening on :8080")),
    (1.2, StepProgress("rollout", "deployment/web", "0 of 1 pods ready: the readiness probe answers 503", 0, 1, "pods")),
    (0.1, log("\x1b[32mINFO\x1b[0m ready\x1b[2J\x07")),
    (0.1, StepFinished("rollout", "deployment/web", 1.4, "1 pod")),
    (0, ForwardChanged("service/hello", "http", "127.0.0.1", 8080, "ready", "web-7d9f-x7k2p")),
    (0, GenerationFinished(1, "live", 3.5)),
    (5, log("GET /\t200")),
    (9, GenerationStarted(2, ("web/index.html", "web/app.css"), 7)),
    (0, StepStarted("build", "hello-web")),
    (0.3, StepFinished("build", "hello-web", 0.3, f"hello-web:{TAG}")),
    (0, StepStarted("deploy")),
    (0, ObjectApplied("configured", "deployment/web", "default", "new image")),
    (0.1, StepFinished("deploy", "", 0.1, "1 configured, 3 unchanged")),
    (0, StepStarted("rollout", "deployment/web")),
    (0, StepStarted("rollout", "deployment/api")),
    (0, StepFinished("rollout", "deployment/api", 0.0, "2 pods", True)),
    (0.5, log("shutting down", "web old")),
    (0.2, StepFinished("rollout", "deployment/web", 0.7, "1 pod")),
    (0, GenerationFinished(2, "live", 1.1)),
    (30, GenerationStarted(3, ("web/Dockerfile",), 1)),
    (0, StepStarted("build", "hello-web")),
    (0.1, StepOutput("build", "hello-web", "Step 3/5 : RUN npm run build")),
    (0.1, StepOutput("build", "hello-web", ERROR[0])),
    (0, StepOutput("build", "hello-web", ERROR[1])),
    (0, Failure("build", "hello-web: web/Dockerfile:7: RUN npm run build ended with exit code 2", "Mend what the lines above tell.",
                ERROR, 10)),
    (0, GenerationFinished(3, "failed", 0.2)),
    (1, log("GET / 200 日本語のログ ünïcödé 🎉 and so on, a line that is longer than many a terminal is wide, and still whole")),
    (1, GenerationStarted(4, ("web/Dockerfile",), 1)),
    (0, StepStarted("build", "hello-web")),
    (0.3, GenerationFinished(4, "stale", 0.3)),
    (0, Notice("the connection to the cluster of context 'kind-dev' is lost: connection refused", "Is the cluster running?", "warning")),
    (0, ConfigReloaded("devloop.yaml")),
    (0, ObjectApplied("replaced", "job/migrate", "default", "its pod template cannot be changed")),
    (0, log("10%\r50%\r100%", "api-x2k4p", "api-55d-x2k4p", "deployment/api")),
    (0, StepProgress("delete", "", "waiting for pod/web to end", 0, 1, "pods")),
    (1.5, Failure("rollout", "deployment/web is not coming up: container web crashed with exit code 1, 3 times", "",
                  ("ModuleNotFoundError: No module named 'flask'",), 13)),
    (0, ObjectApplied("deleted", "deployment/web", "default")),
    (0, ObjectApplied("deleted", "service/hello", "default")),
]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 21, 13, 0, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Stream(io.StringIO):
    """A text stream of some encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


class Screen:
    """As much of a terminal as our output may use: text, line ends, carriage return, cursor up, erase below, colours."""

    _PART = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[0-9;]+m|[\r\n]|[^\x1b\r\n]+")

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [""]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        position = 0
        while position < len(text):
            match = self._PART.match(text, position)
            assert match, f"a terminal would have to know {text[position:position + 10]!r}"
            position = match.end()
            if match[0] == "\r":
                self._column = 0
            elif match[0] == "\n":
                self._down()
            elif match[2] == "A":
                self._row -= int(match[1])
                assert self._row >= 0
            elif match[2] == "J":
                self.rows[self._row:] = [self.rows[self._row][:self._column]]
            elif not match[0].startswith("\x1b"):
                for char in match[0]:
                    self._put(char)

    def _put(self, char: str) -> None:
        if self._column == self.width:
            self._down()
        row = self.rows[self._row]
        self.rows[self._row] = row[:self._column].ljust(self._column) + char + row[self._column + 1:]
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        self._column = 0
        if self._row == len(self.rows):
            self.rows.append("")
