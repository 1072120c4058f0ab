"""The arithmetic of a Deployment's rolling update. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

from devloop.model import Object


@dataclass(frozen=True)
class Count:
    """Of one ReplicaSet: the pods that it is to have, and those that are available."""

    wanted: int
    available: int


def bounds(spec: Object) -> tuple[int, int]:
    """How many pods there may be above ``replicas``, and how many of those may be unavailable."""
    rolling, replicas = spec["strategy"].get("rollingUpdate") or {}, spec["replicas"]
    surge = _number(rolling.get("maxSurge", 0), replicas, up=True)
    unavailable = _number(rolling.get("maxUnavailable", 0), replicas, up=False)
    # with neither, nothing could move
    return surge, min(replicas, unavailable if surge or unavailable else 1)


def _number(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * of / 100
    return ceil(share) if up else floor(share)


def step(replicas: int, surge: int, unavailable: int, new: Count, old: Sequence[Count]) -> tuple[int, list[int]]:
    """What the new ReplicaSet and the old ones (the oldest first) are to have next."""
    total = new.wanted + sum(count.wanted for count in old)
    if new.wanted > replicas:
        return replicas, [count.wanted for count in old]
    if new.wanted < replicas and total < replicas + surge:
        grown = new.wanted + min(replicas - new.wanted, replicas + surge - total)
        return grown, [count.wanted for count in old]
    floor_ = replicas - unavailable
    spare = total - floor_ - (new.wanted - new.available)
    left = [count.wanted for count in old]
    if spare <= 0:
        return new.wanted, left
    # first those that serve nothing, then as many as others stand in for
    for index, count in enumerate(old):
        going = min(spare, max(0, left[index] - count.available))
        left[index] -= going
        spare -= going
    spare = min(spare, new.available + sum(min(count.available, rest) for count, rest in zip(old, left, strict=True)) - floor_)
    for index in range(len(old)):
        going = max(0, min(spare, left[index]))
        left[index] -= going
        spare -= going
    return new.wanted, left
