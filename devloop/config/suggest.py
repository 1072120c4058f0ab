"""Did you mean ...?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

ALIKE = 0.65
"""From which likeness on a suggestion helps."""


def likeness(one: str, other: str) -> float:
    """From 0 to 1: the same. Case, '-' and '_' count for nothing."""
    return difflib.SequenceMatcher(None, _plain(one), _plain(other)).ratio()


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of `known` that `word` most likely stands for; empty where none comes near."""
    found = max(known, key=lambda name: likeness(word, name), default="")
    return found if likeness(word, found) >= ALIKE else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` to be put behind a message; empty where nothing comes near."""
    return f", did you mean '{found}'?" if (found := nearest(word, known)) else ""


def words(items: Iterable[str], last: str = "or") -> str:
    """``a, b or c``"""
    *most, end = items
    return f"{', '.join(most)} {last} {end}" if most else end


def _plain(word: str) -> str:
    return re.sub("[-_ ]", "", word).lower()
