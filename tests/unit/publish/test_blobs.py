"""Two uploads that want the same blobs."""

import threading

import pytest

from devloop.cancel import Cancel
from devloop.errors import Cancelled
from devloop.publish.blobs import Blobs


def waiting(blobs: Blobs, digests: set[str], cancel: Cancel) -> tuple[threading.Thread, threading.Event]:
    """A thread that takes these; whether it has."""
    taken = threading.Event()

    def take() -> None:
        try:
            blobs.take(digests, cancel)
        except Cancelled:
            return
        taken.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, taken


def test_who_wants_what_another_has_waits_until_that_is_given_back():
    blobs, cancel = Blobs(), Cancel()
    blobs.take({"a", "b"}, cancel)
    thread, taken = waiting(blobs, {"b", "c"}, cancel)

    blobs.take({"d"}, cancel)
    blobs.give({"a"})
    assert not taken.wait(0.05)
    blobs.give({"b"})
    thread.join(5)
    assert taken.is_set()


def test_who_waits_holds_nothing_of_it_yet():
    blobs, cancel = Blobs(), Cancel()
    blobs.take({"a"}, cancel)
    thread, taken = waiting(blobs, {"a", "b"}, cancel)

    blobs.take({"b"}, cancel)        # would block if the other had it
    blobs.give({"a", "b"})
    thread.join(5)
    assert taken.is_set()


def test_waiting_ends_when_it_is_cancelled():
    blobs, cancel = Blobs(), Cancel()
    blobs.take({"a"}, Cancel())
    thread, taken = waiting(blobs, {"a"}, cancel)

    cancel.cancel("a newer save")
    thread.join(5)
    assert not thread.is_alive()
    assert not taken.is_set()
    with pytest.raises(Cancelled):
        blobs.take({"z"}, cancel)
