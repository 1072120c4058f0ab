"""The build: stage after stage."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from . import filesystem, log
from .context import Excluded
from .copying import DEPS
from .dockerfile import instructions, parse
from .filesystem import Ignored
from .flags import Flags
from .image import PATHS, ZERO, Image, Images, host_platform, scratch
from .stages import Planned, plan
from .state import State
from .steps import Files, StepError, Steps


class Build:
    def __init__(self, flags: Flags, images: Images, context: Path, dockerfile: Path) -> None:
        self._flags, self._images, self._context, self._dockerfile = flags, images, context, dockerfile
        self._platform = flags.text["custom-platform"] or host_platform()
        self._given = dict((a if "=" in a else f"{a}={os.environ.get(a, '')}").partition("=")[::2] for a in flags.many["build-arg"])
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
            raise StepError(f"{mode} is not a valid snapshot mode")
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
                    raise StepError(f"labels must be of the form key=value, got {label}")
                config["Labels"] = (config.get("Labels") or {}) | {key: value}
        state = State(config, self._given, self._outer, self._platform)
        Steps(self._flags, self._images, Files(self._context, self._excluded, self._ignored), image, stage, state).run()
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
