"""File-system noise → one settled set of dirty paths.

An event means "look at this path again", nothing more: editors save by renaming, by truncating, through backup files, and
every platform tells it differently. So only paths count here, and content decides later whether anything changed.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from devloop.clients import file_watches
from devloop.events import Emit, Notice
from devloop.roots import Root, Way, below, places, way_of

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver, ObservedWatch

QUIET = 0.05        # a save is over when nothing happened for this long: editors' renames are 1 to 20 ms apart
LONGEST = 2.0       # a batch never takes longer than this: a process that keeps writing must not starve the loop
LOOKING = "looking at the files once a second instead"
DRAFT = re.compile(r"\.(.*\.)?sw[a-z]|4913|.*~|\.#.*|#.*#|.*___jb_.{3}___", re.DOTALL)
"""What editors put beside a file that is open or being saved: vim's swap file and its probe, backups, emacs' locks and auto-saves,
JetBrains' copies. They come and go while someone types; the save itself touches the file."""


class Watcher:
    """Watches `roots` and hands every settled batch of dirty paths to `deliver`, from its own thread.

    `relevant` is asked once per event and must be quick: what nobody depends on neither starts a batch nor prolongs one. Where files are
    looked at, it is asked for every directory, and nothing is looked at below one that nobody depends on.
    Paths are told as the roots name them, whatever links they are behind. A root that was replaced is itself delivered, as anything below
    it may have changed; after an overflow of the kernel's queue all roots are.
    """

    def __init__(self, roots: Iterable[Root], *, relevant: Callable[[Path], bool], deliver: Callable[[frozenset[Path]], None],
                 emit: Emit) -> None:
        self._wanted = tuple(dict.fromkeys(roots))
        self._relevant = relevant
        self._deliver = deliver
        self._emit = emit
        self._observer: BaseObserver | None = None
        self._polling = False
        self._observing = threading.Lock()      # one thread changes these three at a time
        self._ways: tuple[Way, ...] = ()
        self._steps: frozenset[str] = frozenset()
        self._watches: dict[Root, ObservedWatch] = {}
        self._dirty: set[Path] = set()
        self._touched: set[str] = set()         # steps that may lead elsewhere now
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
        with self._observing:
            self._wanted = tuple(dict.fromkeys(roots))
            replaced = self._observe()
        if replaced:
            self._soil(replaced)

    def stop(self) -> None:
        """End both threads. No batch is delivered after this returns."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        _stop(self._observer)
        self._overflow.remove()

    # --- what is watched; all of this with `_observing`

    def _observe(self, touched: frozenset[str] = frozenset()) -> set[Path]:
        """Watch what the roots are now, after a change of the steps `touched`. The roots that are not what they were; where they were not
        watched for a while, all."""
        before = {way.root: way for way in self._ways}
        if self._polling:
            self._fit(touched)
        elif trouble := self._listen(touched):
            from watchdog.observers.polling import PollingObserverVFS

            self._emit(trouble)
            old, self._polling, self._watches, self._ways = self._observer, True, {}, ()
            self._observer = PollingObserverVFS(os.lstat, self._entries, polling_interval=1)
            self._observer.start()
            self._fit()
            _stop(old)          # not before: nothing may slip through in between
            touched |= self._steps
        return {way.root.path for way in self._ways
                if (before.get(way.root, way) != way or not touched.isdisjoint(way.steps)) and self._relevant(way.root.path)}

    def _listen(self, touched: frozenset[str]) -> Notice | None:
        """Have the system tell what changes; where it cannot, why."""
        from watchdog.observers import Observer

        for way in map(way_of, self._wanted):
            if way not in self._ways and (kind := file_watches.silent(Path(way.real))):
                return Notice(f"{way.root.path} is on a file system that does not tell of changes ({kind}): {LOOKING}",
                              hint="Files of this system's own are noticed at once: in WSL those below ~, not those below /mnt.",
                              level="warning")
        why = ""
        try:
            if not self._observer:
                self._observer = Observer()
                self._observer.start()
            self._fit(touched)
            if not file_watches.exhausted():
                return None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EMFILE):
                why = f" ({error.strerror or error})"
        return Notice(f"the system's file watches ran out{why}: {LOOKING}", level="warning",
                      hint="Linux: sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512")

    def _fit(self, touched: frozenset[str] = frozenset()) -> None:
        """Have the observer watch what the roots are now, and nothing else. A watch is of a directory, not of its name: what was replaced
        needs a new one, even if it got the number of the old one. What stays is not interrupted."""
        while (ways := tuple(map(way_of, self._wanted))) != self._ways or touched:       # again if that has changed meanwhile
            before = {way.root: way.inode for way in self._ways}
            touched |= {way.real for way in ways if before.get(way.root, way.inode) != way.inode}
            self._ways, self._steps = ways, frozenset(step for way in ways for step in way.steps)
            wanted = places(ways)
            for place in [place for place in self._watches if any(below(str(place.path), step) for step in touched)]:
                self._unschedule(place)
            for place in wanted:
                if place not in self._watches:
                    with suppress(FileNotFoundError, NotADirectoryError):       # it has just gone
                        self._schedule(place)
            for place in self._watches.keys() - wanted:
                self._unschedule(place)
            touched = frozenset()

    def _schedule(self, place: Root) -> None:
        from watchdog import events

        class Handler(events.FileSystemEventHandler):
            on_any_event = staticmethod(self._noticed)

        kinds: list[type[FileSystemEvent]] = [
            events.FileCreatedEvent, events.FileModifiedEvent, events.FileDeletedEvent, events.FileMovedEvent, events.FileAttribEvent,
            events.DirCreatedEvent, events.DirDeletedEvent, events.DirMovedEvent]
        assert self._observer
        self._watches[place] = self._observer.schedule(Handler(), str(place.path), recursive=place.recursive, event_filter=kinds)

    def _unschedule(self, place: Root) -> None:
        assert self._observer
        self._observer.unschedule(self._watches.pop(place))

    def _entries(self, directory: str | None) -> Iterator[os.DirEntry[str]]:
        """What is looked at of a directory: of one that only leads to a root, the next step."""
        inside = any(way.holds(str(directory)) for way in self._ways)
        for entry in os.scandir(directory):
            if entry.path in self._steps or (inside and (not entry.is_dir(follow_symlinks=False) or (
                    entry.name != ".git" and any(self._relevant(path) for path in self._named(entry.path))))):
                yield entry

    # --- what happens there

    def _noticed(self, event: FileSystemEvent) -> None:
        paths = {os.fsdecode(p) for p in (event.src_path, event.dest_path) if p}
        dirty = {named for path in paths for named in self._named(path)
                 if ".git" not in named.parts and not DRAFT.fullmatch(named.name) and self._relevant(named)}
        touched = self._steps & paths if event.event_type in ("created", "deleted", "moved") else frozenset()
        if dirty or touched:
            self._soil(dirty, touched, grown=event.is_directory)

    def _named(self, path: str) -> set[Path]:
        return {named for way in self._ways if (named := way.named(path))}

    def _overflowed(self) -> None:
        self._soil({root.path for root in self._wanted if self._relevant(root.path)}, grown=True)

    def _soil(self, dirty: set[Path], touched: frozenset[str] = frozenset(), *, grown: bool = False) -> None:
        with self._wake:
            self._dirty |= dirty
            self._touched |= touched
            self._grown |= grown
            self._last = time.monotonic()
            self._wake.notify()

    def _settle(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._dirty or self._touched or self._grown or self._stopping)
                deadline = time.monotonic() + LONGEST
                while not self._stopping:
                    quiet = min(self._last + QUIET, deadline) - time.monotonic()
                    if quiet <= 0:
                        break
                    self._wake.wait(quiet)
                if self._stopping:
                    return
                batch, self._dirty = self._dirty, set()
                touched, self._touched = frozenset(self._touched), set()
                grown, self._grown = self._grown, False
            if touched or grown:
                with self._observing:
                    batch |= self._observe(touched)
            if batch:
                self._deliver(frozenset(batch))


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


