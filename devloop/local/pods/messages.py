"""Files for the messages that containers leave when they end (``terminationMessagePath``).

Each container needs a file of its own from its start. To make one takes the Engine longer than a container's creation, so a
volume holds some in store, and a container that never runs is the way to them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from devloop.clients.engine_containers import EngineContainers
from devloop.local.network.network import ROLE
from devloop.local.pods.payload import File, Tar
from devloop.model import Object

DEFAULT_PATH = "/dev/termination-log"
MOST_BYTES = 4096
STORE = 128
_PLACE = "/messages"


class MessageFiles:
    """Safe from every thread."""

    def __init__(self, containers: EngineContainers, project: str, labels: Mapping[str, str], tools: str) -> None:
        self._containers, self._labels, self._tools = containers, {**labels, ROLE: "messages"}, tools
        self._name = f"devloop-{project}-messages"
        self._lock = threading.Lock()
        self._container = self._path = ""
        self._made = 0
        self._free: list[str] = []

    def prepare(self) -> None:
        """Make the first store of files; done once, by the first `take` where nobody has before."""
        with self._lock:
            if not self._container:
                self._path = self._containers.create_volume(self._name, self._labels, {})
                self._container = self._containers.create(self._name, {
                    "Image": self._tools, "Labels": self._labels, "Cmd": ["-"], "HostConfig": {"NetworkMode": "none", "Mounts": [
                        {"Type": "volume", "Source": self._name, "Target": _PLACE, "VolumeOptions": {"NoCopy": True}}]}})
                self._more()

    def take(self) -> str:
        """The name of an empty file that anybody may write."""
        self.prepare()
        with self._lock:
            if not self._free:
                self._more()
            return self._free.pop()

    def mount(self, file: str, target: str) -> Object:
        return {"Type": "bind", "Source": f"{self._path}/{file}", "Target": target, "ReadOnly": False}

    def read(self, file: str) -> str:
        """What was left in it. It is not used again."""
        return self._containers.file(self._container, f"{_PLACE}/{file}", MOST_BYTES).decode(errors="replace")

    def _more(self) -> None:
        names = [str(number) for number in range(self._made, self._made + STORE)]
        tar = Tar()
        for name in names:
            tar.file(name, File(b"", 0o666))
        self._containers.put(self._container, _PLACE, tar.done())
        self._made += STORE
        self._free = list(reversed(names))
