"""urllib3's connections, taught two things: a wait for an answer can be called off, and a peer that is gone is noticed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from devloop.cancel import Cancel

if TYPE_CHECKING:
    import urllib3


class _Request(threading.local):
    cancel: Cancel | None = None


_current = _Request()


@contextmanager
def cancelled_by(cancel: Cancel) -> Iterator[None]:
    """Requests made inside, in this thread, end with `Cancelled` as soon as `cancel` is: also while no answer has come yet."""
    _current.cancel = cancel
    try:
        yield
    finally:
        _current.cancel = None


def pool_manager(proxy: str, **options: Any) -> urllib3.PoolManager:
    """A ``PoolManager``, or a ``ProxyManager`` where there is a proxy, of such connections."""
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        def getresponse(self) -> Any:
            with _closing(self.sock):
                return super().getresponse()

    class Secure(HTTPSConnection):
        def getresponse(self) -> Any:
            with _closing(self.sock):
                return super().getresponse()

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    options |= {"socket_options": _socket_options()}
    manager = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


@contextmanager
def _closing(connection: Any) -> Iterator[None]:
    if _current.cancel is None:
        yield
        return
    with _current.cancel.closing(lambda: _shut(connection)):
        yield


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _socket_options() -> list[tuple[int, int, int]]:
    """A sleeping laptop or a switched network leaves connections half-open: 30 s of silence to probes end them, not hours."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"   # macOS' word for it
    for name, value in ((idle, 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30000)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
