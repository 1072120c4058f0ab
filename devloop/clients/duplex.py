"""What a forward needs from wherever the pods run: connections to their ports. Kept small: pods elsewhere can provide it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class PodRef:
    """One pod. `uid`: a StatefulSet's next pod has the same name.

    `half_closes`: its container runtime tells the program that we have said all and may still be answered. Docker's does; containerd
    and CRI-O do not, and cut the answer off a second later.
    """

    namespace: str
    name: str
    uid: str
    half_closes: bool = field(default=False, compare=False)     # known only when a container was made


class NotConnected(Exception):
    """No connection came about, and nothing that was sent has reached a program in the pod: trying again is safe.

    `listening` is False where the pod is there but nothing listens on the port.
    """

    def __init__(self, reason: str, *, listening: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.listening = listening


class Broken(Exception):
    """A connection ended without the pod closing it in order."""


class Duplex(Protocol):
    """One connection to a port of a pod. One task reads and one writes."""

    async def read(self) -> bytes:
        """Some bytes, none at the end. Raises `NotConnected` or `Broken`; `NotConnected` may come late, but before any byte."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises `Broken`."""
        ...

    def write_eof(self, *, listening: bool = True) -> None:
        """Nothing more will be written; reading goes on. `listening` is False where nobody wants an answer any more."""
        ...

    def close(self) -> None:
        """Done, in whatever state."""
        ...


class Dialer(Protocol):
    """Connects to pods. All of it is called in one event loop."""

    async def dial(self, pod: PodRef, port: int) -> Duplex:
        """A connection to `port` inside the pod. It may turn out only while reading that nothing listens there.

        Raises `NotConnected`; `UnreachableError` where the cluster does not answer; `ApiError` where it does not let us.
        """
        ...

    def forget(self, uid: str) -> None:
        """This pod has gone."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...
