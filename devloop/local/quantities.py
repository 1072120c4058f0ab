"""Kubernetes' quantities: ``500m``, ``1.5``, ``64Mi``, ``2G``, ``1e3``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_SUFFIXES = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
             **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
             **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}}


def quantity(text: Any) -> Decimal:
    """Raises ValueError for what is none."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([numkMGTPE]|[KMGTPE]i)?", str(text))
    if not found:
        raise ValueError(f"'{text}' is not a quantity")
    return Decimal(found[1]) * _SUFFIXES[found[2] or ""]
