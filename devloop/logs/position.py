"""Where in a container's log the reader is, so that it can go on after a break without losing or doubling a line.

The API can start a log at a given second and no finer, equal timestamps are common, and the lines of stdout and stderr may be
microseconds out of order. So lines are counted: a resumed log starts with as many known lines as were read from that second on.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

CHUNK = 16384      # the runtimes cut longer lines into pieces of this many bytes
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) ")
_REPLACED = "�".encode()


class Position:
    """How far one container's log was read. Pass it every line; `resume` tells where to start again."""

    def __init__(self, *, whole: bool = True) -> None:
        """`whole` False: the first request leaves out what is older than some moment."""
        self._whole = whole
        self._second = b"-"                # of the newest line
        self._newest = b""
        self._now = self._before = 0       # the newest second, and the second before it that had lines
        self._lines_now = self._lines_before = 0
        self._floor = b""
        self._skip = 0

    def resume(self) -> str:
        """The `sinceTime` of the next request (empty: none yet); the known lines it starts with will be skipped."""
        if not self._now:
            return ""
        self._skip = self._lines_now + self._lines_before
        return datetime.fromtimestamp(self._before or self._now - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def is_new(self, stamp: bytes) -> bool:
        """Count the line that has this timestamp; False for one that was read before, or is no line of the container at all
        (the kubelet writes its own complaints into the stream, without a timestamp)."""
        if self._skip:
            if self._floor > stamp:
                return False               # older than what a `since` let through the first time
            if stamp <= self._newest:
                self._skip -= 1
                return False
            self._skip = 0                 # the log was rotated: fewer known lines than expected
        if stamp[:19] == self._second:
            self._lines_now += 1
            self._newest = max(self._newest, stamp)
            return True
        return self._other_second(stamp)

    def _other_second(self, stamp: bytes) -> bool:
        if not _STAMP.fullmatch(stamp + b" "):
            return False
        second = int(datetime.fromisoformat(stamp[:19].decode() + _offset(stamp)).timestamp())
        if second > self._now:
            self._before, self._lines_before = self._now, self._lines_now
            self._now, self._lines_now = second, 1
            self._second, self._newest = stamp[:19], stamp
            if not self._whole:
                self._floor = self._floor or stamp
        elif second >= self._before:
            self._lines_before += 1
        return True


def _offset(stamp: bytes) -> str:
    return "+00:00" if stamp.endswith(b"Z") else stamp[-6:].decode()


def joined(text: bytes) -> bytes:
    """The line without the timestamps that kubelets before 1.26 put at the start of every further piece of it.

    A piece is exactly `CHUNK` bytes of what the container wrote; Docker has made three bytes of each that was not UTF-8.
    """
    pieces = []
    start = 0
    for match in _STAMP.finditer(text, CHUNK):
        longer = match.start() - start - CHUNK
        if longer == 0 or (longer > 0 and longer % 2 == 0 and text.count(_REPLACED, start, match.start()) * 2 >= longer):
            pieces.append(text[start : match.start()])
            start = match.end()
    return b"".join((*pieces, text[start:]))
