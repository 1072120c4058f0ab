"""A stage's instructions, each of which changes the filesystem, and so makes a layer, or the image's configuration."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import filesystem, log
from .context import Excluded
from .copying import Copy, CopyError
from .dockerfile import Instruction
from .filesystem import Ignored
from .flags import Flags
from .image import LAYERS, Image, Images, Layer, layer_of
from .registry import RegistryError
from .running import RunError, run
from .stages import Planned
from .state import State
from .users import UserError, owner


class StepError(Exception):
    """`code`: what the executor ends with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Files:
    """Where files come from, and which of them are none of the image's."""

    context: Path
    excluded: Excluded
    ignored: Ignored


class Steps:
    """The instructions of one stage, on its image."""

    def __init__(self, flags: Flags, images: Images, files: Files, image: Image, stage: Planned, state: State) -> None:
        self._flags, self._images, self._files, self._image, self._stage, self._state = flags, images, files, image, stage, state
        self._cache = flags.text["cache-repo"] or (flags.many["destination"] or [""])[0].rpartition(":")[0] + "/cache"
        self._key = _hash([image.config["rootfs"]["diff_ids"], sorted(state.environ.items())])
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
        copy = Copy(instruction, self._files.context, self._files.excluded, self._files.ignored)
        if instruction.name in ("COPY", "ADD") and not hit:
            try:
                sources = copy.sources(state)
            except CopyError as error:
                raise StepError(f"error building stage: failed to get files used from context: {error}") from None
            if instruction.name == "ADD":
                log.info(f"Using files from context: [{' '.join(os.path.join(copy.root, source) for source in sources)}]")
        key = self._next_key(instruction, state) if self._flags.on["cache"] and instruction.keyed else ""
        log.info(instruction.text)
        if hit:
            log.info("Found cached layer, extracting to filesystem")
            if instruction.name == "WORKDIR":
                state.apply(instruction)
            filesystem.unpack(self._images.download(hit), self._files.ignored)
            self._image.append(hit, instruction.text)
            return
        if instruction.name == "RUN" and self._before is None:
            self._initialize()
        try:
            files = self._execute(instruction, state, copy)
        except RunError as error:
            raise StepError(f"error building stage: failed to execute command: {error}", error.code) from None
        except (CopyError, UserError) as error:
            raise StepError(f"error building stage: failed to execute command: {error}") from None
        self._files.ignored.more(state.volumes)
        if (single and last) or (not single and not instruction.metadata_only):
            layer = self._snapshot(None if single else files)
            self._image.append(layer, instruction.text)
        elif key and not single:      # WORKDIR / is kept, too
            layer = self._snapshot(files)
        else:
            return
        if key and self._caches(instruction) and not self._flags.on["no-push-cache"]:
            self._uploads.append((layer, key, instruction.text))

    def _caches(self, instruction: Instruction) -> bool:
        """Its layer is looked for in the cache, and put there."""
        kind = {"RUN": "cache-run-layers", "WORKDIR": "cache-run-layers",
                "COPY": "cache-copy-layers", "ADD": "cache-copy-layers"}.get(instruction.name, "")
        return bool(kind) and self._flags.on[kind]

    def _execute(self, instruction: Instruction, state: State, copy: Copy) -> list[str] | None:
        """The paths that it wrote; None: they are to be looked for."""
        if instruction.name == "RUN":
            run(instruction, state, self._flags, self._files.context)
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

    def _initialize(self) -> None:
        log.info("Initializing snapshotter ...")
        self._before = filesystem.scan(self._flags.text["snapshot-mode"], self._files.ignored)

    def _snapshot(self, files: list[str] | None) -> Layer:
        """Of these files; None: of all that has changed."""
        gone: list[str] = []
        if files is None:
            after = filesystem.scan(self._flags.text["snapshot-mode"], self._files.ignored)
            before = self._before or {}
            files = [path for path, known in after.items() if before.get(path) != known]
            deleted = before.keys() - after.keys()
            gone = [path for path in deleted if os.path.dirname(path) not in deleted]
            self._before = after
        else:
            log.info("Taking snapshot of files...")
            files = [path for path in files if not self._files.ignored.has(path)]
            if self._before is not None:
                self._before |= dict(filesystem.fingerprints(files, self._flags.text["snapshot-mode"]))
        LAYERS.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=LAYERS) as archive:
            filesystem.pack(Path(archive.name), files, gone, self._flags.on["reproducible"])
            return layer_of(Path(archive.name), self._flags.number("compression-level"))

    def _unpack(self) -> None:
        self._files.ignored.read_mounts()
        for layer in self._image.layers:
            filesystem.unpack(self._images.download(layer), self._files.ignored)

    def _look_ahead(self) -> dict[int, Layer]:
        """The instructions' layers that are in the cache. Says, too, what metadata will be, as the real one does."""
        ahead, key, hits, looking = self._state.clone(), self._key, {}, self._flags.on["cache"]
        for instruction in self._stage.instructions:
            if instruction.name == "MAINTAINER":
                continue
            if looking and instruction.keyed:
                try:
                    key_here = self._next_key(instruction, ahead)
                except CopyError as error:
                    raise StepError(f"failed to optimize instructions: failed to get files used from context: {error}") from None
                if self._caches(instruction):
                    layer = self._images.cached(self._cache, key_here)
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
        """Of the layer that the instruction makes: by all that it and those before it depend on."""
        parts: list[object] = [self._key, instruction.text, instruction.heredocs, sorted(state.environ.items()), state.config.get("User")]
        if instruction.name in ("COPY", "ADD"):
            copy = Copy(instruction, self._files.context, self._files.excluded, self._files.ignored)
            for source in copy.sources(state):
                full = os.path.join(copy.root, source)
                below = list(self._files.excluded.sources(full)) if os.path.isdir(full) else [full]
                parts += [[path.removeprefix(copy.root), *map(str, known)] for path, known in filesystem.fingerprints(below, "content")]
        self._key = _hash(parts)
        return self._key


def _hash(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
