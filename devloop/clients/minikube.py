"""The minikube command line. Much of what goes wrong in it ends with exit code 0: who loads or builds looks at the nodes afterwards.

Its other ways to say no: ``X Exiting due to ID: text`` on stderr, plain text on stdout, CloudEvents on stdout where JSON was asked for,
and ``false exit code N`` where a shell was to evaluate the output.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devloop.cancel import Cancel
from devloop.clients.process import Captured
from devloop.clients.tools import Tool, last
from devloop.errors import PublishError
from devloop.model import ImageRef

TOOL = Tool("minikube", "https://minikube.sigs.k8s.io/docs/start/")

_EXITING = re.compile(r"Exiting due to ([A-Z0-9_]+): (.*)")
_COMPLAINT = re.compile(r"^[!X] ", re.MULTILINE)
_DECORATION = re.compile(r"^[*!X] ")
ABSENT = "absent"
NOT_RUNNING, NO_PROFILE, MULTINODE, DRIVER = 83, 85, 81, 51


class MinikubeError(PublishError):
    """minikube said no; `code` is its exit code (`NOT_RUNNING` …), `id` its name for the reason (``ENV_MULTINODE_CONFLICT``) or empty."""

    def __init__(self, message: str, *, code: int, id: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.id = id


@dataclass(frozen=True)
class Profile:
    """What a cluster is made of. `runtime`: docker, containerd or crio; `nodes` by the names that Kubernetes has for them."""

    name: str
    driver: str
    runtime: str
    nodes: tuple[str, ...]
    registry: bool


class Minikube:
    """One profile. Every method starts one process, and raises `PublishError` where minikube is missing, and `Cancelled`."""

    def __init__(self, profile: str, environ: Mapping[str, str]) -> None:
        self.name = profile
        self.environ = {**environ, "MINIKUBE_IN_STYLE": "false"}      # no emoji before the lines that are parsed

    def profile(self, cancel: Cancel) -> Profile:
        """From its files: no node is asked. Raises `MinikubeError` where there is no such profile."""
        done = TOOL.run(["profile", "list", "--output", "json", "--light"], self.environ, cancel)
        listed = _json(done.output)
        if not isinstance(listed, dict) or "valid" not in listed:
            raise self._error("profile list", done, str(listed.get("error", "")) if isinstance(listed, dict) else "")
        found = next((each for each in listed["valid"] or () if each["Name"] == self.name), None)
        if found is None:
            known = ", ".join(each["Name"] for each in listed["valid"] or ()) or "none"
            raise MinikubeError(f"minikube has no profile '{self.name}' (profiles: {known})", code=NO_PROFILE,
                                hint=f"Start it: minikube start -p {self.name}. Is MINIKUBE_HOME the one that the cluster was made with?")
        config = found["Config"]
        nodes = config.get("Nodes") or [{}]
        names = [self.name if not n.get("Name") or index == 0 else f"{self.name}-{n['Name']}" for index, n in enumerate(nodes)]
        runtime = str((config.get("KubernetesConfig") or {}).get("ContainerRuntime") or "docker")
        return Profile(self.name, str(config.get("Driver", "")), {"cri-o": "crio"}.get(runtime, runtime), tuple(names),
                       bool((config.get("Addons") or {}).get("registry")))

    def docker_env(self, cancel: Cancel) -> dict[str, str]:
        """The variables that lead to the node's own Docker Engine. Raises `MinikubeError`."""
        done = self._run(["docker-env", "--shell", "none"], cancel)
        found = dict(line.split("=", 1) for line in done.output.splitlines() if re.match(r"[A-Z_]+=", line))
        if done.code or "DOCKER_HOST" not in found:
            raise self._error("docker-env", done)
        return found

    def hosts(self, cancel: Cancel) -> dict[str, str]:
        """Every node's host and its state: ``Running``, ``Stopped``, ``Paused`` … Raises `MinikubeError`."""
        done = self._run(["status", "--output", "json"], cancel)      # the exit code is made of the states' bits
        status = _json(done.output)
        nodes = status if isinstance(status, list) else [status]
        if not all(isinstance(node, dict) and "Host" in node for node in nodes):
            raise self._error("status", done, "the cluster's machine is gone" if status is None and done.output.strip() == "null" else "")
        return {str(node["Name"]): str(node["Host"]) for node in nodes}

    def on_node(self, node: str, script: str, cancel: Cancel) -> str:
        """What a shell on the node prints. Raises `MinikubeError` where the script fails or the node cannot be reached."""
        done = self._run(["ssh", "--node", node, "--", script], cancel)
        if done.code:
            raise self._error(f"ssh --node {node}", done)
        return done.output.replace("\r\n", "\n")      # it comes through a terminal

    def image_id(self, node: str, runtime: str, ref: ImageRef, cancel: Cancel) -> str | None:
        """The id (``sha256:…``, of the image's config) that the node's runtime has for this image. Raises `MinikubeError`."""
        name = shlex.quote(str(ref))
        if runtime == "docker":
            look = f"docker image inspect --format '{{{{.Id}}}}' {name}"
        else:
            look = f"sudo crictl inspecti --output json {name}"
        said = self.on_node(node, f"{look} 2>/dev/null || echo {ABSENT}", cancel).strip()
        if said.endswith(ABSENT):
            return None
        found = said if runtime == "docker" else str((_json(said) or {}).get("status", {}).get("id", ""))
        if not (digest := re.fullmatch(r"(?:sha256:)?([0-9a-f]{64})", found)):
            raise MinikubeError(f"node '{node}' says what {runtime} image it has in words devloop does not know: {last(said)}", code=0)
        return f"sha256:{digest[1]}"

    def load(self, archive: Path, cancel: Cancel) -> str:
        """Load an image's tar into every running node. Returns what was complained about; silence proves nothing.

        A tar, because of an image's name minikube keeps a copy for ever, and loads that one where the Engine has no such image any more.
        """
        done = self._run(["image", "load", str(archive)], cancel)
        return self._quoted("image load", done) if done.code or _COMPLAINT.search(done.errors) else ""

    def build(self, arguments: Sequence[str], archive: Path, on_line: Callable[[str], None], cancel: Cancel) -> int:
        """Build the context in this tar on the nodes. Returns the exit code, which is 0 for builds that failed, too."""
        return TOOL.stream(["-p", self.name, "image", "build", *arguments, str(archive)], self.environ, on_line, cancel)

    def enable_registry(self, cancel: Cancel) -> None:
        """Enable the registry addon; it may be enabled already. Raises `MinikubeError`."""
        done = self._run(["addons", "enable", "registry"], cancel)
        if done.code or "addon is enabled" not in done.output:
            raise self._error("addons enable registry", done)

    def _run(self, arguments: Sequence[str], cancel: Cancel) -> Captured:
        return TOOL.run(["-p", self.name, *arguments], self.environ, cancel)

    def _error(self, command: str, done: Captured, said: str = "") -> MinikubeError:
        code, id = _reason(done)
        hints = {NOT_RUNNING: f"Start it: minikube start -p {self.name}", NO_PROFILE: f"Start it: minikube start -p {self.name}",
                 MULTINODE: "Let devloop choose another way: remove publish.mode from devloop.yaml."}
        return MinikubeError(self._quoted(command, done, said), code=code, id=id,
                             hint=hints.get(code, f"'minikube status -p {self.name}' and 'minikube logs -p {self.name}' tell more."))

    def _quoted(self, command: str, done: Captured, said: str = "") -> str:
        code, _ = _reason(done)
        said = said or _said(done) or {NO_PROFILE: f"there is no profile '{self.name}'"}.get(code, "it said nothing")
        return f"'minikube -p {self.name} {command}' failed (exit code {code}): {said}"


def _reason(done: Captured) -> tuple[int, str]:
    """The exit code and the reason's name, which may be in an event only."""
    found = _EXITING.search(done.errors)
    event = next((data for data in _events(done.output) if data.get("exitcode") or data.get("name")), {})
    return done.code or int(event.get("exitcode") or 0), found[1] if found else str(event.get("name") or "")


def _said(done: Captured) -> str:
    if found := _EXITING.search(done.errors):
        return found[2].strip()
    events = [str(data["message"]) for data in _events(done.output) if data.get("message")]
    lines = (*done.errors.splitlines(), *done.output.splitlines())
    plain = [_plain(line) for line in lines if not line.startswith(("{", "false exit code"))]
    return (events or [line for line in plain if line] or [""])[0]


def _plain(line: str) -> str:
    return _DECORATION.sub("", line.strip())


def _events(output: str) -> Iterator[dict[str, Any]]:
    """The data of the CloudEvents among the lines."""
    for line in output.splitlines():
        event = _json(line) if line.startswith("{") else None
        if isinstance(event, dict) and str(event.get("type", "")).startswith("io.k8s.sigs.minikube."):
            yield event.get("data") or {}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
