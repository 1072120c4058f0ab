"""Chunked bodies come whole, however the network has cut them."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from devloop.clients.chunked import Chunked


class Pieces:
    """A connection that brings these pieces, then its end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def read1(self, amt: int = -1, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def encoded(payload: bytes, sizes: list[int]) -> bytes:
    out = []
    for size in sizes:
        part, payload = payload[:size], payload[size:]
        out.append(b"%x\r\n%s\r\n" % (len(part), part))
    return b"".join((*out, b"0\r\n\r\n"))


@pytest.mark.parametrize("seed", range(30))
def test_a_body_is_read_whole_however_it_is_cut(seed: int) -> None:
    rand = random.Random(seed)
    sizes = [rand.randint(1, 40) for _ in range(50)]
    payload = rand.randbytes(sum(sizes))
    raw = encoded(payload, sizes)
    cuts = sorted({0, len(raw), *(rand.randrange(len(raw)) for _ in range(rand.choice((2, 40, 400))))})
    body = Chunked(Pieces([raw[a:b] for a, b in pairwise(cuts)]))
    assert b"".join(iter(body.read1, b"")) == payload
    assert body.read1() == b""


def test_a_body_that_breaks_off_is_an_error_after_what_came() -> None:
    body = Chunked(Pieces([b"5\r\nhel"]))
    assert body.read1() == b"hel"
    with pytest.raises(ConnectionError, match="closed before the end"):
        body.read1()


def test_chunk_extensions_are_passed_over() -> None:
    assert Chunked(Pieces([b"3;name=value\r\nabc\r\n0\r\n\r\n"])).read1() == b"abc"


def test_what_is_no_chunk_is_told() -> None:
    with pytest.raises(ConnectionError, match="not a chunk"):
        Chunked(Pieces([b"<html>\r\n"])).read1()
