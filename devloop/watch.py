"""File-system noise → one settled set of dirty paths.

An event means "look at this path again", nothing more: editors save by renaming, by truncating, through backup files, and
every platform tells it differently. So only paths count here, and content decides later whether anything changed.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.clients import file_watches
from devloop.events import Emit, Notice

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

QUIET = 0.05        # a save is over when nothing happened for this long: editors' renames are 1 to 20 ms apart
LONGEST = 2.0       # a batch never takes longer than this: a process that keeps writing must not starve the loop
LOOKING = "looking at the files once a second instead"


@dataclass(frozen=True)
class Root:
    """A directory to watch, with what lies below it or (`recursive` False) only the files in it."""

    path: Path
    recursive: bool = True


class Watcher:
    """Watches `roots` and hands every settled batch of dirty paths to `deliver`, from its own thread.

    `relevant` is asked once per event and must be quick: what nobody depends on neither starts a batch nor prolongs one. Where files are
    looked at, it is asked for every directory, and nothing is looked at below one that nobody depends on.
    After an overflow of the kernel's queue the roots themselves are delivered: anything below them may have changed.
    """

    def __init__(self, roots: Iterable[Root], *, relevant: Callable[[Path], bool], deliver: Callable[[frozenset[Path]], None],
                 emit: Emit) -> None:
        self._roots: tuple[Root, ...] = ()
        self._wanted = _outermost(roots)
        self._relevant = relevant
        self._deliver = deliver
        self._emit = emit
        self._observer: BaseObserver | None = None
        self._polling = False
        self._observing = threading.Lock()      # one thread changes the observer at a time
        self._dirty: set[Path] = set()
        self._grown = False                     # a directory came, and watchdog does not tell whether it got a watch
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._settle, name="watch-settle", daemon=True)
        self._overflow = _OverflowHandler(self._overflowed)

    def start(self) -> None:
        """Watch. Where the system does not tell of all changes, now or later, it says so and polls instead."""
        self._overflow.install()
        # of races within watchdog that are no harm: two threads of it adding one directory, or removing it
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="watchdog")
        with self._observing:
            self._observe()
        self._thread.start()

    def update(self, roots: Iterable[Root]) -> None:
        """Watch these roots from now on; those that stay are not interrupted."""
        wanted = _outermost(roots)
        with self._observing:
            if wanted != self._roots:
                self._wanted = wanted
                self._observe()

    def stop(self) -> None:
        """End both threads. No batch is delivered after this returns."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        _stop(self._observer)
        self._overflow.remove()

    def _observe(self) -> None:
        old = self._observer        # ends when the new one watches: nothing may slip through in between
        trouble = self._listen()
        if trouble:
            from watchdog.observers.polling import PollingObserverVFS

            if not self._polling:
                self._emit(trouble)
            self._observer = self._schedule(PollingObserverVFS(os.stat, self._entries, polling_interval=1))
        self._polling = trouble is not None
        self._roots = self._wanted
        _stop(old)

    def _listen(self) -> Notice | None:
        """Have the system tell what changes; where it cannot, why."""
        from watchdog.observers import Observer

        for root in self._wanted:
            if kind := file_watches.silent(root.path):
                return Notice(f"{root.path} is on a file system that does not tell of changes ({kind}): {LOOKING}",
                              hint="Files of this system's own are noticed at once: in WSL those below ~, not those below /mnt.",
                              level="warning")
        why = ""
        try:
            self._observer = self._schedule(Observer())
            if not file_watches.exhausted():
                return None
            _stop(self._observer)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EMFILE):
                why = f" ({error.strerror or error})"
        return Notice(f"the system's file watches ran out{why}: {LOOKING}", level="warning",
                      hint="Linux: sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512")

    def _entries(self, directory: str | None) -> Iterator[os.DirEntry[str]]:
        """What is looked at of a directory."""
        for entry in os.scandir(directory):
            if not entry.is_dir(follow_symlinks=False) or (entry.name != ".git" and self._relevant(Path(entry.path))):
                yield entry

    def _fitted(self) -> bool:
        """Whether what came is watched, too. Where it is not, all is looked at from now on."""
        with self._observing:
            if self._polling or not file_watches.exhausted():
                return True
            self._observe()
            return False

    def _schedule(self, observer: BaseObserver) -> BaseObserver:
        from watchdog import events

        class Handler(events.FileSystemEventHandler):
            on_any_event = staticmethod(self._noticed)

        kinds: list[type[FileSystemEvent]] = [
            events.FileCreatedEvent, events.FileModifiedEvent, events.FileDeletedEvent, events.FileMovedEvent, events.FileAttribEvent,
            events.DirCreatedEvent, events.DirDeletedEvent, events.DirMovedEvent]
        try:
            for root in self._wanted:
                if root.path.is_dir():
                    observer.schedule(Handler(), str(root.path), recursive=root.recursive, event_filter=kinds)
            observer.start()
        except OSError:
            _stop(observer)
            raise
        return observer

    def _noticed(self, event: FileSystemEvent) -> None:
        paths = {Path(os.fsdecode(p)) for p in (event.src_path, event.dest_path) if p}
        dirty = {p for p in paths if ".git" not in p.parts and self._relevant(p)}
        if dirty:
            self._soil(dirty, grown=event.is_directory)

    def _overflowed(self) -> None:
        self._soil({root.path for root in self._roots}, grown=True)

    def _soil(self, dirty: set[Path], *, grown: bool) -> None:
        with self._wake:
            self._dirty |= dirty
            self._grown |= grown
            self._last = time.monotonic()
            self._wake.notify()

    def _settle(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dirty or self._stopping)
                deadline = time.monotonic() + LONGEST
                while not self._stopping:
                    quiet = min(self._last + QUIET, deadline) - time.monotonic()
                    if quiet <= 0:
                        break
                    self._wake.wait(quiet)
                if self._stopping:
                    return
                batch, self._dirty = frozenset(self._dirty), set()
                grown, self._grown = self._grown, False
            if grown and not self._fitted():
                batch |= {root.path for root in self._roots}
            self._deliver(batch)


def _outermost(roots: Iterable[Root]) -> tuple[Root, ...]:
    """Without those that lie below another recursive one."""
    kept: list[Root] = []
    for root in sorted(set(roots), key=lambda r: (len(r.path.parts), r.path, not r.recursive)):
        if not any(k.path == root.path or (k.recursive and k.path in root.path.parents) for k in kept):
            kept.append(root)
    return tuple(kept)


def _stop(observer: BaseObserver | None) -> None:
    if observer is not None:
        observer.stop()
        if observer.is_alive():
            observer.join()


class _OverflowHandler(logging.Handler):
    """watchdog tells of an overflow in its log alone; this is also what keeps its log off the screen."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._overflowed = overflowed
        self._logger = logging.getLogger("watchdog")

    def install(self) -> None:
        self._logger.addHandler(self)
        self._propagate, self._logger.propagate = self._logger.propagate, False

    def remove(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagate

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.msg.lower():
            self._overflowed()


