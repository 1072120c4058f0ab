"""Users and groups of the image that is being built: by its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class UserError(Exception):
    pass


def owner(text: str) -> tuple[int, int]:
    """The ids of ``user[:group]``; nothing is root."""
    user, _, group = text.partition(":")
    if not user:
        return 0, 0
    entry = _entry("/etc/passwd", user)
    if user.isdigit():
        uid, gid = int(user), int(entry[3]) if entry else int(user)
    elif entry:
        uid, gid = int(entry[2]), int(entry[3])
    else:
        raise UserError(f"get uid/gid: user {user} is not a uid and does not exist on the system")
    if group:
        found = _entry("/etc/group", group)
        if not found and not group.isdigit():
            raise UserError(f"get uid/gid: group {group} is not a gid and does not exist on the system")
        gid = int(found[2]) if found else int(group)
    return uid, gid


def credentials(user: str) -> dict[str, Any]:
    """As whom a process runs, for `subprocess`."""
    if not user:
        return {}
    try:
        uid, gid = owner(user)
    except UserError as error:
        raise UserError(f"credentials: {error}") from None
    entry = _entry("/etc/passwd", user)
    if entry and not Path("/etc/group").exists():
        raise UserError("credentials: group ids for user: open: open /etc/group: no such file or directory")
    more = [int(e[2]) for e in _entries("/etc/group") if entry and len(e) > 3 and entry[0] in e[3].split(",")]
    return {"user": uid, "group": gid, "extra_groups": [gid, *more]}


def home(user: str) -> str:
    entry = _entry("/etc/passwd", user)
    return "/root" if user in ("", "root") else entry[5] if entry and len(entry) > 5 else "/"


def _entry(file: str, key: str) -> list[str] | None:
    return next((entry for entry in _entries(file) if key in (entry[0], entry[2])), None)


def _entries(file: str) -> list[list[str]]:
    try:
        text = Path(file).read_text()
    except OSError:
        return []
    return [entry for entry in (line.split(":") for line in text.splitlines()) if len(entry) > 2]
