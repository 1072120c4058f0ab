"""Which pod a new connection goes to, right now: the best one that accepts, and one scout at a time to a better one that may soon.

Only a connection can tell that a pod accepts: its status says so up to a second late, and a probe of our own would disturb
programs that serve one client (debuggers). So the first connection of the user's own is the probe: it is tried on the new
pod, and where nothing listens there yet, nothing has reached a program, and it goes to the next pod, or waits and is tried again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from devloop.clients.duplex import NotConnected
from devloop.forward.target import Candidate

FIRST_RETRY = 0.015
LAST_RETRY = 0.5
RETRY_SHARE = 0.05        # of the time it has been failing: the wait for a slow starter grows, what it adds stays small
PATIENCE = 0.15           # a pod where nothing listens says so sooner, mostly
STARTING = 3.0            # how long a refusal needs no explaining


@dataclass(eq=False)
class _Health:
    """What connections to one candidate have shown."""

    accepting: bool = False
    scouting: bool = False      # a connection is being tried
    failing_since: float = 0.0  # 0: it is not
    next_try: float = 0.0
    told: bool = False
    tried: float = 0.0
    patience: float = PATIENCE


State = tuple[Literal["ready", "waiting"], str, str]
"""What a ForwardChanged says: the state, the pod, the detail."""


class Route:
    """The way from one forward to its pods. Lives in one event loop.

    `on_state` hears what a ForwardChanged should say, `on_refusal` of a pod where nothing listens, once.
    """

    def __init__(self, on_state: Callable[[State], None], on_refusal: Callable[[Candidate], None]) -> None:
        self._on_state, self._on_refusal = on_state, on_refusal
        self._loop = asyncio.get_running_loop()
        self._candidates: Sequence[Candidate] = ()
        self._nothing = ""
        self._healths: dict[tuple[str, int], _Health] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._state: State | None = None

    def update(self, candidates: Sequence[Candidate], nothing: str) -> set[str]:
        """The pods have changed; `nothing` says why there are none. Returns the uids of those that have gone."""
        before = set(self._candidates)
        self._candidates, self._nothing = candidates, nothing
        self._healths = {_key(c): self._healths.get(_key(c)) or _Health() for c in candidates}
        for candidate in candidates:
            if candidate not in before:
                self._health(candidate).next_try = 0.0       # it is new, became ready, or was restarted
        self._wake_all()
        self._tell()
        return {c.pod.uid for c in before} - {c.pod.uid for c in candidates}

    async def choose(self, tried: set[Candidate]) -> Candidate:
        """The pod to try next; waits until there is one. Afterwards say how it went: `accepted`, `failed` or `abandoned`.

        `tried` is the connection's own: each pod gets its turn, however fast the first ones fail again.
        """
        while (candidate := self._pick(tried)) is None:
            future = self._loop.create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake_one()         # the turn that was ours
                raise
        tried.add(candidate)
        return candidate

    def patience(self, candidate: Candidate) -> float:
        """After how many seconds without an error a connection may be taken for accepted."""
        return self._health(candidate).patience

    def accepted(self, candidate: Candidate) -> None:
        """A program in the pod took the connection."""
        health = self._health(candidate)
        if not health.accepting:
            health.accepting, health.scouting, health.failing_since, health.told = True, False, 0.0, False
            self._wake_all()
            self._tell()

    def failed(self, candidate: Candidate, error: Exception) -> None:
        """No connection came about."""
        health, now = self._health(candidate), self._loop.time()
        if health.scouting:
            health.patience = max(health.patience, 3 * (now - health.tried))
        health.accepting = health.scouting = False
        health.failing_since = health.failing_since or now
        delay = min(max(RETRY_SHARE * (now - health.failing_since), FIRST_RETRY), LAST_RETRY)
        health.next_try = now + delay
        self._loop.call_later(delay, self._wake_one)
        if isinstance(error, NotConnected) and not error.listening and not health.told:
            starting = now - health.failing_since < STARTING
            if not starting or (candidate.undeclared):
                health.told = True
                self._on_refusal(candidate)
        self._tell()

    def abandoned(self, candidate: Candidate) -> None:
        """The client went away before anything was known."""
        self._health(candidate).scouting = False
        self._wake_one()

    def _pick(self, tried: set[Candidate]) -> Candidate | None:
        now = self._loop.time()
        if tried.issuperset(self._candidates):
            tried.clear()
        for candidate in self._candidates:
            if candidate in tried:
                continue
            health = self._health(candidate)
            if health.accepting:
                return candidate
            if not health.scouting and health.next_try <= now:
                health.scouting, health.tried = True, now
                return candidate
        return None

    def _health(self, candidate: Candidate) -> _Health:
        return self._healths.get(_key(candidate)) or _Health()      # that of a pod that has gone interests nobody

    def _wake_one(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in range(len(self._waiting)):
            self._wake_one()

    def _tell(self) -> None:
        state = self._now()
        if state != self._state:
            self._state = state
            self._on_state(state)

    def _now(self) -> State:
        for candidate in self._candidates:
            health = self._health(candidate)
            if health.accepting or (candidate.ready and not health.failing_since):
                return "ready", candidate.pod.name, ""
        if self._candidates:
            best = self._candidates[0]
            return "waiting", best.pod.name, f"pod {best.pod.name} does not accept connections on port {best.port} yet"
        return "waiting", "", self._nothing


def _key(candidate: Candidate) -> tuple[str, int]:
    return candidate.pod.uid, candidate.port
