"""Whose things in the Engine are: labels name the project and the process, so that what a killed devloop left is found."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devloop.clients.engine_containers import EngineContainers
from devloop.errors import DevloopError, UsageError
from devloop.local.network.network import NETWORKED, ROLE
from devloop.model import Object

PROJECT = "devloop.dev/name"
OWNER = "devloop.dev/owner"        # HOST/PID/when that process began
CLAIM = "devloop.dev/claim"        # of volumes that survive: NAMESPACE/NAME
POD = "devloop.dev/pod"            # its uid
POD_NAME = "devloop.dev/pod-name"  # NAMESPACE/NAME
AT_ONCE = 8                        # removals at a time


@dataclass(frozen=True)
class Owner:
    """A process: it is the same one only where it began at the same time."""

    host: str
    pid: int
    began: str

    @classmethod
    def me(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), _began(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Owner:
        host, pid, began = [*text.split("/"), "", ""][:3]
        return cls(host, int(pid) if pid.isdigit() else 0, began)

    @property
    def alive(self) -> bool:
        """Of another machine's nobody can tell from here: it is taken for alive."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return bool(self.pid) and _began(self.pid) == self.began

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.began}"


def _began(pid: int) -> str:
    """When a process began, as Linux tells; nothing elsewhere."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def session_labels(project: str) -> dict[str, str]:
    """What everything of this session has."""
    return {PROJECT: project, OWNER: str(Owner.me())}


def take_over(containers: EngineContainers, project: str) -> int:
    """Remove what a devloop that lives no more has left of this project; says how many containers that were.

    Raises `UsageError` where one lives that runs the same project.
    """
    labels = [f"{PROJECT}={project}", OWNER]
    found = containers.labelled(labels)
    for text in {each["Labels"][OWNER] for each in found}:
        owner = Owner.parse(text)
        if owner.alive and owner != Owner.me():
            raise UsageError(f"project '{project}' runs on this Engine already: devloop, process {owner.pid} on {owner.host}",
                             hint="End that one, or give this project another name in devloop.yaml. If it has ended, "
                                  "'devloop delete --local' removes what it left.")
    _remove(containers, labels, found)
    return len(found)


def remove_session(containers: EngineContainers, labels: Mapping[str, str]) -> None:
    """Everything with these labels, except for what survives."""
    every = [f"{key}={value}" for key, value in labels.items()]
    _remove(containers, every, containers.labelled(every))


def purge(containers: EngineContainers, project: str, *, volumes: bool) -> tuple[list[str], list[str]]:
    """Everything of a project, whoever made it; with `volumes` those of its claims, too. Returns the pods and the claims that there
    were, each as NAMESPACE/NAME."""
    labels = [f"{PROJECT}={project}", OWNER]
    found = containers.labelled(labels)
    _remove(containers, labels, found)
    claims = containers.labelled_volumes([f"{PROJECT}={project}", CLAIM])
    for volume in claims if volumes else ():
        containers.remove_volume(volume["Name"])
    return sorted({each["Labels"][POD_NAME] for each in found if POD_NAME in each["Labels"]}), sorted(v["Labels"][CLAIM] for v in claims)


def _remove(containers: EngineContainers, labels: list[str], found: Iterable[Object]) -> None:
    found = list(found)
    together([partial(containers.remove, each["Id"]) for each in found if not _has_network(each)])
    for each in filter(_has_network, found):      # one by one: Engines hang where several leave a network at once (moby #42545)
        containers.remove(each["Id"])
    together([lambda each=each: containers.remove_volume(each["Name"]) for each in containers.labelled_volumes(labels)])  # type: ignore[misc]
    containers.remove_networks(labels)


def _has_network(container: Object) -> bool:
    """It is in a network itself, and not in another container's, which has to go before."""
    return container["Labels"].get(ROLE) in NETWORKED


def together(tasks: Iterable[Callable[[], object]], name: str = "engine") -> None:
    """Do all of these, some at a time, to their end. The first error is raised then."""
    todo = list(tasks)
    lock, errors = threading.Lock(), list[BaseException]()

    def work() -> None:
        while True:
            with lock:
                if not todo:
                    return
                task = todo.pop(0)
            try:
                task()
            except BaseException as error:  # noqa: BLE001  raised again below
                errors.append(error)

    threads = [threading.Thread(target=work, name=f"{name}_{n}", daemon=True) for n in range(1, min(len(todo), AT_ONCE))]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, DevloopError)), errors[0])
