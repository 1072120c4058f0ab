"""What the docker CLI's configuration says: which Engine, with what TLS material, through which proxies.

docker-py reads parts of it from the process's own environment; here the environment is an argument, and every answer
knows where it comes from, so that an error can say so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devloop.clients import process
from devloop.errors import UnreachableError

DEFAULT_HOST = "unix:///var/run/docker.sock"
SYSTEM_PLUGINS = ("/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins",
                  "/usr/libexec/docker/cli-plugins", "/Applications/Docker.app/Contents/Resources/cli-plugins")
_PROXIES = {"httpProxy": "HTTP_PROXY", "httpsProxy": "HTTPS_PROXY", "ftpProxy": "FTP_PROXY", "noProxy": "NO_PROXY", "allProxy": "ALL_PROXY"}


@dataclass(frozen=True)
class Tls:
    """Files in PEM form, empty where there is none. `verify` False: any server certificate will do."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True


@dataclass(frozen=True)
class DockerEndpoint:
    """Where the Engine listens (``unix:///…``, ``tcp://…``, ``ssh://…``) and how that was chosen, as a phrase for messages."""

    host: str
    origin: str
    tls: Tls | None = None

    @property
    def local(self) -> bool:
        """A socket of this machine; the Engine behind it may still be in a virtual machine."""
        return self.host.startswith(("unix://", "npipe://"))

    @property
    def address(self) -> str:
        """`host` without a password."""
        return re.sub(r"//([^/@]*):[^/@]*@", r"//\1@", self.host)

    def __str__(self) -> str:
        return f"{self.address} ({self.origin})"


@dataclass(frozen=True)
class DockerConfig:
    """``config.json`` of the docker CLI, empty where there is none. `directory` holds it, the contexts and the user's plugins;
    `plugins` are the directories of everybody's."""

    directory: Path
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)   # holds secrets
    plugins: Sequence[str] = SYSTEM_PLUGINS

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> DockerConfig:
        """Raises `UnreachableError` where the file is there and is no JSON object."""
        home = Path(environ.get("HOME") or Path.home())
        directory = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
        file = directory / "config.json"
        try:
            data = json.loads(file.read_bytes() or b"{}")
        except (FileNotFoundError, NotADirectoryError):
            data = {}
        except (OSError, ValueError) as error:
            raise UnreachableError(f"Docker's configuration {file} cannot be read: {error}",
                                   hint="The docker CLI reads it, too: mend it or move it away.") from error
        if not isinstance(data, dict):
            raise UnreachableError(f"Docker's configuration {file} is no JSON object", hint="Mend it or move it away.")
        return cls(directory, data)

    @property
    def file(self) -> Path:
        return self.directory / "config.json"

    def section(self, name: str) -> Mapping[str, Any]:
        """An object of the file; empty where it is missing or something else."""
        value = self.data.get(name)
        return value if isinstance(value, dict) else {}

    def endpoint(self, environ: Mapping[str, str]) -> DockerEndpoint:
        """The Engine the docker CLI would talk to: DOCKER_HOST, DOCKER_CONTEXT, the current context, the default socket.

        Raises `UnreachableError` for a context that does not exist.
        """
        if host := environ.get("DOCKER_HOST"):
            return DockerEndpoint(host, "from DOCKER_HOST", self._environment_tls(environ))
        context = self.data.get("currentContext")
        for name, origin in ((environ.get("DOCKER_CONTEXT"), "DOCKER_CONTEXT"), (context, f"the current context of {self.file}")):
            if name and name != "default":
                return self._context(str(name), origin)
            if name:
                break
        return DockerEndpoint(DEFAULT_HOST, "the default", self._environment_tls(environ))

    def proxies(self, host: str) -> dict[str, str]:
        """The build arguments that the docker CLI adds for the Engine at `host`. The values may hold passwords."""
        sections = self.section("proxies")
        chosen = sections.get(host) or sections.get("default") or {}
        values = {name: str(chosen[key]) for key, name in _PROXIES.items() if chosen.get(key)}
        return values | {name.lower(): value for name, value in values.items()}

    def plugin(self, name: str, environ: Mapping[str, str]) -> str | None:
        """A docker CLI plugin's file, looked for where the CLI does, then in PATH; it can be run by itself."""
        extra = self.data.get("cliPluginsExtraDirs") or ()
        places = [*map(Path, extra), self.directory / "cli-plugins", *map(Path, self.plugins)]
        found = (place / name for place in places)
        return next((str(file) for file in found if file.is_file() and os.access(file, os.X_OK)), None) or process.which(name, environ)

    def _environment_tls(self, environ: Mapping[str, str]) -> Tls | None:
        if not environ.get("DOCKER_TLS_VERIFY") and not environ.get("DOCKER_TLS"):
            return None
        return _tls(Path(environ.get("DOCKER_CERT_PATH") or self.directory), verify=bool(environ.get("DOCKER_TLS_VERIFY")))

    def _context(self, name: str, origin: str) -> DockerEndpoint:
        key = hashlib.sha256(name.encode()).hexdigest()
        file = self.directory / "contexts" / "meta" / key / "meta.json"
        try:
            docker = json.loads(file.read_bytes())["Endpoints"]["docker"]
            host, skip = docker["Host"], bool(docker.get("SkipTLSVerify"))
        except FileNotFoundError as error:
            raise UnreachableError(f"there is no docker context '{name}', which {origin} names",
                                   hint="'docker context ls' shows those there are, 'docker context use' chooses one.") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnreachableError(f"the docker context '{name}' ({file}) cannot be used: {error!r}",
                                   hint=f"'docker context inspect {name}' shows it as docker reads it.") from error
        tls = _tls(self.directory / "contexts" / "tls" / key / "docker", verify=not skip)
        return DockerEndpoint(host, f"docker context '{name}', from {origin}", tls if skip or tls.ca or tls.cert else None)


def _tls(directory: Path, *, verify: bool) -> Tls:
    found = {name: str(directory / f"{name}.pem") for name in ("ca", "cert", "key") if (directory / f"{name}.pem").is_file()}
    return Tls(**found, verify=verify)
