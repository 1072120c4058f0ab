"""Which files of a directory some sources reach, and which of them are not ignored."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devloop.config.suggest import did_you_mean
from devloop.context.globs import SPECIAL, translate
from devloop.context.ignore import IgnoreRules
from devloop.context.sources import Source
from devloop.errors import BuildError

MAX_LINKS = 40
Part = str | re.Pattern[str]


@dataclass
class Selection:
    """`entries`: what to send, by path. `patterns`: what is reached, links on the way resolved, one part per path component.
    `skipped`: what cannot be sent, with the reason."""

    entries: dict[str, os.stat_result] = field(default_factory=dict)
    patterns: list[tuple[Part, ...]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def reaches(self, path: str) -> bool:
        """Whether `path` (relative, ``.``: the root) is, is below, or is above something that a source could take."""
        parts = [] if path == "." else path.split("/")
        return any(all(name == part if isinstance(part, str) else part.fullmatch(name) for part, name in zip(pattern, parts, strict=False))
                   for pattern in self.patterns)


class Selector:
    """One walk over a context."""

    def __init__(self, root: Path, rules: IgnoreRules, *, name: str, check: Callable[[], None]) -> None:
        self._root = os.fspath(root)
        self._rules = rules
        self._name = name
        self._check = check
        self.selection = Selection()

    def select(self, sources: Sequence[Source], *, dockerfile: str, lenient: bool) -> Selection:
        """Everything the sources reach. `lenient`: wildcards that match nothing are fine, as in BuildKit; in the classic builder
        an instruction needs one match. Raises `BuildError` for a source that is not there, with the line in `dockerfile`."""
        matched: dict[int, bool] = {}
        for source in sources:
            found = self._take(source)
            matched[source.line] = matched.get(source.line, False) or found
            if not found and not source.wildcard and not source.optional:
                raise self._missing(source, dockerfile)
        for source in sources:
            if not lenient and not source.optional and not matched[source.line]:
                raise self._missing(source, dockerfile)
        return self.selection

    def _take(self, source: Source) -> bool:
        parts = tuple(_part(text) for text in _split(source.pattern))
        self.selection.patterns.append(parts)
        found = False
        for path in self._find("", parts, 0):
            found |= self._walk(path)
        return found

    # --- from a pattern to paths

    def _find(self, at: str, parts: tuple[Part, ...], links: int) -> Iterator[str]:
        """The paths that match, without symbolic links: those are followed inside of the context, as the builders do."""
        if not parts:
            yield at or "."
            return
        for name in self._names(at, parts[0]):
            path = f"{at}/{name}" if at else name
            status = self._lstat(path)
            if status is None:
                continue
            if not stat.S_ISLNK(status.st_mode):
                yield from self._find(path, parts[1:], links)
            elif links < MAX_LINKS and not self._rules.state(path)[0]:
                self._add(path, status)
                onward = (*_scoped(at, os.readlink(self._absolute(path))), *parts[1:])
                self.selection.patterns.append(onward)
                yield from self._find("", onward, links + 1)

    def _names(self, at: str, part: Part) -> list[str]:
        if isinstance(part, str):
            return [part]
        return sorted(entry.name for entry in self._scan(at or ".") if part.fullmatch(entry.name))

    # --- from a path to everything below

    def _walk(self, top: str) -> bool:
        """Add `top` and what is below it. Whether anything is there that is not ignored; the context itself always is."""
        status = self._lstat(top)
        if status is None:
            return False
        ignored, known = self._rules.state(top)
        if not stat.S_ISDIR(status.st_mode):
            return not ignored and self._add(top, status)
        before = len(self.selection.entries)
        if top != "." and not ignored:
            self._add(top, status)
        if not ignored or self._rules.may_take_back_below(top):
            self._walk_directory(top, known)
        return not ignored or len(self.selection.entries) > before

    def _walk_directory(self, top: str, known: int) -> None:
        pending = [("" if top == "." else top, known)]
        step = self._rules.step
        while pending:
            self._check()
            directory, above = pending.pop()
            prefix = directory + "/" if directory else ""
            for entry in self._scan(directory or "."):
                path = prefix + entry.name
                ignored, below = step(path, entry.name, above)
                is_directory = entry.is_dir(follow_symlinks=False)
                if not ignored and (status := _status(entry)):
                    self._add(path, status)
                if is_directory and (not ignored or self._rules.may_take_back_below(path)):
                    pending.append((path, below))

    def _add(self, path: str, status: os.stat_result) -> bool:
        entries = self.selection.entries
        if kind := _ODD.get(status.st_mode & _TYPE):
            said = f"{path} ({kind})"
            if said not in self.selection.skipped:
                self.selection.skipped.append(said)
            return False
        entries[path] = status
        above = path.rpartition("/")[0]
        while above and above not in entries:   # ignored itself, or only passed through on the way to a source
            if parent := self._lstat(above):
                entries[above] = parent
            above = above.rpartition("/")[0]
        return True

    # --- the file system

    def _absolute(self, path: str) -> str:
        return self._root if path == "." else f"{self._root}/{path}"

    def _lstat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(self._root) if path == "." else os.lstat(self._absolute(path))    # the context itself may be a link
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(self._name if path == "." else f"{self._name}/{path}", error) from error

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._absolute(path)) as found:
                return list(found)
        except (FileNotFoundError, NotADirectoryError):   # it went while we looked
            return []
        except OSError as error:
            raise unreadable(self._name if path == "." else f"{self._name}/{path}", error) from error

    # --- a source that is not there

    def _missing(self, source: Source, dockerfile: str) -> BuildError:
        what = f"{dockerfile}:{source.line}: {source.keyword} takes '{source.text}'"
        for path in self._ignored_matches(source):
            if rule := self._rules.reason(path):
                return BuildError(f"{what}, but {self._rules.source}:{rule.line} ('{rule.text}') leaves {path} out.",
                                  hint=f"Remove that line, or add '!{path}' below it.")
        for path in (said for said in self.selection.skipped if said.partition(" (")[0] == source.pattern):
            return BuildError(f"{what}, but {path} cannot be part of an image.", hint="Copy files, directories or links.")
        if target := self._dangling(source.pattern):
            return BuildError(f"{what}, a symbolic link to {target}, which is not there inside of the context {self._name}.",
                              hint="The builder sees nothing outside of the context: copy the file there, or correct the link.")
        if source.wildcard:
            return BuildError(f"{what}, but nothing in the context {self._name} matches.", hint="Paths are relative to the context.")
        above, _, name = source.pattern.rpartition("/")
        names = [entry.name for entry in self._scan(above or ".")] if self._lstat(above or ".") else []
        return BuildError(f"{what}, but the context {self._name} has no such file{did_you_mean(name, names)}",
                          hint="Paths are relative to the context, and capitals count.")

    def _ignored_matches(self, source: Source) -> Iterator[str]:
        everything = Selector(Path(self._root), IgnoreRules(), name=self._name, check=self._check)
        yield from everything._find("", tuple(_part(text) for text in _split(source.pattern)), 0)
        yield from everything.selection.entries

    def _dangling(self, path: str) -> str:
        status = self._lstat(path)
        return os.readlink(self._absolute(path)) if status and stat.S_ISLNK(status.st_mode) else ""


_TYPE = 0o170000
_ODD = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


def unreadable(name: str, error: OSError) -> BuildError:
    """`name` cannot be read, for whatever reason the system gives."""
    return BuildError(f"{name} cannot be read: {(error.strerror or str(error)).lower()}.",
                      hint="Make it readable, or leave it out of the context by a line in .dockerignore.")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _split(pattern: str) -> list[str]:
    return [] if pattern == "." else pattern.split("/")


def _part(text: str) -> Part:
    if not SPECIAL & set(text):
        return text
    try:
        return re.compile(translate(text), re.DOTALL)
    except ValueError:   # the builder says so with the step
        return text


def _scoped(at: str, target: str) -> tuple[str, ...]:
    """Where a link in directory `at` leads, with the context as the root of the file system."""
    return tuple(part for part in posixpath.normpath(posixpath.join("/", at, target)).split("/") if part)
