"""``${VAR}`` and ``${VAR:-default}`` in values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from devloop.config.suggest import did_you_mean

VARIABLE = re.compile(r"\$\$|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """A variable that cannot be replaced: the `number`-th (from 0) match of `VARIABLE` in the text."""

    number: int
    text: str
    unset: bool = False


def substitute(text: str, environ: Mapping[str, str]) -> tuple[str, list[Fault]]:
    """The text with its variables replaced; ``$$`` becomes ``$``. As in a shell, the default also stands for an empty value."""
    faults: list[Fault] = []
    pieces, end = [], 0
    for number, match in enumerate(VARIABLE.finditer(text)):
        pieces.append(text[end : match.start()])
        end = match.end()
        value = "$" if match[0] == "$$" else _value(match, environ)
        if isinstance(value, str):
            pieces.append(value)
        else:
            faults.append(Fault(number, value.text, value.unset))
    return "".join(pieces) + text[end:], faults


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str | Fault:
    body = _BODY.fullmatch(match["body"])
    if body and "${" in (body["default"] or ""):
        return Fault(0, "a default cannot hold another ${...}")
    if not body or not match["end"]:
        return Fault(0, f"expected ${{NAME}} or ${{NAME:-default}}, found '{match[0]}'; write $$ for a plain $")
    name, default = body["name"], body["default"]
    value = environ.get(name, "")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):  # bytes that Python could not decode
        return Fault(0, f"the environment variable {name} is not valid UTF-8")
    if default is not None:
        return value or default
    if name in environ:
        return value
    similar = did_you_mean(name, environ) or f"; set it, or give a default: ${{{name}:-...}}"
    return Fault(0, f"the environment variable {name} is not set{similar}", unset=True)
