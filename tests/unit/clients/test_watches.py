"""Watches that outlive the API server, on objects in this process."""

from __future__ import annotations

import threading

from devloop.clients.watches import Watches
from devloop.local.kube import LocalKube
from devloop.local.store import Store
from devloop.pods import PODS
from tests.unit.local.node import NoLogs


def test_who_has_closed_them_finds_their_threads_ended() -> None:
    store = Store()
    kube = LocalKube(store, NoLogs(), engine="unix:///nowhere")
    for _ in range(50):
        watches, heard = Watches(kube, lambda event: None), threading.Semaphore(0)
        stops = [watches.start(PODS.path("default"), {}, lambda event, heard=heard: heard.release()) for _ in range(3)]
        assert all(heard.acquire(timeout=30) for _ in stops)
        stops[0]()      # one that has ended, or is about to, is no exception
        watches.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("watch ")]
    kube.close()
    store.close()
