"""The image of a container: the one that is there, or one that is pulled, by its imagePullPolicy; told in the kubelet's words."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from devloop.cancel import Cancel
from devloop.clients import docker_auth
from devloop.clients.engine_containers import EngineContainers
from devloop.errors import EngineError, UnreachableError
from devloop.local.kinds import SECRETS
from devloop.local.pods.runs import FIRST_PAUSE, LONGEST_PAUSE
from devloop.local.store import Store
from devloop.model import ImageRef, Object

Tell = Callable[[str, str, str], None]
"""An event about the container: its type, reason and message."""


class NoImage(Exception):
    """The container waits for its image. `reason` and `message` as in its status; `pause`: seconds until it is tried again."""

    def __init__(self, reason: str, message: str, pause: float) -> None:
        super().__init__(message)
        self.reason, self.message, self.pause = reason, message, pause


class Images:
    """Safe from every thread."""

    def __init__(self, containers: EngineContainers, store: Store) -> None:
        self._containers, self._store = containers, store
        self._lock = threading.Lock()
        self._pauses: dict[tuple[str, str], tuple[float, float]] = {}      # pod and image: the next try, and the pause after it

    def ensure(self, pod: Object, container: Object, tell: Tell, cancel: Cancel) -> Object:
        """The image, as inspected. Raises `NoImage`, `UnreachableError` or `Cancelled`."""
        name = container.get("image", "")
        try:
            ref = ImageRef.parse(name)
        except ValueError as error:
            message = f'Failed to apply default image tag "{name}": couldn\'t parse image name "{name}": invalid reference format'
            tell("Warning", "InspectFailed", message)
            raise NoImage("InvalidImageName", message, LONGEST_PAUSE) from error
        found = self._containers.engine.image(name)
        policy = container.get("imagePullPolicy") or ("Always" if ref.tag in ("", "latest") and not ref.digest else "IfNotPresent")
        if found and policy != "Always":
            tell("Normal", "Pulled", f'Container image "{name}" already present on machine')
            return found
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise NoImage("ErrImageNeverPull", message, FIRST_PAUSE)
        self._pull(pod, ref, tell, cancel)
        return self._containers.engine.image(name)

    def _pull(self, pod: Object, ref: ImageRef, tell: Tell, cancel: Cancel) -> None:
        key, began = (pod["metadata"]["uid"], str(ref)), time.monotonic()
        with self._lock:
            due, pause = self._pauses.get(key, (0.0, FIRST_PAUSE))
        if began < due:
            tell("Normal", "BackOff", f'Back-off pulling image "{ref}"')
            raise NoImage("ImagePullBackOff", f'Back-off pulling image "{ref}"', due - began)
        tell("Normal", "Pulling", f'Pulling image "{ref}"')
        said = self._asked(pod, ref, cancel)
        now = time.monotonic()
        with self._lock:
            if not said:
                self._pauses.pop(key, None)
            else:
                self._pauses[key] = now + pause, min(pause * 2, LONGEST_PAUSE)
        if said:
            message = f"rpc error: code = Unknown desc = Error response from daemon: {said}"
            tell("Warning", "Failed", f'Failed to pull image "{ref}": {message}')
            tell("Warning", "Failed", "Error: ErrImagePull")
            raise NoImage("ErrImagePull", message, 1.0)      # the next look finds it in its pause
        tell("Normal", "Pulled", f'Successfully pulled image "{ref}" in {now - began:.2f}s')

    def _asked(self, pod: Object, ref: ImageRef, cancel: Cancel) -> str:
        """Pull it; empty, or why that failed."""
        try:
            login = self._login(pod, ref, cancel)
            for message in self._containers.pull(str(ref), login, cancel):
                if "error" in message:
                    return str((message.get("errorDetail") or {}).get("message") or message["error"])
        except EngineError as error:
            return error.message
        except UnreachableError as error:      # a credential helper
            return error.message
        return ""

    def _login(self, pod: Object, ref: ImageRef, cancel: Cancel) -> docker_auth.Credentials | None:
        """What the pod's pull secrets have for the registry, else what the docker CLI has."""
        key = docker_auth.key(ref.registry)
        for named in pod["spec"].get("imagePullSecrets") or ():
            secret = self._store.get(SECRETS, pod["metadata"]["namespace"], named.get("name", ""))
            if secret and (found := _login_in(secret, key)):
                return found
        return self._containers.engine.credentials([ref.registry], cancel).get(key)


def _login_in(secret: Object, key: str) -> docker_auth.Credentials | None:
    try:
        auths: Any = json.loads(base64.b64decode((secret.get("data") or {}).get(".dockerconfigjson", ""))).get("auths") or {}
        entry = next((auths[name] for name in (key, f"https://{key}", "docker.io") if name in auths and (name != "docker.io"
                      or key == docker_auth.HUB)), None)
        if not entry:
            return None
        user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    except (ValueError, AttributeError):
        return None
    return {"username": entry.get("username") or user, "password": entry.get("password") or password, "serveraddress": key}
