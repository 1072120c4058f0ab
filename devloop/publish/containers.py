"""Nodes that are containers of the very Engine that builds, with a containerd in each: kind's and k3d's.

Their command lines save the whole image to a temporary file and read that into the nodes, every time. Here the nodes get what they
lack, without any other program to install, and no failure is called a success (k3d #1484).
"""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_containers import Container, execute, feedable, labelled
from devloop.clients.docker_images import save
from devloop.clients.process import Captured
from devloop.clients.tools import last
from devloop.errors import EngineError, PublishError
from devloop.events import Emit, Notice
from devloop.model import BuiltImage, ImageRef
from devloop.publish.archive import without
from devloop.publish.blobs import Layers
from devloop.publish.built import check_built
from devloop.publish.meter import Meter
from devloop.publish.names import path_of
from devloop.publish.parcel import Parcel
from devloop.publish.push import pushed_through
from devloop.publish.tee import tee

CTR = ("ctr", "-n", "k8s.io")

# Without --all-platforms: of an image for several platforms, Docker saves those that it has (kind #3795). Not unpacked: Kubernetes'
# part of containerd does that when a container starts, with the snapshotter that it uses.
IMPORT = (*CTR, "images", "import", "--no-unpack", "-")


@dataclass(frozen=True)
class Maker:
    """A tool that makes clusters of containers: its labels for the cluster and for a node's role, and the roles that run pods.

    `command`: its own that loads images, which is `load` (an image's tar, the cluster, the environment; what was complained about);
    `hint`: what to do where that fails.
    """

    tool: str
    cluster: str
    role: str
    roles: Sequence[str]
    command: str
    load: Callable[[Path, str, Mapping[str, str], Cancel], str]
    hint: str


class ContainerNodes:
    """A `Loader` for one cluster."""

    patience = 10.0

    def __init__(self, engine: DockerEngine, maker: Maker, cluster: str) -> None:
        self._engine, self._maker, self._cluster = engine, maker, cluster
        self._lock = threading.Lock()
        self._containers: dict[str, Container] = {}
        self._told: set[str] = set()
        self._near = engine.endpoint.local      # whether the Engine, as far as we know, can come to a port of this machine
        self._sizes: dict[str, int] = {}        # of blobs that nodes have
        self._layers = Layers()

    @property
    def reason(self) -> str:
        return f"images are loaded from the Docker Engine into the nodes of {self}, which run in it"

    @property
    def usable(self) -> bool:
        """Whether the cluster's nodes are in this Engine, and can be fed."""
        return feedable(self._engine) and bool(self._found())

    def nodes(self, emit: Emit, cancel: Cancel) -> Sequence[str]:
        containers = self._found()
        stopped = [c.name for c in containers if not c.running]
        running = {c.name: c for c in containers if c.running}
        if not running:
            raise PublishError(f"no node of {self} runs in the Docker Engine at {self._engine.endpoint}",
                               hint=f"Start it: docker start {' '.join(stopped)}" if stopped else "Is the right docker context chosen?")
        with self._lock:
            self._containers = {**self._containers, **running}      # somebody else may still be at work on one that has stopped
            news = [name for name in stopped if name not in self._told]
            self._told.update(news)
        for name in news:
            emit(Notice(f"node '{name}' is stopped and does not get the images", hint=f"Start it: docker start {name}", level="warning"))
        return list(running)

    def lacks(self, node: str, image: BuiltImage, cancel: Cancel) -> str:
        name = f"{image.ref.canonical}:{image.ref.tag}"
        listed = self._run(node, (*CTR, "images", "ls", f"name=={name}", f"name=={image.image_id}"), cancel)
        if listed.code:
            return f"its containerd does not answer: {last(listed.errors) or last(listed.output)}"
        digests = {line.split()[0]: line.split()[2] for line in listed.output.splitlines()[1:]}
        if not (digest := digests.get(name)):
            return "it has no such image"
        # the Engine's id is this digest with the containerd image store; else it is the config's, under which Kubernetes' part of
        # containerd lists new images, but not one that takes the name of another
        if digest in (image.image_id, digests.get(image.image_id)) or self._config(node, digest, cancel) == image.image_id:
            return ""
        return f"it has another image of that name ({digest})"

    def _config(self, node: str, digest: str, cancel: Cancel) -> str:
        """The digest of the image's config, by its manifest; empty where there is none."""
        manifest = self._run(node, (*CTR, "content", "get", digest), cancel)
        return str((json.loads(manifest.output).get("config") or {}).get("digest", "")) if manifest.code == 0 else ""

    def load(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str]:
        with self._layers.pushed(check_built(self._engine, image), cancel):
            return self._load_lacking(nodes, image, meter, cancel)

    def _load_lacking(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str]:
        if self._near and (complaints := self._load_missing(nodes, image, meter, cancel)) is not None:
            return complaints
        self._near = False
        there, dropped = self._common(nodes, cancel), set[str]()
        try:
            with save(self._engine, str(image.ref), cancel) as stream:
                return self._import(nodes, without(stream, there, dropped, meter), dropped, cancel)
        except tarfile.TarError as error:
            raise PublishError(f"the Docker Engine's archive of {image.ref} cannot be read: {error}",
                               hint="Does 'docker save' of this image work?") from error

    def _load_missing(self, nodes: Sequence[str], image: BuiltImage, meter: Meter, cancel: Cancel) -> Mapping[str, str] | None:
        """Load what the Engine sends when it is told what is there. None: it does not see our ports, and can only export all."""
        with Parcel(partial(self._size, nodes[0], self._common(nodes, cancel))) as parcel:
            name = ImageRef(path_of(image.ref.repository), image.ref.tag)
            if not pushed_through(self._engine, image.image_id, name, meter, cancel, place=parcel):
                return None
            return self._import(nodes, parcel.archive(f"{image.ref.canonical}:{image.ref.tag}"), parcel.needed, cancel)

    def _import(self, nodes: Sequence[str], tar: Iterable[bytes], needed: Set[str], cancel: Cancel) -> Mapping[str, str]:
        """Import the archive; the complaints by node. `needed`: blobs that a node must have then; the import itself does not mind."""
        complaints: dict[str, str] = {}

        def into(node: str, tar: Iterable[bytes]) -> None:
            done = self._run(node, IMPORT, cancel, tar)
            if done.code:
                complaints[node] = f"'docker exec {node} {' '.join(IMPORT)}' ended with exit code {done.code}: {last(done.errors)}"
            elif needed and (lacking := needed - self._stored(node, cancel)):
                complaints[node] = f"the import is called a success, but {len(lacking)} parts of the image are not there"

        tee(tar, [partial(into, node) for node in nodes], "load")
        return complaints

    def _stored(self, node: str, cancel: Cancel) -> frozenset[str]:
        """The digests of all that the node's containerd has."""
        return frozenset(self._run(node, (*CTR, "content", "ls", "-q"), cancel).output.split())

    def _common(self, nodes: Sequence[str], cancel: Cancel) -> frozenset[str]:
        return frozenset.intersection(*(self._stored(node, cancel) for node in nodes))

    def _size(self, node: str, there: frozenset[str], digest: str, cancel: Cancel) -> int | None:
        if digest not in there:
            return None
        if not self._sizes.get(digest):      # `ctr content ls` rounds it
            counted = self._run(node, ("sh", "-c", f"{' '.join(CTR)} content get {digest} | wc -c"), cancel).output.strip()
            self._sizes[digest] = int(counted) if counted.isdigit() else 0
        return self._sizes[digest] or None

    def hint(self, complaint: str) -> str:
        if "no space left" in complaint:
            return "The machine's disk is full: docker system prune frees what is not used."
        return "See what its log says: docker logs NODE. A node that is broken is mended by making the cluster anew."

    def _run(self, node: str, argv: Sequence[str], cancel: Cancel, stdin: Iterable[bytes] | None = None) -> Captured:
        try:
            return execute(self._engine, self._containers[node], argv, cancel, stdin)
        except EngineError as error:      # the node was stopped just now
            return Captured(-1, "", error.message)

    def _found(self) -> list[Container]:
        found = labelled(self._engine, f"{self._maker.cluster}={self._cluster}")
        return [container for container in found if container.labels.get(self._maker.role) in self._maker.roles]

    def __str__(self) -> str:
        return f"{self._maker.tool} cluster '{self._cluster}'"
