"""The arithmetic of a rolling update."""

from __future__ import annotations

import pytest

from devloop.local.controllers.rolling import Count, bounds, step
from devloop.model import Object


def spec(replicas: int, surge: int | str, unavailable: int | str) -> Object:
    return {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}


@pytest.mark.parametrize(("given", "expected"), [
    (spec(1, "25%", "25%"), (1, 0)), (spec(4, "25%", "25%"), (1, 1)), (spec(10, "25%", "25%"), (3, 2)), (spec(2, 0, 1), (0, 1)),
    (spec(1, "0%", "25%"), (0, 1)), (spec(0, "25%", "25%"), (0, 0)), (spec(2, 5, 5), (5, 2)),
])
def test_surge_is_rounded_up_and_unavailable_down_but_never_both_to_nothing(given: Object, expected: tuple[int, int]) -> None:
    assert bounds(given) == expected


def test_one_replica_is_replaced_only_when_the_new_one_is_available() -> None:
    assert step(1, 1, 0, Count(0, 0), [Count(1, 1)]) == (1, [1])
    assert step(1, 1, 0, Count(1, 0), [Count(1, 1)]) == (1, [1])
    assert step(1, 1, 0, Count(1, 1), [Count(1, 1)]) == (1, [0])


def test_without_surge_an_old_pod_makes_room_first() -> None:
    assert step(2, 0, 1, Count(0, 0), [Count(2, 2)]) == (0, [1])
    assert step(2, 0, 1, Count(0, 0), [Count(1, 1)]) == (1, [1])
    assert step(2, 0, 1, Count(1, 0), [Count(1, 1)]) == (1, [1])


def test_pods_that_serve_nothing_go_first() -> None:
    """A broken version in between is given up at once, the one that serves stays."""
    assert step(3, 1, 0, Count(1, 0), [Count(3, 3), Count(1, 0)]) == (1, [3, 0])
    assert step(3, 1, 0, Count(0, 0), [Count(3, 3), Count(1, 0)]) == (0, [3, 0])


def test_surplus_of_the_new_version_goes_before_anything_else() -> None:
    assert step(1, 1, 0, Count(3, 3), [Count(1, 1)]) == (1, [1])


@pytest.mark.parametrize(("replicas", "surge", "unavailable"), [(1, 1, 0), (5, 2, 1), (3, 0, 1), (4, 4, 4), (10, 3, 2), (2, 1, 1)])
def test_a_rollout_always_ends_and_never_leaves_its_bounds(replicas: int, surge: int, unavailable: int) -> None:
    """Pods become available one step after they are made."""
    new, old = Count(0, 0), [Count(replicas, replicas)]
    for _ in range(4 * replicas + 4):
        wanted, left = step(replicas, surge, unavailable, new, old)
        assert wanted + sum(left) <= replicas + surge
        assert new.available + sum(min(c.available, n) for c, n in zip(old, left, strict=True)) >= replicas - unavailable
        new, old = Count(wanted, new.wanted if new.wanted <= wanted else wanted), [Count(n, n) for n in left]
    assert (new, old) == (Count(replicas, replicas), [Count(0, 0)])
