"""Reporters: the screen, plain lines, JSON lines; and the bus that feeds one of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import IO, Literal

from devloop.report.bus import Bus
from devloop.report.reporter import Reporter

__all__ = ["Bus", "Reporter", "make_reporter"]


def make_reporter(output: Literal["auto", "plain", "json"] | str, stream: IO[str], *, environ: Mapping[str, str],
                  verbose: bool = False) -> Reporter:
    """`auto`: the screen where `stream` is a terminal that can move its cursor, else plain lines. Imports only what it needs."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")      # logs hold what no Windows code page has
    if output == "json":
        from devloop.report.jsonl import JsonLines

        return JsonLines(stream)
    from devloop.report.style import wants_colour

    terminal = stream.isatty() and environ.get("TERM") != "dumb"
    if output == "auto" and terminal and not _old_windows():
        from devloop.report.console import Console

        return Console(stream, verbose=verbose, colours=wants_colour(environ, terminal=True), size=_size)
    from devloop.report.plain import Plain

    return Plain(stream, verbose=verbose, colours=wants_colour(environ, terminal=False))


def _size() -> tuple[int, int]:
    columns, rows = shutil.get_terminal_size()
    return max(columns, 20), max(rows, 4)


def _old_windows() -> bool:
    """A Windows console that does not know escape sequences."""
    if os.name != "nt":
        return False
    from rich.console import Console

    return Console().legacy_windows
