"""What instructions that change metadata alone do: to an image's configuration, and to the build's arguments."""

from __future__ import annotations

import copy
import os
import re
from typing import Any

from . import log, words
from .dockerfile import Instruction

Json = dict[str, Any]

PREDEFINED = [case(f"{kind}_proxy") for kind in ("http", "https", "ftp", "no", "all") for case in (str.upper, str.lower)]
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class State:
    """The configuration as it is after the instructions so far. `given`: the command line's build arguments; `outer`: those before FROM."""

    def __init__(self, config: Json, given: dict[str, str], outer: dict[str, str], platform: str) -> None:
        self.config = config
        self._given, self._outer = given, outer
        system, architecture, *variant = platform.split("/")
        self._platform = {f"{side}{key}": value for side in ("TARGET", "BUILD") for key, value in (
            ("PLATFORM", platform), ("OS", system), ("ARCH", architecture), ("VARIANT", "".join(variant)))}
        self.arguments: dict[str, str] = {name: given[name] for name in PREDEFINED if name in given}
        self.volumes: list[str] = []

    def clone(self) -> State:
        return copy.deepcopy(self)

    @property
    def environ(self) -> dict[str, str]:
        """What RUN sees, and what is put in for variables."""
        return self.arguments | dict(item.partition("=")[::2] for item in self.config.get("Env") or ())

    def expand(self, word: str) -> str:
        return words.expand(word, self.environ)

    def workdir(self, path: str) -> str:
        path = os.path.join(self.config.get("WorkingDir") or "/", os.path.normpath(self.expand(path)))
        self.config["WorkingDir"] = path
        return path

    def apply(self, instruction: Instruction) -> None:
        getattr(self, f"_{instruction.name.lower()}")(instruction)

    def _arg(self, instruction: Instruction) -> None:
        known = self._platform | self._outer | self._given
        for key, value in instruction.pairs:
            if key in self._given:
                self.arguments[key] = self._given[key]
            elif f"{key}=" in instruction.rest:
                self.arguments[key] = self.expand(value)
            elif key in known:
                self.arguments[key] = known[key]

    def _env(self, instruction: Instruction) -> None:
        new = {self.expand(key): self.expand(value) for key, value in instruction.pairs}
        known = dict(item.partition("=")[::2] for item in self.config.get("Env") or ())
        self.config["Env"] = [f"{key}={value}" for key, value in (known | new).items()]
        for key in new:
            self.arguments.pop(key, None)

    def _label(self, instruction: Instruction) -> None:
        for key, value in ((self.expand(key), self.expand(value)) for key, value in instruction.pairs):
            log.info(f"Applying label {key}={value}")
            self.config["Labels"] = (self.config.get("Labels") or {}) | {key: value}

    def _expose(self, instruction: Instruction) -> None:
        log.info("Cmd: EXPOSE")
        for port in (port if "/" in port else f"{port}/tcp" for port in map(self.expand, instruction.words)):
            log.info(f"Adding exposed port: {port}")
            self.config["ExposedPorts"] = (self.config.get("ExposedPorts") or {}) | {port: {}}

    def _user(self, instruction: Instruction) -> None:
        log.info("Cmd: USER")
        self.config["User"] = self.expand(instruction.rest)

    def _volume(self, instruction: Instruction) -> None:
        log.info("Cmd: VOLUME")
        for volume in map(self.expand, instruction.words):
            log.info(f"Adding volume {volume} to ignorelist")
            self.volumes.append(volume)
            self.config["Volumes"] = (self.config.get("Volumes") or {}) | {volume: {}}

    def _workdir(self, instruction: Instruction) -> None:
        log.info("Cmd: workdir")
        log.info(f"Changed working directory to {self.workdir(instruction.rest)}")

    def _shell(self, instruction: Instruction) -> None:
        self.config["Shell"] = instruction.array

    def _stopsignal(self, instruction: Instruction) -> None:
        log.info("Cmd: STOPSIGNAL")
        self.config["StopSignal"] = self.expand(instruction.rest)
        log.info(f"Replacing StopSignal in config with {self.config['StopSignal']}")

    def _onbuild(self, instruction: Instruction) -> None:
        log.info("Cmd: ONBUILD")
        log.info(f"Args: {instruction.rest}")
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), instruction.rest]

    def _cmd(self, instruction: Instruction) -> None:
        self.config["Cmd"] = self.command(instruction)

    def _entrypoint(self, instruction: Instruction) -> None:
        self.config["Entrypoint"] = self.command(instruction)

    def command(self, instruction: Instruction) -> list[str]:
        array = instruction.array
        return array if array is not None else [*(self.config.get("Shell") or ("/bin/sh", "-c")), instruction.rest]

    def _healthcheck(self, instruction: Instruction) -> None:
        kind, _, rest = instruction.rest.partition(" ")
        if kind.upper() == "NONE":
            self.config["Healthcheck"] = {"Test": ["NONE"]}
            return
        test = Instruction("CMD", rest, rest.strip(), instruction.line)
        check: Json = {"Test": ["CMD", *test.array] if test.array is not None else ["CMD-SHELL", test.rest]}
        for flag, value in instruction.flags:
            name = {"start-period": "StartPeriod"}.get(flag, flag.title())
            parts = re.findall(r"(\d+)(ns|us|ms|s|m|h)", value)
            check[name] = int(value) if flag == "retries" else sum(int(number) * UNITS[unit] for number, unit in parts)
        self.config["Healthcheck"] = check
