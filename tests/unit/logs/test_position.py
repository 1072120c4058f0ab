"""A log is resumed without loss or doubling, whatever its timestamps are like."""

from __future__ import annotations

import random
from datetime import datetime

import pytest

from devloop.logs.position import CHUNK, Position, joined


def stamp(second: int, nanos: int = 0, offset: str = "Z") -> bytes:
    return f"2026-11-21T13:{second // 60:02}:{second % 60:02}.{nanos:09}{offset}".encode()


def request(log: list[tuple[bytes, int]], since: str) -> list[tuple[bytes, int]]:
    """What the API answers for a `sinceTime`: in the file's order."""
    if not since:
        return log
    first = datetime.fromisoformat(since)
    return [line for line in log if datetime.fromisoformat(line[0].decode()[:26] + "+00:00") >= first]


def test_a_log_that_is_read_at_one_go_needs_no_skipping() -> None:
    position = Position()
    assert position.resume() == ""
    assert [position.is_new(stamp(n)) for n in range(5)] == [True] * 5


@pytest.mark.parametrize("seed", range(40))
def test_however_often_it_breaks_every_line_is_read_once(seed: int) -> None:
    rand = random.Random(seed)
    moment, log = 0, []
    for number in range(400):
        moment += rand.choice((0, 0, 0, 1, 1000, 400_000_000, 3_000_000_000))
        late = rand.choice((0, 0, 0, 0, 5000))          # stdout and stderr are not quite in order
        log.append((stamp(*divmod(max(0, moment - late), 10**9)), number))
    position, read = Position(), []
    for _ in range(1000):
        if len(read) == len(log):
            break
        written = log[:min(len(log), (read[-1] + 1 if read else 0) + rand.randint(1, 60))]
        for when, number in request(written, position.resume()):
            if position.is_new(when):
                read.append(number)
            if rand.random() < 0.01:
                break
    assert read == list(range(400))


def test_lines_after_a_rotation_are_read_though_known_ones_are_gone() -> None:
    position = Position()
    assert all(position.is_new(stamp(7, n)) for n in range(100))
    position.resume()
    assert position.is_new(stamp(7, 100))


def test_a_node_may_have_a_time_zone() -> None:
    position = Position()
    assert position.is_new(b"2026-11-21T13:00:01.500000000+05:30")
    assert position.resume() == "2026-11-21T07:30:00Z"
    assert not position.is_new(b"2026-11-21T13:00:01.500000000+05:30")


def test_what_a_since_left_out_stays_out_after_a_break() -> None:
    position = Position(whole=False)
    assert position.is_new(stamp(5, 700))
    position.resume()
    assert [position.is_new(stamp(5, n)) for n in (200, 700, 900)] == [False, False, True]


def test_the_kubelets_own_complaints_are_no_lines() -> None:
    position = Position()
    assert not position.is_new(b"unable")
    assert not position.is_new(b"")
    assert position.resume() == ""


def test_pieces_of_a_long_line_are_joined() -> None:
    again = stamp(1, 5) + b" "
    line = b"a" * CHUNK + again + b"b" * CHUNK + again + b"c"
    assert joined(line) == b"a" * CHUNK + b"b" * CHUNK + b"c"


def test_bytes_that_were_not_utf8_count_once_in_the_length_of_a_piece() -> None:
    again = stamp(1, 5) + b" "
    bad = "�".encode()
    assert joined(bad * CHUNK + again + b"rest") == bad * CHUNK + b"rest"
    assert joined(b"a" * (CHUNK - 10) + bad * 10 + again + b"rest") == b"a" * (CHUNK - 10) + bad * 10 + b"rest"


def test_a_timestamp_that_the_application_wrote_stays() -> None:
    own = b"x" * (CHUNK + 7) + stamp(1, 5) + b" y"
    assert joined(own) == own
    even = b"x" * (CHUNK + 8) + stamp(1, 5) + b" y"
    assert joined(even) == even
