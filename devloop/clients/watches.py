"""Watches that outlive the API server, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from devloop.cancel import Cancel
from devloop.clients.kube import Kube, Query, WatchEvent
from devloop.errors import ApiError, Cancelled, UnreachableError
from devloop.events import Emit, Notice

FIRST_RETRY = 0.1
LAST_RETRY = 5.0
_REFUSALS = (400, 403, 404, 405, 422)   # asking again would bring the same answer; 429 and 5xx pass by

OnEvent = Callable[[WatchEvent], None]
OnRefused = Callable[[ApiError], None]


class Watches:
    """The watches on one cluster. However many of them lose it, the user is told once, and once when all are back."""

    def __init__(self, kube: Kube, emit: Emit) -> None:
        self._kube = kube
        self._emit = emit
        self._cancel = Cancel()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._lost: set[Cancel] = set()

    def start(self, path: str, query: Query, on_event: OnEvent, on_refused: OnRefused | None = None) -> Callable[[], None]:
        """Watch the collection at `path`; `on_event` is called from the watch's thread, in order. Returns what ends the watch,
        without waiting: a call that is under way may still come to its end.

        While the API server is out of reach it is asked again, after 0.1 s at first and every 5 s at last; a new ``SNAPSHOT``
        follows. What it refuses (403 mostly) ends the watch: `on_refused`, or else a `Notice`.
        """
        cancel = self._cancel.child()

        def stop() -> None:
            cancel.detach()
            cancel.cancel("no longer needed")

        thread = threading.Thread(target=self._run, args=(path, query, on_event, on_refused or self._refused, cancel),
                                  name=f"watch {path}", daemon=True)
        with self._lock:
            self._threads = {each for each in self._threads if each.is_alive()}
            thread.start()
            self._threads.add(thread)
        return stop

    @property
    def lost(self) -> bool:
        """Some watch is without the API server at present."""
        with self._lock:
            return bool(self._lost)

    def close(self) -> None:
        """End all watches and wait until they have ended. Not to be called from one of their callbacks."""
        self._cancel.cancel("closed")
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _run(self, path: str, query: Query, on_event: OnEvent, on_refused: OnRefused, cancel: Cancel) -> None:
        delay = FIRST_RETRY
        try:
            while True:
                try:
                    for event in self._kube.watch(path, cancel=cancel, query=query):
                        self._found(cancel)
                        delay = FIRST_RETRY
                        on_event(event)
                except (UnreachableError, ApiError) as error:
                    if isinstance(error, ApiError) and error.status in _REFUSALS:
                        on_refused(error)
                        return
                    self._miss(cancel, error)
                cancel.wait(delay)
                delay = min(delay * 2, LAST_RETRY)
        except Cancelled:
            pass
        finally:
            with self._lock:
                self._lost.discard(cancel)

    def _miss(self, watch: Cancel, error: UnreachableError | ApiError) -> None:
        with self._lock:
            first = not self._lost
            self._lost.add(watch)
        if first and not watch.cancelled:
            self._emit(Notice(f"the connection to the cluster of context '{self._kube.context}' is lost: {error.message}",
                              hint="Trying again until it is back.", level="warning"))

    def _found(self, watch: Cancel) -> None:
        with self._lock:
            last = self._lost == {watch}
            self._lost.discard(watch)
        if last:
            self._emit(Notice(f"the connection to the cluster of context '{self._kube.context}' is back"))

    def _refused(self, error: ApiError) -> None:
        self._emit(Notice(f"the cluster of context '{self._kube.context}' refuses a watch: {error.message}",
                          hint=error.hint, level="warning"))
