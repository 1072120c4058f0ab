"""What the kubelet needs of the network: a sandbox per pod, which holds the pod's network for as long as the pod is there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

from devloop.cancel import Cancel
from devloop.local.network.network import Sandbox
from devloop.model import Object


class Sandboxes(Protocol):
    """`devloop.local.network.network.Network`, as far as pods need it."""

    @property
    def image(self) -> str:
        """One that is there, for whatever container needs no program."""
        ...

    def sandbox(self, pod: Object, *, labels: Mapping[str, str] | None = None, cancel: Cancel) -> Sandbox:
        """Make and start the pod's sandbox. Raises `EngineError`, `UnreachableError` or `Cancelled`."""
        ...

    def remove(self, sandbox: Sandbox) -> bool:
        """No error where it has gone. False: to be done again when the pod's containers are removed."""
        ...

    def connect(self, sandbox: Sandbox, port: int, cancel: Cancel, *, host: str = "", localhost: bool = False,
                timeout: float = 10.0) -> socket.socket:
        """A connection to what listens on the pod's own address, or to `host` from there. Raises `NotConnected`, `UnreachableError`,
        `Cancelled`."""
        ...
