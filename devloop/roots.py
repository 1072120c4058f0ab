"""Where the paths that are to be watched lead now, links and all, and which directories tell of what happens there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MAX_LINKS = 40      # the kernel's own limit


@dataclass(frozen=True)
class Root:
    """A directory to watch, with what lies below it or (`recursive` False) only the files in it; or one file. It may be behind links, and
    need not be there yet."""

    path: Path
    recursive: bool = True


@dataclass(frozen=True)
class Way:
    """Where a root's path leads now. `real` has no links in it, and is the first that is missing where one is. `steps` are all names that
    were looked up on the way: who replaces one replaces the root. `turns` are those of them that are links, and the last."""

    root: Root
    real: str
    directory: bool
    inode: tuple[int, int]
    steps: tuple[str, ...]
    turns: tuple[str, ...]

    def named(self, path: str) -> Path | None:
        """What is at the real `path` as the root's user would name it, if it is the root or belongs to it."""
        if path == self.real:
            return self.root.path
        inside = path.removeprefix(self.real.rstrip("/") + "/")
        belongs = self.directory and inside != path and (self.root.recursive or "/" not in inside)
        return self.root.path / inside if belongs else None

    def holds(self, directory: str) -> bool:
        """Whether what is in this real directory is below the root, however deep."""
        return self.directory and below(directory, self.real)


def way_of(root: Root) -> Way:
    """Look every name of the root's path up. What cannot be looked up is missing."""
    at, found = "/", os.lstat("/")
    steps: list[str] = []
    turns: list[str] = []
    missing = False
    pending = [*reversed(root.path.parts[1:])]
    while pending and not missing:
        name = pending.pop()
        if name == "..":
            at = os.path.dirname(at)
            continue
        step = os.path.join(at, name)
        try:
            found = os.lstat(step)
            target = os.readlink(step) if stat.S_ISLNK(found.st_mode) else ""
        except NotADirectoryError:      # it is the step before that leads no further
            missing = True
            break
        except OSError:
            target, missing = "", True
        steps.append(step)
        at = step
        if target:
            turns.append(step)
            at = "/" if target.startswith("/") else os.path.dirname(step)
            pending += reversed([part for part in target.split("/") if part not in ("", ".")])
            missing = len(turns) > MAX_LINKS
    return Way(root, at, not missing and stat.S_ISDIR(found.st_mode), (0, 0) if missing else (found.st_dev, found.st_ino),
                tuple(steps), (*turns, *steps[-1:]))


def places(ways: Iterable[Way]) -> tuple[Root, ...]:
    """The directories that tell of all that happens to roots: themselves, and those where they or links to them are entered. Inside of a
    root every step is looked after, elsewhere links and the last: above a project there may be a home directory, where much happens."""
    entered = {os.path.dirname(step) for way in ways for step in way.steps
               if step in way.turns or any(root.holds(os.path.dirname(step)) for root in ways)}
    return outermost([Root(Path(way.real), way.root.recursive) for way in ways if way.directory]
                      + [Root(Path(directory), recursive=False) for directory in entered if directory != "/"])


def below(path: str, above: str) -> bool:
    """Whether `path` is `above`, or lies below it."""
    return path == above or path.startswith(above.rstrip("/") + "/")


def outermost(roots: Iterable[Root]) -> tuple[Root, ...]:
    """Without those that lie below another recursive one."""
    kept: list[Root] = []
    for root in sorted(set(roots), key=lambda r: (len(r.path.parts), r.path, not r.recursive)):
        if not any(k.path == root.path or (k.recursive and k.path in root.path.parents) for k in kept):
            kept.append(root)
    return tuple(kept)
