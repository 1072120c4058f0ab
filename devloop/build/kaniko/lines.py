"""What the executor prints → what it says. Pure.

Its own lines are logrus' (as JSON, as it is told to; an executor that was told otherwise by its image's settings prints them coloured or as
``key=value``); all others are a RUN instruction's, or the one line without any form at the end that says what failed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from devloop.build.output import shown

_COLOURED = re.compile(r"(?:\x1b\[\d+m)?(TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)(?:\x1b\[0m)?\[[^\]]*\] ?(.*)", re.DOTALL)
_PLAIN = re.compile(r'time="[^"]*" level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+).*')
_BEHIND = re.compile(r'(.+?)(\{"level":"\w+","msg":".*","time":"[^"]*"\})')
_LEVELS = {"TRAC": "trace", "DEBU": "debug", "INFO": "info", "WARN": "warning", "ERRO": "error", "FATA": "fatal", "PANI": "panic"}


@dataclass(frozen=True)
class Said:
    """`level` is empty for what is not the executor's own."""

    level: str
    text: str


def split(line: str) -> list[str]:
    """A line of a RUN that does not end before the executor's own begins, as two."""
    match = _BEHIND.fullmatch(line)
    return [match[1], match[2]] if match else [line]


def said(line: str) -> Said:
    """One line, without its end."""
    if line.startswith('{"') and (found := _json(line)):
        return found
    if match := _COLOURED.fullmatch(line):
        return Said(_LEVELS[match[1]], shown(match[2]).rstrip())
    if match := _PLAIN.fullmatch(line):
        return Said(match[1], shown(_unquoted(match[2])))
    return Said("", shown(line))


def _json(line: str) -> Said | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not {"level", "msg", "time"} <= found.keys():
        return None
    return Said(str(found["level"]), str(found["msg"]).rstrip())


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text[1:-1]
