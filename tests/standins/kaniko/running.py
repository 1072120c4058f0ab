"""RUN: a process in the image's own filesystem, which is the container's root directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from . import log
from .dockerfile import Instruction
from .flags import Flags
from .mounts import mounted
from .state import State
from .users import credentials, home


class RunError(Exception):
    """`code`: what the executor ends with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def run(instruction: Instruction, state: State, flags: Flags, context: Path) -> None:
    """Raises `RunError`, or `UserError`."""
    command = _command(instruction, state)
    log.info(f"Cmd: {command[0]}")
    log.info(f"Args: [{' '.join(command[1:])}]")
    user = state.config.get("User", "").partition(":")[0]
    who = credentials(user)
    log.info(f"Running: [{' '.join(command)}]")
    with mounted(instruction, flags, state, context) as secrets:
        code = _wait(_start(command, state, {"HOME": home(user), **state.environ, **secrets}, who))
    if code:
        told = f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or '').lower()}"
        raise RunError(f"waiting for process to exit: {told}", code if code > 0 else 255)


def _command(instruction: Instruction, state: State) -> list[str]:
    if array := instruction.array:
        return array
    text = instruction.rest
    if len(instruction.heredocs) == 1 and text == f"<<{instruction.heredocs[0][0]}":
        text += " sh"
    text += "".join(f"\n{body}{name}" for name, body in instruction.heredocs)
    return [*(state.config.get("Shell") or ("/bin/sh", "-c")), text]


def _start(command: list[str], state: State, environ: dict[str, str], who: dict[str, Any]) -> subprocess.Popen[bytes]:
    program = shutil.which(command[0], path=environ.get("PATH", ""))
    if not program:
        raise RunError(f"starting command: fork/exec {command[0]}: no such file or directory" if "/" in command[0] else
                         f'starting command: exec: "{command[0]}": executable file not found in $PATH')
    directory = state.config.get("WorkingDir") or "/"
    try:
        return subprocess.Popen([program, *command[1:]], cwd=directory if os.path.isdir(directory) else "/", env=environ,
                                stdin=subprocess.DEVNULL, process_group=0, **who)
    except (PermissionError, subprocess.SubprocessError):
        raise RunError(f"starting command: fork/exec {command[0]}: operation not permitted") from None


def _wait(process: subprocess.Popen[bytes]) -> int:
    """What it began goes with it."""
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return code
