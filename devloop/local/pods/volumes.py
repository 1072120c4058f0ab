"""Which volumes of the Engine a pod's volumes are, and how its containers see them. Nothing is done here."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from devloop.local.pods.expansion import expand
from devloop.local.pods.payload import projected
from devloop.local.pods.references import Unmet
from devloop.local.quantities import quantity
from devloop.model import Object

SUBPATH_API = (1, 45)    # Docker 26: a mount can be of a folder or file in a volume
OPEN = 0o777             # an emptyDir is anybody's


@dataclass(frozen=True)
class Volume:
    """One of a pod's volumes on the Engine.

    `source`: the Engine's volume, or for ``hostPath`` the `path` of its machine. `own`: it goes with the pod. `memory`: it is a tmpfs,
    whose `options` say all about it. `writable`: containers may write unless their mount says no. `spec`: as in the pod.
    """

    name: str
    spec: Object
    source: str = ""
    path: str = ""
    own: bool = True
    writable: bool = True
    memory: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def projected(self) -> bool:
        return projected(self.spec)


def volumes(pod: Object, project: str) -> dict[str, Volume]:
    """By their names in the pod."""
    return {spec["name"]: _volume(pod, spec, project) for spec in pod["spec"].get("volumes") or ()}


def _volume(pod: Object, spec: Object, project: str) -> Volume:
    meta, name = pod["metadata"], spec["name"]
    if "hostPath" in spec:
        return Volume(name, spec, path=spec["hostPath"]["path"], own=False)
    if claim := spec.get("persistentVolumeClaim"):
        return Volume(name, spec, claim_volume(project, meta["namespace"], claim["claimName"]), own=False,
                      writable=not claim.get("readOnly"))
    own = f"devloop-{meta['uid']}-{name}"
    empty = spec.get("emptyDir") or {}
    if empty.get("medium") == "Memory" and not _parts_of(pod, name):
        return Volume(name, spec, own, memory=True, options=_tmpfs(empty, group(pod)))
    return Volume(name, spec, own, writable=not projected(spec))


def claim_volume(project: str, namespace: str, claim: str) -> str:
    """The Engine's volume of a PersistentVolumeClaim."""
    return f"devloop-{project}-{claim}" if namespace == "default" else f"devloop-{project}-{namespace}.{claim}"


def group(pod: Object) -> int | None:
    """Who shares the pod's volumes: ``fsGroup``."""
    found = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if found is None else int(found)


def root_mode(gid: int | None) -> int:
    return OPEN if gid is None else 0o2000 | OPEN


def _tmpfs(empty: Object, gid: int | None) -> dict[str, str]:
    options = [f"mode={root_mode(gid):o}"]
    if gid is not None:
        options.append(f"gid={gid}")
    if "sizeLimit" in empty:
        options.append(f"size={int(quantity(empty['sizeLimit']))}")
    return {"type": "tmpfs", "device": "tmpfs", "o": ",".join(options)}


# --- as containers see them


def _parts_of(pod: Object, volume: str) -> bool:
    """Whether some container mounts a folder of it only: for that it must be there before anybody runs, which no tmpfs is."""
    return any(mount["name"] == volume and (mount.get("subPath") or mount.get("subPathExpr"))
               for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"])
               for mount in container.get("volumeMounts") or ())


def sub_path(mount: Object, environment: Mapping[str, str]) -> str:
    """Raises `Unmet` for one that leads out of the volume."""
    path = expand(mount["subPathExpr"], environment) if mount.get("subPathExpr") else mount.get("subPath") or ""
    if "$(" in path and mount.get("subPathExpr"):
        raise Unmet(f'failed to prepare subPathExpr for volumeMount "{mount["name"]}" of container: {path}')
    if path.startswith("/") or ".." in path.split("/"):
        raise Unmet(f'failed to prepare subPath for volumeMount "{mount["name"]}" of container: {path} leads out of the volume')
    return posixpath.normpath(path) if path else ""


@dataclass
class Mounts:
    """The Engine's ``HostConfig.Mounts`` and ``Binds``."""

    mounts: list[dict[str, Any]] = field(default_factory=list)
    binds: list[str] = field(default_factory=list)


def mounts(container: Object, known: Mapping[str, Volume], environment: Mapping[str, str], where: Callable[[str], str],
           api: tuple[int, int]) -> Mounts:
    """`where`: the path of an Engine's volume on its machine. Raises `Unmet` for a mount of no volume, or that leads out of it."""
    result = Mounts()
    for mount in container.get("volumeMounts") or ():
        volume = known.get(mount["name"])
        if volume is None:
            raise Unmet(f'cannot find volume "{mount["name"]}" to mount into container "{container["name"]}"')
        part = sub_path(mount, environment)
        read_only = bool(mount.get("readOnly")) or not volume.writable
        target = mount["mountPath"]
        if volume.path:
            _bind(result, volume, part, target, read_only=read_only)
        elif part and api < SUBPATH_API:
            result.mounts.append({"Type": "bind", "Source": posixpath.join(where(volume.source), part), "Target": target,
                                  "ReadOnly": read_only})
        else:
            options = {"NoCopy": True} | ({"Subpath": part} if part else {})
            result.mounts.append({"Type": "volume", "Source": volume.source, "Target": target, "ReadOnly": read_only,
                                  "VolumeOptions": options})
    return result


def _bind(result: Mounts, volume: Volume, part: str, target: str, *, read_only: bool) -> None:
    source = posixpath.join(volume.path, part) if part else volume.path
    if volume.spec["hostPath"].get("type", "") in ("", "DirectoryOrCreate"):
        result.binds.append(f"{source}:{target}" + (":ro" if read_only else ""))      # the Engine makes what is not there
    else:
        result.mounts.append({"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only})
