"""The Engine's classic builder, through its API."""

from __future__ import annotations

import json
import re
from collections import deque
from contextlib import closing

from devloop.build.bases import base_images
from devloop.build.builder import BuildJob
from devloop.build.failure import failure
from devloop.build.output import TAIL, Lines, Progress
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine, Message
from devloop.errors import EngineError
from devloop.events import Emit, StepOutput

_STEP = re.compile(r"(?:Step (?P<number>\d+)/(?P<total>\d+) : |(?:\[\d+/\d+\] )?STEP (?P<podmans>\d+)/(?P<of>\d+): )(?P<text>.*[^\n])\n?",
                   re.DOTALL)
_CHATTER = re.compile(r" ---> (?:Running in |Removed intermediate container )?[0-9a-f]*\n|Removing intermediate container [0-9a-f]+\n"
                      r"|Successfully (?:built|tagged) .*\n|--> [0-9a-f]+\n|COMMIT .*\n|[0-9a-f]{64}\n")
_CACHED = " ---> Using cache\n"
_LAYER = re.compile(r"Pulling fs layer|Waiting|Verifying Checksum|Download complete|Pull complete|Already exists|Downloading|Extracting")


def build(engine: DockerEngine, job: BuildJob, emit: Emit, cancel: Cancel) -> dict[str, bool]:
    """Build and tag. Returns the ids of all stages' images, and of each whether it was made now (or found in the cache)."""
    progress = Progress(job.artifact.image, emit)
    talk = _Talk(job, emit, progress)
    context = progress.counted(job.context.tar(), job.context.size)
    try:
        with closing(engine.build(_query(engine, job), context, _credentials(engine, job, cancel), cancel)) as messages:
            for message in messages:
                talk.take(message)
    except EngineError as error:
        raise failure(job, error.message) from error
    return talk.stages


def _query(engine: DockerEngine, job: BuildJob) -> dict[str, str]:
    docker = job.artifact.docker
    arguments = engine.config.proxies(engine.endpoint.host) | dict(job.build_args)
    query = {"version": "1", "t": str(job.ref), "dockerfile": job.context.dockerfile_name, "rm": "1", "forcerm": "1",
             "target": docker.target, "platform": docker.platform, "networkmode": docker.network,
             "buildargs": json.dumps(arguments) if arguments else "", "labels": json.dumps(docker.labels) if docker.labels else "",
             "cachefrom": json.dumps(docker.cache_from) if docker.cache_from else "",
             # for what is built of nothing the Engine goes through all images that it has, and fails where one is removed meanwhile
             # (moby's image/cache: "unable to find image"); and the same content is found by its tag
             "nocache": "" if base_images(job.context.instructions, job.build_args) else "1"}
    return {key: value for key, value in query.items() if value}


def _credentials(engine: DockerEngine, job: BuildJob, cancel: Cancel) -> dict[str, dict[str, str]]:
    """For the registries that the Engine will have to ask; no helper is called for an image that is here."""
    wanted = {ref.registry for ref in base_images(job.context.instructions, job.build_args)
              if job.artifact.docker.platform or not engine.image_id(ref)}
    return engine.credentials(sorted(wanted), cancel)


class _Talk:
    """What the Engine says during one build."""

    def __init__(self, job: BuildJob, emit: Emit, progress: Progress) -> None:
        self._job = job
        self._emit = emit
        self._progress = progress
        self._lines = Lines()
        self._step = ""
        self._number = 0
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._pulled: dict[str, tuple[int, int]] = {}
        self._cached = False   # the last step was
        self.stages: dict[str, bool] = {}

    def take(self, message: Message) -> None:
        """Raises `BuildError` for the message that says so."""
        if "errorDetail" in message or "error" in message:
            self._flush()
            said = (message.get("errorDetail") or {}).get("message") or message.get("error") or "no reason given"
            raise failure(self._job, said, step=self._step, output=tuple(self._tail))
        if text := message.get("stream"):
            self._stream(text)
        elif identity := (message.get("aux") or {}).get("ID"):
            self.stages[identity] = not self._cached
        elif status := message.get("status"):
            self._pull(status, message.get("id", ""), message.get("progressDetail") or {})

    def _stream(self, text: str) -> None:
        self._cached = text == _CACHED or (self._cached and bool(_CHATTER.fullmatch(text)))
        step = _STEP.fullmatch(text)
        number = int(step["number"] or step["podmans"]) if step else 0
        # else it is a RUN that prints the like; Podman counts anew in each stage
        if step and (number == self._number + 1 or (step["podmans"] and number == 1)):
            self._flush()
            self._number, self._step = number, text.removesuffix("\n")
            self._progress.step(step["text"], self._number, int(step["total"] or step["of"]))
            self._say(self._step)
            self._tail.clear()
            self._lines = Lines(skip="\n")   # the step's own line end comes as a message of its own
        elif _CHATTER.fullmatch(text):
            self._flush()
        else:
            for line in self._lines.feed(text):
                self._say(line)

    def _pull(self, status: str, layer: str, detail: dict[str, int]) -> None:
        """The base image on its way to the Engine: its layers as one sum, the rest as lines."""
        if not _LAYER.fullmatch(status):
            self._say(f"{layer}: {status}" if layer else status)
            return
        if status == "Downloading" and detail.get("total"):
            self._pulled[layer] = (detail["current"], detail["total"])
        elif status == "Pull complete" and layer in self._pulled:
            total = self._pulled[layer][1]
            self._pulled[layer] = (total, total)
        current, total = (sum(values) for values in zip(*self._pulled.values(), strict=True)) if self._pulled else (0, 0)
        self._progress.sent("pulling " + self._step.rpartition(" : ")[2].removeprefix("FROM "), current, total)

    def _say(self, line: str) -> None:
        self._tail.append(line)
        self._emit(StepOutput("build", self._job.artifact.image, line))

    def _flush(self) -> None:
        for line in self._lines.end():
            self._say(line)
