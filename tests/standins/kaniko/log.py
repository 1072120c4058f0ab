"""What is said, as logrus writes it: in colour, as text, or as JSON; always to stderr."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

LEVELS = {"trace": 6, "debug": 5, "info": 4, "warn": 3, "warning": 3, "error": 2, "fatal": 1, "panic": 0}
COLOURS = {"info": "36", "warning": "33", "error": "31", "fatal": "31"}
FORMATS = ("text", "color", "json")

_started = time.monotonic()
_settings: dict[str, Any] = {"level": LEVELS["info"], "format": "color", "timestamp": False}


def configure(level: str, form: str, timestamp: bool) -> None:
    if level.lower() not in LEVELS:
        raise ValueError(f'parsing log level: not a valid logrus Level: "{level}"')
    if form not in FORMATS:
        raise ValueError(f'not a valid log format: "{form}". Please specify one of (text, color, json)')
    _settings.update(level=LEVELS[level.lower()], format=form, timestamp=timestamp)


def info(message: str) -> None:
    _say("info", message)


def warning(message: str) -> None:
    _say("warning", message)


def fatal(message: str) -> None:
    _say("fatal", message)
    sys.exit(1)


def plain(message: str) -> None:
    """What ends the program is said without level and time, in every format."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def _say(level: str, message: str) -> None:
    if LEVELS[level] > _settings["level"]:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _settings["format"] == "json":
        line = json.dumps({"level": level, "msg": message, "time": now}, ensure_ascii=False, separators=(",", ":"))
        for character in "<>&":                     # Go's JSON may stand in HTML
            line = line.replace(character, f"\\u{ord(character):04x}")
    elif _settings["format"] == "text":
        quoted = message if re.fullmatch(r"[a-zA-Z0-9\-._/@^+]+", message) else json.dumps(message, ensure_ascii=False)
        line = f'time="{now}" level={level} msg={quoted}'
    else:
        when = now if _settings["timestamp"] else f"{int(time.monotonic() - _started):04d}"
        line = f"\x1b[{COLOURS[level]}m{level.upper()[:4]}\x1b[0m[{when}] {message.removesuffix(chr(10)):<44} "
    plain(line)
