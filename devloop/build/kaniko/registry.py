"""Where a build in the cluster pushes to, and whether something is there already."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from devloop.cancel import Cancel
from devloop.clients.registry import Registry as RegistryClient
from devloop.config.models import Registry
from devloop.errors import Cancelled, ConfigError, DevloopError
from devloop.model import ImageRef
from devloop.publish.logins import Logins
from devloop.publish.names import path_of, renamed

ASKING = 3.0      # seconds that a registry has to answer whether an image is there: building it again costs little, with its layers kept


class Target:
    """The registry as the builds' pods know it. Safe from every thread; `close` it."""

    def __init__(self, registry: Registry, logins: Logins, environ: Mapping[str, str]) -> None:
        self.config, self.asking = registry, ASKING
        self._logins, self._environ = logins, environ
        self._lock = threading.Lock()
        self._clients: dict[str, RegistryClient] = {}
        self._unseen: set[str] = set()       # registries that only the cluster reaches
        self._slow: set[str] = set()         # those whose last answer took too long

    def of(self, ref: ImageRef) -> ImageRef:
        """What an artifact's reference becomes there. Raises `ConfigError`."""
        target = ImageRef(renamed(ref.repository, self.config.repository), ref.tag)
        if "/" not in target.repository:
            raise ConfigError(f"publish.registry.repository is missing: Kaniko pushes what it builds, {ref.repository} names no registry",
                              hint="Set it to where images may be pushed to, such as ghcr.io/acme.")
        return target

    def find(self, target: ImageRef) -> str:
        """The digest of the image that has this tag; empty where there is none, or this machine is not told."""
        host = target.registry
        if host in self._unseen:
            return ""
        slow = host in self._slow
        cancel = Cancel()
        timer = threading.Timer(self.asking, cancel.cancel)
        timer.name, timer.daemon = f"asking-{host}", True
        timer.start()
        try:
            digest = self._client(host).digest(path_of(target.repository), target.tag, cancel)
            self._slow.discard(host)
            return digest
        except Cancelled:      # busy, or behind a firewall that says nothing: the next time tells
            (self._unseen if slow else self._slow).add(host)
            return ""
        except DevloopError:
            self._unseen.add(host)
            return ""
        finally:
            timer.cancel()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, host: str) -> RegistryClient:
        with self._lock:
            if host not in self._clients:
                self._clients[host] = RegistryClient(host, self._environ, lambda cancel: self._logins.of(host, cancel),
                                                     insecure=self.config.insecure)
            return self._clients[host]
