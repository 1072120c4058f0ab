import socket
import threading

import pytest

from devloop.cancel import Cancel
from devloop.errors import Cancelled


def test_cancelling_ends_a_read_that_blocks_in_another_thread() -> None:
    here, there = socket.socketpair()
    cancel, reading, ended = Cancel(), threading.Event(), []

    def read() -> None:
        try:
            with cancel.closing(lambda: there.shutdown(socket.SHUT_RDWR)):
                reading.set()
                there.recv(1)
        except Cancelled as error:
            ended.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    reading.wait()
    cancel.cancel("a newer save")
    thread.join(5)
    here.close()
    there.close()
    assert ended == ["a newer save"]


def test_the_first_reason_counts_and_callbacks_run_once() -> None:
    cancel, calls = Cancel(), []
    cancel._add(lambda: calls.append(1))
    cancel.cancel("first")
    cancel.cancel("second")
    assert (cancel.reason, calls) == ("first", [1])


def test_a_callback_added_too_late_runs_at_once() -> None:
    cancel, calls = Cancel(), []
    cancel.cancel()
    with pytest.raises(Cancelled), cancel.closing(lambda: calls.append(1)):
        raise AssertionError("not entered")
    cancel._add(lambda: calls.append(2))
    assert calls == [2]


def test_what_the_closed_thing_complains_of_becomes_cancelled_and_other_errors_stay() -> None:
    cancel = Cancel()
    with pytest.raises(ValueError, match="ours"), cancel.closing(lambda: None):
        raise ValueError("ours")
    with pytest.raises(Cancelled), cancel.closing(lambda: None):
        cancel.cancel()
        raise OSError("bad file descriptor")


def test_a_callback_is_forgotten_when_its_block_ends() -> None:
    cancel, calls = Cancel(), []
    with cancel.closing(lambda: calls.append(1)):
        pass
    cancel.cancel()
    assert calls == []


def test_a_child_ends_with_its_parent_but_not_the_other_way_round() -> None:
    parent = Cancel()
    child = parent.child()
    child.cancel("alone")
    assert not parent.cancelled
    other = parent.child()
    parent.cancel("all")
    assert other.reason == "all"


def test_a_detached_child_outlives_its_parent() -> None:
    parent = Cancel()
    child = parent.child()
    child.detach()
    parent.cancel()
    assert not child.cancelled


def test_waiting_ends_with_the_cancel() -> None:
    cancel = Cancel()
    threading.Timer(0.01, cancel.cancel).start()
    with pytest.raises(Cancelled):
        cancel.wait(60)
