"""BuildKit, through the docker buildx plugin: it has no API that the Engine alone would answer."""

from __future__ import annotations

import re
from collections import defaultdict, deque

from devloop.build.builder import BuildJob
from devloop.build.failure import INSTALL_BUILDX, failure
from devloop.build.output import TAIL, Progress, shown
from devloop.cancel import Cancel
from devloop.clients import process
from devloop.clients.docker import DockerEngine
from devloop.errors import BuildError
from devloop.events import Emit, StepOutput

# the progress of buildx as plain text, which is the one form that every version of it has
_LINE = re.compile(r"#(\d+) (.*)", re.DOTALL)
_LOG = re.compile(r"\d+\.\d+ (.*)", re.DOTALL)
_STEP = re.compile(r"\[(?:[^\]]* )?(\d+)/(\d+)\] .*")
_LAYER = re.compile(r"(sha256:[0-9a-f]+) ([\d.]+)([kMGT]?)B / ([\d.]+)([kMGT]?)B\b.*")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def plugin(engine: DockerEngine, job: BuildJob) -> str:
    """The buildx plugin's file. Raises `BuildError` where there is none."""
    found = engine.config.plugin("docker-buildx", engine.environ)
    if found is None:
        needs = job.context.needs_buildkit
        why = f"the Dockerfile needs BuildKit ({needs})" if needs else "build.engine is 'buildkit'"
        raise BuildError(f"{job.artifact.image}: {why}, and docker buildx is not installed", hint=INSTALL_BUILDX)
    return found


def build(engine: DockerEngine, job: BuildJob, emit: Emit, cancel: Cancel) -> dict[str, bool]:
    """Build, load into the Engine and tag. It has no stages' images to return: BuildKit keeps its cache small by itself."""
    progress = Progress(job.artifact.image, emit)
    talk = _Talk(job, emit, progress)
    # an attestation makes the image an index, which cannot be loaded into every cluster (kind #3795)
    environ = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "DOCKER_CLI_HINTS": "false"} | dict(engine.environ)
    argv = [plugin(engine, job), "build", *_arguments(job), "-"]
    try:
        code = process.stream(argv, environ=environ, cancel=cancel, on_line=talk.line,
                              stdin=progress.counted(job.context.tar(), job.context.size))
    except OSError as error:
        raise BuildError(f"{job.artifact.image}: {argv[0]} cannot be run: {error.strerror}", hint=INSTALL_BUILDX) from error
    if code:
        raise talk.failure(code)
    return {}


def _arguments(job: BuildJob) -> list[str]:
    docker = job.artifact.docker
    options = [("--file", job.context.dockerfile_name), ("--tag", str(job.ref)), ("--target", docker.target),
               ("--platform", docker.platform), ("--network", docker.network),
               *(("--cache-from", image) for image in docker.cache_from),
               *(("--label", f"{key}={value}") for key, value in docker.labels.items()),
               *(("--build-arg", f"{key}={value}") for key, value in job.build_args.items())]
    return ["--load", "--progress", "plain", *(f"{option}={value}" for option, value in options if value)]


class _Talk:
    """What buildx says during one build: ``#7 [2/4] RUN make``, ``#7 0.155 a line of its output``, ``#7 DONE 0.2s``."""

    def __init__(self, job: BuildJob, emit: Emit, progress: Progress) -> None:
        self._job = job
        self._emit = emit
        self._progress = progress
        self._names: dict[str, str] = {}     # by number
        self._tails: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=TAIL))
        self._pulled: dict[str, tuple[float, float]] = {}
        self._speaking = ""                  # whose lines came last
        self._failed = ""
        self._reason = ""
        self._summary = False                # what was said already comes once more

    def line(self, text: str) -> None:
        match = _LINE.match(text)
        if match and not self._summary:
            self._of_step(match[1], match[2])
        elif text.startswith("ERROR: "):
            self._reason = text.removeprefix("ERROR: ")
        elif text == "------":
            self._summary = True
        elif text and not self._summary:
            self._reason = shown(text)
            self._emit(StepOutput("build", self._job.artifact.image, self._reason))

    def failure(self, code: int) -> BuildError:
        """The error for the exit code of a buildx that failed."""
        return failure(self._job, self._reason or f"docker buildx ended with exit code {code}", step=self._names.get(self._failed, ""),
                       output=tuple(self._tails[self._failed]))

    def _of_step(self, number: str, text: str) -> None:
        if number not in self._names:
            self._names[number] = text
            if step := _STEP.fullmatch(text):
                self._progress.step(text, int(step[1]), int(step[2]))
                self._say(number)
        elif log := _LOG.match(text):
            line = shown(log[1])
            self._tails[number].append(line)
            self._say(number, line)
        elif layer := _LAYER.match(text):
            self._pulled[layer[1]] = (float(layer[2]) * _UNITS[layer[3]], float(layer[4]) * _UNITS[layer[5]])
            current, total = (int(sum(values)) for values in zip(*self._pulled.values(), strict=True))
            self._progress.sent(self._names[number], current, total)
        elif text == "CACHED" and _STEP.fullmatch(self._names[number]):
            self._say(number, "CACHED")
        elif text.startswith("ERROR: "):
            self._failed = self._failed or number

    def _say(self, number: str, *lines: str) -> None:
        """Steps run side by side: where another one goes on, its name is said again."""
        named = () if self._speaking == number else (self._names[number],)
        self._speaking = number
        for line in (*named, *lines):
            self._emit(StepOutput("build", self._job.artifact.image, line))
