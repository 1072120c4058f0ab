"""The build: stage after stage, instruction after instruction, layer after layer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from . import filesystem, log
from .context import Excluded
from .copying import DEPS, Copy, CopyError
from .dockerfile import Instruction, instructions, parse
from .filesystem import Ignored
from .flags import Flags
from .image import LAYERS, PATHS, ZERO, Image, Images, Layer, host_platform, layer_of, scratch
from .mounts import mounted
from .registry import RegistryError
from .stages import Planned, plan
from .state import State
from .users import UserError, credentials, home, owner

FAILED = "error building stage: failed to execute command:"


class BuildError(Exception):
    """`code`: what the executor ends with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Build:
    def __init__(self, flags: Flags, images: Images, context: Path, dockerfile: Path) -> None:
        self._flags, self._images, self._context, self._dockerfile = flags, images, context, dockerfile
        self._platform = flags.text["custom-platform"] or host_platform()
        self._given = dict((a if "=" in a else f"{a}={os.environ.get(a, '')}").partition("=")[::2] for a in flags.many["build-arg"])
        self._cache = flags.text["cache-repo"] or ((flags.many["destination"] or [""])[0].partition("@")[0].rpartition(":")[0] + "/cache")
        self._done: dict[int, Image] = {}

    def run(self) -> Image:
        outer_lines, found = parse(self._dockerfile.read_text())
        outer = State({}, self._given, {}, self._platform)
        for line in outer_lines:
            outer.apply(line)
        self._outer = outer.arguments
        planned = plan(found, self._flags.many["target"], self._outer | self._given, self._add_triggers)
        self._excluded = Excluded(self._context, self._dockerfile)
        for stage in planned:
            if stage.base_index < 0:
                self._base(stage)
        needed = " ".join(f"{stage.index}:[{' '.join(sorted(set(stage.needed)))}]" for stage in planned if stage.needed)
        log.info(f"Built cross stage deps: map[{needed}]")
        self._other_images(planned)
        self._ignored = Ignored([*(["/var/run"] if self._flags.on["ignore-var-run"] else []), *self._flags.many["ignore-path"]])
        self._check_mode()
        if self._flags.on["pre-cleanup"]:
            filesystem.delete(self._ignored)
        try:
            for stage in planned:
                image = self._stage(stage, stage is planned[-1])
        finally:
            if self._flags.on["cleanup"]:
                filesystem.delete(self._ignored)
        return image

    def _add_triggers(self, stage: Planned) -> None:
        stage.instructions[:0] = instructions("\n".join(self._base(stage).config["config"].get("OnBuild") or ()))

    def _check_mode(self) -> None:
        mode = self._flags.text["snapshot-mode"]
        if mode not in ("full", "redo", "time"):
            raise BuildError(f"{mode} is not a valid snapshot mode")
        if mode == "time":
            log.info("Only file modification time will be considered when snapshotting")

    def _base(self, stage: Planned) -> Image:
        if stage.base_index >= 0:
            log.info(f"Base image from previous stage {stage.base_index} found, using saved tar at path /kaniko/stages/{stage.base_index}")
            return self._done[stage.base_index].clone()
        if stage.base == "scratch":
            log.info("No base image, nothing to extract")
            return scratch()
        if self._flags.on["cache"]:
            self._images.pull(stage.base)           # the real one looks in --cache-dir first, for what the registry calls so
        return self._images.pull(stage.base)

    def _other_images(self, planned: list[Planned]) -> None:
        """Those that files are copied from."""
        for instruction in [i for stage in planned for i in stage.instructions if i.name == "COPY"]:
            origin = instruction.flag("from")
            if origin and not origin.isdigit() and not os.path.isdir(os.path.join(DEPS, origin)):
                image = self._images.pull(origin)
                os.makedirs(os.path.join(DEPS, origin))
                for layer in image.layers:
                    filesystem.unpack(self._images.download(layer), Ignored([]).only_kaniko(), os.path.join(DEPS, origin))

    def _stage(self, stage: Planned, final: bool) -> Image:
        image = self._base(stage)
        log.info(f"Building stage '{stage.base}' [idx: '{stage.index}', base-idx: '{stage.base_index}']")
        config = image.config["config"]
        config["Env"] = config.get("Env") or [PATHS]
        config.pop("OnBuild", None)
        if final:
            for label in self._flags.many["label"]:
                key, equals, value = label.partition("=")
                if not equals:
                    raise BuildError(f"labels must be of the form key=value, got {label}")
                config["Labels"] = (config.get("Labels") or {}) | {key: value}
        Instructions(self, image, stage).run()
        self._finish(image, stage, final)
        self._done[stage.index] = image
        if not final:
            if stage.saved:
                log.info(f"Storing source image from stage {stage.index} at path /kaniko/stages/{stage.index}")
            self._save(stage)
            filesystem.delete(self._ignored)
        return image

    def _finish(self, image: Image, stage: Planned, final: bool) -> None:
        system, architecture, *variant = self._platform.split("/")
        image.config |= {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        image.config.pop("container_config", None)
        image.config.pop("container", None)
        names = [instruction.name for instruction in stage.instructions]
        if "ENTRYPOINT" in names and "CMD" not in names:
            image.config["config"]["Cmd"] = None
        if final:
            image.config["created"] = ZERO if self._flags.on["reproducible"] else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def _save(self, stage: Planned) -> None:
        """What later stages copy."""
        there = os.path.join(DEPS, str(stage.index))
        os.makedirs(there, exist_ok=True)
        for source in sorted(set(stage.needed)):
            for path in Path("/").glob(os.path.normpath(source).lstrip("/")) if source.strip("/") else [Path("/")]:
                log.info(f"Saving file {str(path).lstrip('/')} for later use")
                target = os.path.join(there, str(path).lstrip("/"))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if path.is_dir() and not path.is_symlink():
                    shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True,
                                    ignore=lambda directory, names: [n for n in names if self._ignored.has(os.path.join(directory, n))])
                else:
                    shutil.copy2(path, target, follow_symlinks=False)


class Instructions:
    """Those of one stage, on its image."""

    def __init__(self, build: Build, image: Image, stage: Planned) -> None:
        self._flags, self._images, self._image, self._stage = build._flags, build._images, image, stage
        self._context, self._excluded, self._ignored, self._cache = build._context, build._excluded, build._ignored, build._cache
        self._state = State(image.config["config"], build._given, build._outer, build._platform)
        self._key = json.dumps([image.config["rootfs"]["diff_ids"], image.config["config"]], sort_keys=True)
        self._before: dict[str, tuple[object, ...]] | None = None
        self._uploads: list[tuple[Layer, str, str]] = []

    def run(self) -> None:
        hits = self._look_ahead()
        commands = [i for i in self._stage.instructions if i.name != "MAINTAINER"]
        needing = next((i for i in commands if not i.metadata_only and id(i) not in hits), None)
        if needing or self._stage.needed:
            if needing:
                log.info(f"Unpacking rootfs as cmd {needing.text} requires it.")
            self._unpack()
        else:
            log.info("Skipping unpacking as no commands require it.")
        single = self._flags.on["single-snapshot"]
        if single:
            self._initialize()
        for instruction in commands:
            self._one(instruction, hits.get(id(instruction)), single, last=instruction is commands[-1])
        for layer, key, text in self._uploads:
            try:
                self._images.keep(layer, self._cache, key, text)
            except (RegistryError, OSError) as error:
                log.warning(f"Error uploading layer to cache: {error}")

    def _one(self, instruction: Instruction, hit: Layer | None, single: bool, last: bool) -> None:
        state = self._state
        files: list[str] | None = []
        copy = Copy(instruction, self._context, self._excluded, self._ignored)
        if instruction.name in ("COPY", "ADD") and not hit:
            try:
                sources = copy.sources(state)
            except CopyError as error:
                raise BuildError(f"error building stage: failed to get files used from context: {error}") from None
            if instruction.name == "ADD":
                log.info(f"Using files from context: [{' '.join(os.path.join(copy.root, source) for source in sources)}]")
        key = self._next_key(instruction, state) if self._flags.on["cache"] else ""
        log.info(instruction.text)
        if hit:
            log.info("Found cached layer, extracting to filesystem")
            if instruction.name == "WORKDIR":
                state.workdir(instruction.rest)
            filesystem.unpack(self._images.download(hit), self._ignored)
            self._image.append(hit, instruction.text)
            return
        if instruction.name == "RUN" and self._before is None:
            self._initialize()
        try:
            files = self._execute(instruction, state, copy)
        except (CopyError, UserError) as error:
            raise BuildError(f"{FAILED} {error}") from None
        self._ignored.more(state.volumes)
        if (single and last) or (not single and not instruction.metadata_only):
            layer = self._snapshot(None if single else files)
            if layer:
                self._image.append(layer, instruction.text)
                wanted = "cache-run-layers" if instruction.name == "RUN" else "cache-copy-layers"
                if key and self._flags.on[wanted] and not self._flags.on["no-push-cache"] and instruction.name in ("RUN", "COPY", "ADD"):
                    self._uploads.append((layer, key, instruction.text))

    def _execute(self, instruction: Instruction, state: State, copy: Copy) -> list[str] | None:
        """The paths that it wrote; None: they are to be looked for."""
        if instruction.name == "RUN":
            self._run(instruction, state)
            return None
        if instruction.name in ("COPY", "ADD"):
            return copy.run(state)
        state.apply(instruction)
        path = state.config.get("WorkingDir") or "/"
        if instruction.name != "WORKDIR" or os.path.isdir(path):
            return []
        uid, gid = owner(state.config.get("User", ""))
        log.info(f"Creating directory {path} with uid {uid} and gid {gid}")
        made = [path]
        while not os.path.isdir(os.path.dirname(made[-1])):
            made.append(os.path.dirname(made[-1]))
        for directory in reversed(made):
            os.mkdir(directory, 0o755)
            os.chown(directory, uid, gid)
        return [path]

    def _run(self, instruction: Instruction, state: State) -> None:
        command = self._command(instruction, state)
        log.info(f"Cmd: {command[0]}")
        log.info(f"Args: [{' '.join(command[1:])}]")
        user = state.config.get("User", "").partition(":")[0]
        who = credentials(user)
        log.info(f"Running: [{' '.join(command)}]")
        with mounted(instruction, self._flags, state, self._context) as secrets:
            code = _wait(_start(command, state, {"HOME": home(user), **state.environ, **secrets}, who))
        if code:
            told = f"exit status {code}" if code > 0 else f"signal: {(signal.strsignal(-code) or '').lower()}"
            raise BuildError(f"{FAILED} waiting for process to exit: {told}", code if code > 0 else 255)

    @staticmethod
    def _command(instruction: Instruction, state: State) -> list[str]:
        array = instruction.array
        if array:
            return array
        text = instruction.rest
        if len(instruction.heredocs) == 1 and text == f"<<{instruction.heredocs[0][0]}":
            text += " sh"
        text += "".join(f"\n{body}{name}" for name, body in instruction.heredocs)
        return [*(state.config.get("Shell") or ("/bin/sh", "-c")), text]

    def _initialize(self) -> None:
        log.info("Initializing snapshotter ...")
        self._before = filesystem.scan(self._flags.text["snapshot-mode"], self._ignored)

    def _snapshot(self, files: list[str] | None) -> Layer | None:
        gone: list[str] = []
        if files is None:
            after = filesystem.scan(self._flags.text["snapshot-mode"], self._ignored)
            before = self._before or {}
            files = [path for path, known in after.items() if before.get(path) != known]
            gone = [path for path in before if path not in after and os.path.dirname(path) not in before.keys() - after.keys()]
            self._before = after
        else:
            log.info("Taking snapshot of files...")
            files = [path for path in files if not self._ignored.has(path)]
            if self._before is not None:
                self._before |= dict(filesystem.fingerprints(files, self._flags.text["snapshot-mode"]))
        LAYERS.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=LAYERS) as archive:
            filesystem.pack(Path(archive.name), files, gone, self._flags.on["reproducible"])
            return layer_of(Path(archive.name), self._flags.number("compression-level"))

    def _unpack(self) -> None:
        self._ignored.read_mounts()
        for layer in self._image.layers:
            filesystem.unpack(self._images.download(layer), self._ignored)

    def _look_ahead(self) -> dict[int, Layer]:
        """The instructions' layers that are in the cache. Says, too, what metadata will be, as the real one does."""
        ahead, key, hits, looking = self._state.clone(), self._key, {}, self._flags.on["cache"]
        for instruction in self._stage.instructions:
            if instruction.name == "MAINTAINER":
                continue
            kind = "cache-run-layers" if instruction.name == "RUN" else "cache-copy-layers"
            if looking and not instruction.metadata_only:
                try:
                    self._next_key(instruction, ahead)
                except CopyError as error:
                    raise BuildError(f"failed to optimize instructions: failed to get files used from context: {error}") from None
                if instruction.name in ("RUN", "COPY", "ADD") and self._flags.on[kind]:
                    layer = self._images.cached(self._cache, self._hash())
                    if layer:
                        log.info(f"Using caching version of cmd: {instruction.text}")
                        hits[id(instruction)] = layer
                    else:
                        log.info(f"No cached layer found for cmd {instruction.text}")
                        looking = False
            if instruction.metadata_only:
                ahead.apply(instruction)
            elif instruction.name == "WORKDIR":
                ahead.workdir(instruction.rest)
        self._key = key
        return hits

    def _next_key(self, instruction: Instruction, state: State) -> str:
        parts: list[object] = [self._key, instruction.text, instruction.heredocs, sorted(state.environ.items()), state.config.get("User")]
        if instruction.name in ("COPY", "ADD"):
            copy = Copy(instruction, self._context, self._excluded, self._ignored)
            for source in copy.sources(state):
                full = os.path.join(copy.root, source)
                below = list(self._excluded.sources(full)) if os.path.isdir(full) else [full]
                parts += [[path.removeprefix(copy.root), *map(str, known)] for path, known in filesystem.fingerprints(below, "content")]
        self._key = json.dumps(parts)
        return self._hash()

    def _hash(self) -> str:
        return hashlib.sha256(self._key.encode()).hexdigest()


def _start(command: list[str], state: State, environ: dict[str, str], who: dict[str, Any]) -> subprocess.Popen[bytes]:
    program = shutil.which(command[0], path=environ.get("PATH", ""))
    if not program:
        raise BuildError(f"{FAILED} starting command: fork/exec {command[0]}: no such file or directory" if "/" in command[0] else
                         f'{FAILED} starting command: exec: "{command[0]}": executable file not found in $PATH')
    directory = state.config.get("WorkingDir") or "/"
    try:
        return subprocess.Popen([program, *command[1:]], cwd=directory if os.path.isdir(directory) else "/", env=environ,
                                stdin=subprocess.DEVNULL, process_group=0, **who)
    except (PermissionError, subprocess.SubprocessError):
        raise BuildError(f"{FAILED} starting command: fork/exec {command[0]}: operation not permitted") from None


def _wait(process: subprocess.Popen[bytes]) -> int:
    """What it began goes with it."""
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return code
