"""One stream, several readers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from devloop.errors import UnreachableError
from devloop.publish.tee import tee


def stream(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield str(number).encode()


def whole(chunks: Iterable[bytes]) -> bytes:
    return b" ".join(chunks)


def first(chunks: Iterable[bytes]) -> bytes:
    return next(iter(chunks))


def test_every_reader_gets_all_of_it_in_order() -> None:
    assert tee(stream(1000), [whole, whole, whole], "test") == [b" ".join(stream(1000))] * 3


def test_a_reader_that_stops_early_does_not_hold_up_the_others() -> None:
    assert tee(stream(1000), [first, whole], "test") == [b"0", b" ".join(stream(1000))]


def test_nothing_is_read_for_nobody() -> None:
    read: list[bytes] = []

    def endless() -> Iterator[bytes]:
        while True:
            read.append(b"x")
            yield b"x"

    assert tee(endless(), [first, first], "test") == [b"x", b"x"]


def test_what_the_stream_raises_is_raised_in_every_reader() -> None:
    seen: list[Exception] = []

    def broken() -> Iterator[bytes]:
        yield b"0"
        raise UnreachableError("the Engine is gone")

    def read(chunks: Iterable[bytes]) -> None:
        try:
            list(chunks)
        except UnreachableError as error:
            seen.append(error)
            raise

    with pytest.raises(UnreachableError, match="the Engine is gone"):
        tee(broken(), [read, read], "test")
    assert len(seen) == 2


def test_what_a_reader_raises_is_raised_once_the_others_have_ended() -> None:
    ended: list[bytes] = []

    def fail(chunks: Iterable[bytes]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        tee(stream(1000), [fail, lambda chunks: ended.append(whole(chunks))], "test")
    assert ended == [b" ".join(stream(1000))]
