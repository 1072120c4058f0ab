"""What a pod's containers stand on: its sandbox and its volumes with what is in them."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from devloop.cancel import Cancel
from devloop.local.kinds import CLAIMS
from devloop.local.network.network import Sandbox
from devloop.local.pods.environment import environment
from devloop.local.pods.node import Node
from devloop.local.pods.owner import CLAIM, PROJECT, together
from devloop.local.pods.payload import Files, Tar, files, folders
from devloop.local.pods.references import References, Unmet
from devloop.local.pods.volumes import Volume, group, root_mode, sub_path, volumes
from devloop.model import Object

_ROOT = "volumes"     # where the container that never runs sees them
_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"), "File": (stat.S_ISREG, "file"), "Socket": (stat.S_ISSOCK, "socket file"),
    "CharDevice": (stat.S_ISCHR, "character device"), "BlockDevice": (stat.S_ISBLK, "block device")}


class NotMounted(Unmet):
    """As the kubelet tells it of a volume."""

    def __init__(self, volume: str, why: str) -> None:
        super().__init__(f'MountVolume.SetUp failed for volume "{volume}" : {why}')


class Ground:
    """Of one pod. Used by one thread at a time, but for `path`."""

    def __init__(self, node: Node, pod: Object) -> None:
        self._node = node
        self.volumes = volumes(pod, node.project)
        self.sandbox: Sandbox | None = None
        self._ended: list[Sandbox] = []       # those that are still to be removed
        self._paths: dict[str, str] = {}
        self._filled = threading.Event()
        self._files = ""                      # the container that never runs
        self._contents: dict[str, Files] = {}
        self._versions: dict[str, int] = {}    # of what is in the volumes

    @property
    def ready(self) -> bool:
        return self.sandbox is not None and self._filled.is_set()

    @property
    def ip(self) -> str:
        return self.sandbox.ip if self.sandbox else ""

    def path(self, source: str) -> str:
        """Where the Engine's volume is on its machine."""
        return self._paths[source]

    def make(self, pod: Object, cancel: Cancel) -> None:
        """All of it, as far as it is not there yet. Raises `Unmet`, `EngineError`, `UnreachableError` or `Cancelled`."""
        tasks = []
        if self.sandbox is None:
            tasks.append(lambda: self._sandbox(pod, cancel))
        if not self._filled.is_set():
            tasks.append(lambda: self._fill(pod))
        together(tasks, "ground")

    def refresh(self, pod: Object) -> None:
        """Bring changed ConfigMaps, Secrets, labels and annotations into the volumes. Raises `Unmet` where one has gone."""
        if not self._filled.is_set():
            return
        changed = {name: found for name, found in self._projected(pod).items() if found != self._contents.get(name)}
        if changed:
            tars = {name: self._tar(name) for name in changed}
            for name, found in changed.items():
                self._versions[name] += 1
                tars[name].files(found, self._versions[name], group(pod), before=self._contents[name])
            self._put(tars)
            self._contents |= changed

    def remove_sandbox(self) -> None:
        if self.sandbox is not None:
            if not self._node.network.remove(self.sandbox):
                self._ended.append(self.sandbox)
            self.sandbox = None

    def remove(self) -> None:
        """Once no container uses it. Volumes of claims stay."""
        tasks: list[Callable[[], object]] = [self.remove_sandbox, *(partial(self._node.network.remove, each) for each in self._ended)]
        if self._files:
            tasks.append(partial(self._node.containers.remove, self._files))
        together(tasks, "ground")
        together([lambda v=volume: self._node.containers.remove_volume(v.source)  # type: ignore[misc]
                  for volume in self.volumes.values() if volume.own and volume.source in self._paths], "ground")

    # --- making

    def _sandbox(self, pod: Object, cancel: Cancel) -> None:
        self.sandbox = self._node.network.sandbox(pod, labels=self._node.pod_labels(pod, "sandbox"), cancel=cancel)

    def _fill(self, pod: Object) -> None:
        contents = self._projected(pod)
        tars, gid = dict[str, Tar](), group(pod)
        for volume in self.volumes.values():
            if volume.path:
                self._check_host(volume)
            elif self._create(pod, volume) and not volume.memory:
                tars[volume.name] = self._tar(volume.name)
                tars[volume.name].directory(".", root_mode(gid), gid or 0)
        for name, found in contents.items():
            self._versions[name] = 0
            tars[name].files(found, 0, gid)
        parts, new = self._parts(pod), set(tars)
        if new or any(parts.values()):
            self._files = self._node.containers.create(f"devloop-files-{pod['metadata']['uid']}", self._holder(pod))
            for name, paths in parts.items():
                for folder in folders(paths):
                    # a claim's may be there, with modes of its own, or be a file
                    if name in new or not self._node.containers.exists(self._files, f"/{_ROOT}/{name}/{folder}"):
                        tars.setdefault(name, self._tar(name)).directory(folder, root_mode(gid), gid or 0)
            self._put(tars)
        self._contents = contents
        self._filled.set()

    def _tar(self, volume: str) -> Tar:
        """Docker lets a tar change modes of what is in the directory where it is unpacked, and not its own; Podman finds the way into a
        volume by the volume's own directory alone."""
        return Tar() if self._node.podman else Tar(volume)

    def _put(self, tars: Mapping[str, Tar]) -> None:
        together([partial(self._node.containers.put, self._files, f"/{_ROOT}/{name}" if self._node.podman else f"/{_ROOT}", tar.done())
                  for name, tar in tars.items()], "ground")

    def _projected(self, pod: Object) -> dict[str, Files]:
        references, found = References(self._node.store, pod["metadata"]["namespace"]), {}
        for volume in self.volumes.values():
            try:
                if volume.projected:
                    found[volume.name] = files(pod, volume.spec, references, self._node.facts(""))
            except Unmet as error:
                raise NotMounted(volume.name, str(error)) from error
        return found

    def _create(self, pod: Object, volume: Volume) -> bool:
        """Whether it is new: what a claim has keeps its mode."""
        labels = self._node.pod_labels(pod, "volume")
        new = True
        if claim := (volume.spec.get("persistentVolumeClaim") or {}).get("claimName"):
            namespace = pod["metadata"]["namespace"]
            if self._node.store.get(CLAIMS, namespace, claim) is None:
                raise Unmet(f'persistentvolumeclaim "{claim}" not found')
            labels = {PROJECT: self._node.project, CLAIM: f"{namespace}/{claim}"}
            new = not self._node.containers.volume(volume.source)
        self._paths[volume.source] = self._node.containers.create_volume(volume.source, labels, volume.options)
        return new

    def _holder(self, pod: Object) -> Object:
        mounts = [{"Type": "volume", "Source": volume.source, "Target": f"/{_ROOT}/{volume.name}", "VolumeOptions": {"NoCopy": True}}
                  for volume in self.volumes.values() if volume.source and not volume.memory]
        return {"Image": self._node.tools, "Cmd": ["-"], "Labels": self._node.pod_labels(pod, "files"),
                "HostConfig": {"NetworkMode": "none", "Mounts": mounts}}

    def _parts(self, pod: Object) -> dict[str, list[str]]:
        """The folders of volumes that containers mount by ``subPath``, as far as they can be missing."""
        found: dict[str, list[str]] = {}
        references = References(self._node.store, pod["metadata"]["namespace"])
        for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
            for mount in container.get("volumeMounts") or ():
                volume = self.volumes.get(mount["name"])
                if volume is None or not volume.source or volume.projected or not (mount.get("subPath") or mount.get("subPathExpr")):
                    continue
                with suppress(Unmet):      # its container tells
                    known = environment(pod, container, references, self._node.facts("")) if mount.get("subPathExpr") else {}
                    found.setdefault(volume.name, []).append(sub_path(mount, known))
        return found

    def _check_host(self, volume: Volume) -> None:
        """As far as the Engine's machine is this one."""
        kind, path = volume.spec["hostPath"].get("type") or "", volume.path
        if not self._node.containers.engine.endpoint.host.startswith("unix://"):
            return
        if kind == "FileOrCreate" and not os.path.lexists(path):
            with suppress(OSError), open(path, "a", encoding="utf-8"):      # what cannot be made here is the Engine's to tell
                return
        is_kind, named = _CHECKS.get(kind.removesuffix("OrCreate") if kind == "FileOrCreate" else kind, (None, ""))
        if is_kind is None:
            return
        try:
            fits = is_kind(os.stat(path).st_mode)
        except OSError:
            fits = False
        if not fits:
            raise NotMounted(volume.name, f"hostPath type check failed: {path} is not a {named}")
