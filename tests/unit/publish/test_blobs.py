"""Two uploads that want the same blobs."""

import threading

import pytest

from devloop.cancel import Cancel
from devloop.errors import Cancelled
from devloop.publish.blobs import Blobs, Layers


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


def pushing(layers: Layers, diff_ids: set[str]) -> tuple[threading.Thread, threading.Event]:
    """A thread that pushes an image of these layers; whether it has begun to."""
    begun = threading.Event()

    def push() -> None:
        with layers.pushed(diff_ids, Cancel()):
            begun.set()

    thread = threading.Thread(target=push)
    thread.start()
    return thread, begun


def test_a_layer_is_pushed_by_one_at_a_time_until_it_is_there():
    layers = Layers()
    with layers.pushed({"base", "web"}, Cancel()):
        pushing(layers, {"job"})[0].join(5)
        thread, begun = pushing(layers, {"base", "api"})
        assert not begun.wait(0.05)
    thread.join(5)
    assert begun.is_set()
    with layers.pushed({"base", "web", "new"}, Cancel()):
        pushing(layers, {"base", "web"})[0].join(5)


def test_a_layer_whose_push_has_failed_is_pushed_by_the_next():
    layers = Layers()
    with pytest.raises(ValueError, match="lost"), layers.pushed({"base"}, Cancel()):
        raise ValueError("lost")
    with layers.pushed({"base"}, Cancel()):
        thread, begun = pushing(layers, {"base"})
        assert not begun.wait(0.05)
    thread.join(5)
