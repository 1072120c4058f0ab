"""Images that are put into every node's own store. The tools that do so call nearly everything a success: what counts is that each
node has the image with the id that was built."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from devloop.cancel import Cancel
from devloop.errors import PublishError
from devloop.events import Emit, StepFinished, StepStarted
from devloop.model import BuiltImage, PublishedImage
from devloop.publish.meter import Meter, size


class Loader(Protocol):
    """One way into the nodes' stores. Safe from several threads at once."""

    @property
    def reason(self) -> str:
        """See `Publisher.reason`."""
        ...

    @property
    def patience(self) -> float:
        """Seconds after which an image that was loaded must show."""
        ...

    def nodes(self, emit: Emit, cancel: Cancel) -> Sequence[str]:
        """The nodes that run. Raises `PublishError` where there are none."""
        ...

    def lacks(self, node: str, image: BuiltImage, cancel: Cancel) -> str:
        """What is wrong with the image on this node; empty: it is there, as it was built."""
        ...

    def load(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str]:
        """Load it into these nodes, telling `meter` the bytes. Returns what was complained about, by node: the reason where the
        image then is not there."""
        ...

    def hint(self, complaint: str) -> str:
        """What to do about a load that failed."""
        ...


class LoadedNodes:
    """A `Publisher` that loads what a node lacks, and proves it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    @property
    def reason(self) -> str:
        return self._loader.reason

    def publish(self, image: BuiltImage, emit: Emit, cancel: Cancel) -> PublishedImage:
        started = time.monotonic()
        emit(StepStarted("publish", image.artifact))
        nodes = self._loader.nodes(emit, cancel)
        lacking = self._lacking(nodes, image, cancel)
        meter = Meter(image.artifact, emit)
        if lacking:
            self._load(list(lacking), image, meter, cancel)
        where = f"node {nodes[0]}" if len(nodes) == 1 else f"{len(nodes)} nodes"
        emit(StepFinished("publish", image.artifact, time.monotonic() - started,
                          f"loaded into {where}" + (f", {size(meter.sent)} sent" if meter.sent else ""), cached=not lacking))
        return PublishedImage(image.artifact, image.ref, local_only=True)

    def _load(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> None:
        complaints = self._loader.load(nodes, image, meter, cancel)
        deadline = time.monotonic() + self._loader.patience
        pause = 0.05
        while lacking := self._lacking(nodes, image, cancel):
            if complaints or time.monotonic() > deadline:
                break
            cancel.wait(pause)     # runtimes take note of what was put into their stores a moment later, kubelets half a minute later
            pause = min(2 * pause, 1.0)
        if lacking:
            node, why = next(iter(lacking.items()))
            said = complaints.get(node) or next(iter(complaints.values()), "")
            others = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            raise PublishError(f"{image.ref} did not get into node '{node}'{others}: {said or why}", hint=self._loader.hint(said or why),
                               details=[f"{name}: {why}" for name, why in lacking.items()] if said else [])

    def _lacking(self, nodes: Sequence[str], image: BuiltImage, cancel: Cancel) -> dict[str, str]:
        if len(nodes) == 1:
            found = [self._loader.lacks(nodes[0], image, cancel)]
        else:
            with ThreadPoolExecutor(len(nodes), thread_name_prefix="nodes") as pool:
                found = list(pool.map(lambda node: self._loader.lacks(node, image, cancel), nodes))
        return {node: why for node, why in zip(nodes, found, strict=True) if why}
