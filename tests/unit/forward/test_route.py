"""Whole histories of pods and connections, in an event loop without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from devloop.clients.duplex import NotConnected, PodRef
from devloop.forward import route
from devloop.forward.route import Route, State
from devloop.forward.target import Candidate

REFUSED = NotConnected("connection refused", listening=False)


def candidate(name: str, *, ready: bool = False, restarts: int = 0, port: int = 8080) -> Candidate:
    return Candidate(PodRef("ns", name, f"uid-{name}"), port, ready, restarts, ("8080 (web)",))


class Seen:
    def __init__(self) -> None:
        self.states: list[State] = []
        self.refusals: list[str] = []
        self.route = Route(self.states.append, lambda c: self.refusals.append(c.pod.name))


def run(history: Callable[[Seen], Coroutine[Any, Any, None]]) -> Seen:
    async def inside() -> Seen:
        seen = Seen()
        await asyncio.wait_for(history(seen), 10)
        return seen

    return asyncio.run(inside())


async def idle(task: asyncio.Task[Any]) -> bool:
    """Whether the task still waits after everyone had their turn."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


@pytest.fixture
def no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that refused is not due again while the test goes on, however slow the machine is."""
    monkeypatch.setattr(route, "FIRST_RETRY", 60)
    monkeypatch.setattr(route, "LAST_RETRY", 60)


def test_the_first_connection_scouts_a_new_pod_and_the_others_wait_for_it() -> None:
    async def history(seen: Seen) -> None:
        new = candidate("new")
        seen.route.update([new], "")
        assert await seen.route.choose(set()) == new
        others = [asyncio.create_task(seen.route.choose(set())) for _ in range(3)]
        assert await idle(others[0])
        seen.route.accepted(new)
        assert await asyncio.gather(*others) == [new] * 3

    assert run(history).states[-1] == ("ready", "new", "")


def test_while_the_new_pod_is_scouted_the_old_one_serves(no_second_try: None) -> None:
    async def history(seen: Seen) -> None:
        old, new = candidate("old", ready=True), candidate("new")
        seen.route.update([old], "")
        await seen.route.choose(set())
        seen.route.accepted(old)
        seen.route.update([new, old], "")
        assert await seen.route.choose(set()) == new         # the scout
        assert await seen.route.choose(set()) == old
        seen.route.failed(new, REFUSED)
        assert await seen.route.choose(set()) == old         # also for the scout

    assert run(history).states == [("ready", "old", "")]


def test_a_pod_that_refuses_is_tried_again_soon() -> None:
    async def history(seen: Seen) -> None:
        new = candidate("new")
        seen.route.update([new], "")
        for _ in range(5):
            assert await seen.route.choose(set()) == new
            seen.route.failed(new, REFUSED)

    assert run(history).states == [("waiting", "new", "pod new does not accept connections on port 8080 yet")]


def test_becoming_ready_or_restarting_is_a_reason_to_try_at_once(no_second_try: None) -> None:
    async def history(seen: Seen) -> None:
        seen.route.update([candidate("new")], "")
        seen.route.failed(await seen.route.choose(set()), REFUSED)
        again = asyncio.create_task(seen.route.choose(set()))
        assert await idle(again)
        seen.route.update([candidate("new", ready=True)], "")
        assert not await idle(again)

    run(history)


def test_a_connection_waits_for_a_pod_to_appear() -> None:
    async def history(seen: Seen) -> None:
        seen.route.update([], "there is no service/web yet")
        waiting = asyncio.create_task(seen.route.choose(set()))
        assert await idle(waiting)
        seen.route.update([candidate("new", ready=True)], "")
        assert (await waiting).pod.name == "new"

    assert run(history).states == [("waiting", "", "there is no service/web yet"), ("ready", "new", "")]


def test_a_client_that_goes_away_passes_its_turn_on() -> None:
    async def history(seen: Seen) -> None:
        new = candidate("new")
        seen.route.update([new], "")
        await seen.route.choose(set())
        waiting = [asyncio.create_task(seen.route.choose(set())) for _ in range(2)]
        assert await idle(waiting[0])
        seen.route.abandoned(new)
        waiting[0].cancel()          # it has the turn, and goes away as well
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert await waiting[1] == new

    run(history)


def test_an_undeclared_port_is_told_at_once_and_once() -> None:
    async def history(seen: Seen) -> None:
        seen.route.update([candidate("new", port=81)], "")
        for _ in range(3):
            seen.route.failed(await seen.route.choose(set()), REFUSED)

    assert run(history).refusals == ["new"]


def test_a_declared_port_may_take_its_time_before_anything_is_told() -> None:
    async def history(seen: Seen) -> None:
        seen.route.update([candidate("new")], "")
        for _ in range(3):
            seen.route.failed(await seen.route.choose(set()), REFUSED)

    assert run(history).refusals == []


def test_pods_that_went_are_named_so_that_their_connections_can_be_dropped() -> None:
    async def history(seen: Seen) -> None:
        seen.route.update([candidate("old"), candidate("older")], "")
        assert seen.route.update([candidate("new"), candidate("old", ready=True)], "") == {"uid-older"}

    run(history)


def test_each_pod_gets_its_turn_however_soon_the_first_ones_are_due_again() -> None:
    async def history(seen: Seen) -> None:
        pods = [candidate("a"), candidate("b"), candidate("c")]
        seen.route.update(pods, "")
        tried: set[Candidate] = set()
        order = []
        for _ in range(6):
            order.append(await seen.route.choose(tried))
            seen.route.failed(order[-1], REFUSED)
            await asyncio.sleep(0.02)        # longer than it takes until the first is due
        assert order == pods * 2

    run(history)
