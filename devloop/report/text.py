"""Text that people read: amounts, sentences that fit, and lines of other programs made harmless."""

from __future__ import annotations

import re
import textwrap

from rich.cells import cell_len as cells
from rich.cells import set_cell_size

__all__ = ["cells", "fit", "harmless", "seconds", "size", "wrap"]

# A whole control sequence (colours first, for they may stay), or else a single control character
_CONTROL = re.compile(
    r"(?P<colour>\x1b\[[0-9;:]*m)"
    r"|(?P<sequence>(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x1b\\|\x07|\x9c|(?=\x1b)|$)"
    r"|\x1b[ -/]*[0-~]?)"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_ENDS = re.compile(r"[\r\n]+")


def seconds(value: float) -> str:
    """``0.4 s``, ``12.3 s``, ``2 min 05 s``."""
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60:02} s"


def size(count: int) -> str:
    """``512 B``, ``3.4 MB``; powers of 1000."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 99.95 else f"{value:.1f} {units[0]}"


def fit(text: str, width: int, ellipsis: str) -> str:
    """At most `width` cells of the text."""
    if cells(text) <= width:
        return text
    return set_cell_size(text, max(0, width - len(ellipsis))).rstrip() + ellipsis


def wrap(text: str, width: int) -> list[str]:
    """Broken between words; a word that is longer (a path, an address) stays whole."""
    return [line for part in text.splitlines() or [""]
            for line in textwrap.wrap(part, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]]


def harmless(line: str, *, colours: bool) -> list[str]:
    """What another program printed, safe for a terminal: nothing in it can move the cursor, change a title or ring a bell.

    Colours stay if wanted. A carriage return within the line would write over its own beginning: the parts become lines.
    """
    return [_without_controls(part, colours) for part in _ENDS.split(line) if part] or [""]


def _without_controls(part: str, colours: bool) -> str:
    if part.isprintable():
        return part
    coloured = False

    def replace(match: re.Match[str]) -> str:
        nonlocal coloured
        if match["colour"] or match["sequence"]:
            coloured = coloured or bool(match["colour"])
            return match["colour"] or "" if colours else ""
        code = ord(match[0])
        return f"^{chr(code ^ 64)}" if code < 128 else f"\\x{code:02x}"

    clean = _CONTROL.sub(replace, part)
    return clean + "\x1b[0m" if coloured and colours else clean
