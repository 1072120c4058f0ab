"""How a command ends that nobody reads, or that waits for what never answers."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import DEVLOOP, PATIENCE, Devloop, check_clean

SECONDS = 10      # for what never answers to be given up
FILES = {
    "devloop.yaml": "apiVersion: devloop/v1\nname: hello\nbuild:\n  artifacts:\n    - image: hello-web\ndeploy: {manifests: [web.yaml]}\n",
    "Dockerfile": "FROM scratch\nCOPY web.yaml /\n",
    "web.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: hello}, spec: {containers: [{name: web, image: hello-web}]}}\n",
}


class Silent:
    """Accepts connections, reads what comes, and never answers; on a path, or on a port of its own."""

    def __init__(self, path: Path | None = None) -> None:
        self._server = socket.socket(socket.AF_UNIX) if path else socket.create_server(("127.0.0.1", 0))
        if path:
            self._server.bind(str(path))
            self._server.listen()
        self.asked = threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
                self._connections.append(connection)
                if connection.recv(1):
                    self.asked.set()
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._server, *self._connections):
            connection.close()


@pytest.fixture
def project(devloop: Devloop) -> Devloop:
    for name, text in FILES.items():
        (devloop.cwd / name).write_text(text)
    return devloop


@pytest.fixture
def silent_engine(project: Devloop) -> Iterator[Silent]:
    engine = Silent(project.cwd / "docker.sock")
    project.environ["DOCKER_HOST"] = f"unix://{project.cwd}/docker.sock"
    yield engine
    engine.close()


@pytest.fixture
def silent_cluster(project: Devloop) -> Iterator[Silent]:
    cluster = Silent()
    Path(project.environ["KUBECONFIG"]).write_text(f"""
clusters: [{{name: silent, cluster: {{server: "http://127.0.0.1:{cluster.port}"}}}}]
contexts: [{{name: silent, context: {{cluster: silent}}}}]
current-context: silent
""")
    yield cluster
    cluster.close()


def full(devloop: Devloop, *args: str) -> tuple[int, str]:
    with open("/dev/full", "w") as output:
        done = subprocess.run([DEVLOOP, *args], cwd=devloop.cwd, env=devloop.environment, stdout=output, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE, check=False)
    return done.returncode, done.stderr


COMMANDS = [("schema",), ("version",), ("--help",), ("run", "--help"), ("render",), ("config", "view"), ("build",), ("dev",), ("doctor",),
            ("run", "--output", "json")]


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_full_disk_is_a_closed_output(project: Devloop, args: tuple[str, ...]) -> None:
    assert full(project, *args) == (141, "")


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone_before_anything_is_said(project: Devloop, args: tuple[str, ...]) -> None:
    with subprocess.Popen([DEVLOOP, *args], cwd=project.cwd, env=project.environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["dev", "run", "deploy", "delete", "doctor"])
def test_a_signal_ends_a_wait_for_a_cluster_that_never_answers(project: Devloop, silent_cluster: Silent, command: str,
                                                               number: signal.Signals) -> None:
    with project.start(command) as session:
        assert silent_cluster.asked.wait(PATIENCE)
        session.process.send_signal(number)
        assert session.ended(SECONDS) == 130


@pytest.mark.parametrize("args", [("build",), ("dev", "--local"), ("run", "--local")], ids=" ".join)
def test_a_signal_ends_a_wait_for_an_engine_that_never_answers(project: Devloop, silent_engine: Silent, args: tuple[str, ...]) -> None:
    with project.start(*args) as session:
        assert silent_engine.asked.wait(PATIENCE)
        session.interrupt()
        assert session.ended(2 * SECONDS) == 130


def test_a_second_ctrl_c_ends_it_at_once_and_without_a_word(project: Devloop, silent_engine: Silent) -> None:
    """A build that was called off waits for its Engine a while: that is cut short."""
    with project.start("build") as session:
        assert silent_engine.asked.wait(PATIENCE)
        session.interrupt()
        deadline = time.monotonic() + 3      # the first may be taken for an echo
        while session.process.poll() is None and time.monotonic() < deadline:
            session.interrupt()
            with suppress(subprocess.TimeoutExpired):
                session.process.wait(0.2)
        assert session.ended(1) == 130


def test_a_ctrl_c_at_any_moment_of_the_start_is_no_traceback(devloop: Devloop) -> None:
    """As soon as Python itself has started, which has words of its own for a signal that comes before."""
    program = ("import os, signal, sys; import devloop.__main__ as devloop\n"
               "class Importing:\n"
               "    def find_spec(self, name, path=None, target=None):\n"
               "        if name == module: os.kill(os.getpid(), signal.SIGINT)\n"
               "sys.meta_path.insert(0, Importing())\n"
               "module = sys.argv.pop()\n"
               "devloop.main()")
    for module in ("devloop.cli", "typer", "devloop.app"):
        done = subprocess.run([DEVLOOP.with_name("python"), "-c", program, "render", module], cwd=devloop.cwd, env=devloop.environment,
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        check_clean(done.stderr)
        assert (done.returncode, done.stderr) == (130, ""), module
