"""Startup, readiness and liveness: each probe asks on a thread of its own, and tells when its verdict changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from devloop.cancel import Cancel
from devloop.errors import Cancelled
from devloop.local.pods.asking import Answer, Asked
from devloop.model import Object

Kind = Literal["startup", "readiness", "liveness"]

FIRST_LOOK = 0.05      # seconds; until a probe has passed it is asked more often than its period, ever more seldom


class Prober:
    """Asks until `cancel`.

    `verdict` is told True when the probe passes (its successThreshold), False when it fails (its failureThreshold): a liveness or
    startup probe that fails has had its say then. `unhealthy` is told each answer that counts as a failure.
    """

    def __init__(self, kind: Kind, probe: Object, asked: Asked, *, verdict: Callable[[bool], None], unhealthy: Callable[[str], None],
                 cancel: Cancel) -> None:
        self._kind: Kind = kind
        self._probe, self._asked, self._cancel = probe, asked, cancel
        self._verdict, self._unhealthy = verdict, unhealthy
        self._thread = threading.Thread(target=self._run, name=f"{kind} {asked.spec['name']}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._cancel.wait(float(self._probe.get("initialDelaySeconds") or 0))
            first = self._first() if self._kind != "liveness" and self._wanted("success") == 1 else None
            self._watch(first)
        except Cancelled:
            pass

    def _wanted(self, which: str) -> int:
        return int(self._probe.get(f"{which}Threshold") or (1 if which == "success" else 3))

    def _ask(self) -> Answer:
        return self._asked.ask(self._probe, float(self._probe.get("timeoutSeconds") or 1), self._cancel)

    def _first(self) -> bool | None:
        """Until it passes: what starts in between two of its turns is found at once. Failures count in its turns only, as on a cluster."""
        period, failures, pause = self._period(), 0, FIRST_LOOK
        turn = time.monotonic()
        while True:
            answer = self._ask()
            if answer.ok:
                return True
            now = time.monotonic()
            if now >= turn:
                turn += period
                failures += 1
                self._unhealthy(answer.text)
                if failures == self._wanted("failure"):
                    self._verdict(False)
                    if self._kind == "startup":
                        return None
            self._cancel.wait(max(0.0, min(pause, turn - time.monotonic())))
            pause = min(pause * 2, period)

    def _watch(self, passing: bool | None) -> None:
        """Every period, for ever. `passing`: the verdict so far."""
        if passing:
            self._verdict(True)
            if self._kind == "startup":
                return
            self._cancel.wait(self._period())
        elif self._kind == "startup" and self._wanted("success") == 1:
            return
        row, last = 0, passing
        while True:
            answer = self._ask()
            row = row + 1 if answer.ok == last or row == 0 else 1
            last = answer.ok
            if not answer.ok:
                self._unhealthy(answer.text)
            if row >= self._wanted("success" if answer.ok else "failure") and passing != answer.ok:
                passing = answer.ok
                self._verdict(passing)
                if self._kind == "startup" or (self._kind == "liveness" and not passing):
                    return
            self._cancel.wait(self._period())

    def _period(self) -> float:
        return float(self._probe.get("periodSeconds") or 10)
