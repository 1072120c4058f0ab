"""A CronJob's schedule, as the library for such wants it."""

from __future__ import annotations

_NAMED = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
          "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}


def five_fields(schedule: str) -> str:
    """``@hourly`` and the like written out, ``?`` as the ``*`` that it is."""
    return _NAMED.get(schedule, schedule).replace("?", "*")
