"""An Engine behind ssh, reached as the docker CLI reaches it: ``ssh HOST docker system dial-stdio``, one for every connection.

docker-py brings an ssh of its own (paramiko), which knows neither all of ``~/.ssh/config`` nor every agent. So the ssh program is
put behind a socket of this machine, and docker-py talks to that.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT = 30   # seconds, as the docker CLI gives it


class SshRelay:
    """Listens on a socket that nobody else can reach; whoever connects gets an ssh to the Engine."""

    def __init__(self, host: str, environ: Mapping[str, str]) -> None:
        """`host`: ``ssh://[user@]host[:port][/path/of/the/socket/there]``. Raises `ValueError` for what is none."""
        self._argv = _command(host)
        self._environ = dict(environ)
        self._directory = tempfile.TemporaryDirectory(prefix="devloop-")
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        path = Path(self._directory.name) / "engine.sock"
        self.url = f"unix://{path}"
        self._complaints = Path(self._directory.name) / "complaints"
        self._complaints.touch()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="docker-ssh", daemon=True)
        self._thread.start()

    @property
    def complaint(self) -> str:
        """The last line that ssh, or docker at the other end, had to say; empty where all was well."""
        lines = self._complaints.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            for process in self._running:
                process.terminate()
            for process in self._running:
                process.wait()
        self._directory.cleanup()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return   # closed
            with connection, self._lock, self._complaints.open("ab") as complaints:
                self._running = [process for process in self._running if process.poll() is None]
                try:   # a session of its own: a Ctrl-C in the terminal is ours alone to handle
                    self._running.append(subprocess.Popen(self._argv, env=self._environ, stdin=connection.fileno(), stderr=complaints,
                                                          stdout=connection.fileno(), start_new_session=True))
                except OSError as error:
                    complaints.write(f"{error}\n".encode())


def _command(host: str) -> list[str]:
    url = urlsplit(host)
    if not url.hostname or url.query or url.fragment or url.password:
        raise ValueError("the address is not ssh://[user@]host[:port]")
    user = ["-l", url.username] if url.username else []
    port = ["-p", str(url.port)] if url.port else []
    there = ["--host", f"unix://{url.path}"] if url.path.strip("/") else []
    options = [*user, *port, "-o", f"ConnectTimeout={CONNECT_TIMEOUT}", "-T"]
    return ["ssh", *options, "--", url.hostname, "docker", *there, "system", "dial-stdio"]
