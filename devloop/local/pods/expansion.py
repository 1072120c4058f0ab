"""``$(VAR)`` in commands, arguments and values, as Kubernetes expands it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, known: Mapping[str, str]) -> str:
    """``$(VAR)`` becomes the variable's value; an unknown one stays as it is, and ``$$(VAR)`` stands for ``$(VAR)``."""
    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        return known.get(found[1], found[0])

    return _REFERENCE.sub(value, text)
