"""Colours and symbols, and where they may be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

_CODES = {"": "", "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
          "bright green": "92", "bright yellow": "93", "bright blue": "94", "bright magenta": "95", "bright cyan": "96"}

# The sixteen colours of the terminal's own theme: readable on dark and light. Red is for failures alone.
SOURCES = ("cyan", "magenta", "green", "blue", "yellow", "bright cyan", "bright magenta", "bright green", "bright blue", "bright yellow")


@dataclass(frozen=True)
class Symbols:
    done: str
    failed: str
    changed: str
    live: str
    stale: str
    link: str
    bar: str
    hint: str
    note: str
    warning: str
    dot: str
    ellipsis: str
    spinner: str


UNICODE = Symbols(done="✓", failed="✗", changed="▸", live="●", stale="○", link="➜", bar="│", hint="→", note="·", warning="!", dot="·",
                  ellipsis="…", spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
ASCII = Symbols(done="+", failed="x", changed=">", live="*", stale="o", link="=>", bar="|", hint="->", note="-", warning="!", dot="-",
                ellipsis="...", spinner="|/-\\")


def symbols_for(stream: IO[str]) -> Symbols:
    """Unicode ones where the stream's encoding has them all."""
    try:
        "".join(vars(UNICODE).values()).encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


class Paint:
    """Adds colours, or leaves the text as it is."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __call__(self, style: str, text: str) -> str:
        """`style`: words of ``bold``, ``dim`` and a colour; ``"bold red"``."""
        if not self.enabled or not text or not style:
            return text
        return f"\x1b[{';'.join(_codes(style))}m{text}\x1b[0m"


def _codes(style: str) -> list[str]:
    if style in _CODES:
        return [_CODES[style]]
    first, _, rest = style.partition(" ")
    return [_CODES[first], *_codes(rest)]


def wants_colour(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """As https://no-color.org, https://force-color.org and https://bixense.com/clicolors say, in this order."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return environ["FORCE_COLOR"] not in ("0", "false")
    if environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    return terminal and environ.get("CLICOLOR", "1") != "0" and environ.get("TERM") != "dumb"
