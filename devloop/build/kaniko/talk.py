"""What one executor says, on its way to events."""

from __future__ import annotations

import re
from collections import deque

from devloop.build.builder import BuildJob
from devloop.build.kaniko.diagnosis import Talk
from devloop.build.kaniko.lines import Said, said, split
from devloop.build.output import TAIL, Progress
from devloop.context import Instruction
from devloop.events import Emit, StepOutput

_QUIET = re.compile(r"Retrieving image manifest |Returning cached image manifest|Built cross stage deps: |Executing \d+ build triggers"
                    r"|Cmd: |Args: \[|Running: \[|Initializing snapshotter |Resolved base name |Skipping unpacking as no commands"
                    r"|No files changed in |Checking for cached layer |.*feature flags|.*credential providers|Storing source image "
                    r"|Using dockerignore file: |Deleting filesystem\.\.\.")
_STAGE = re.compile(r"Building stage '.*' \[idx: '(\d+)'.*")
_RETRIEVING = re.compile(r"Retrieving image (?:manifest )?(\S+)")
_UNANNOUNCED = "failed to get files used from context"       # of an instruction that the executor would have announced next
_LAST = re.compile(r"(?:error|Error:?|fatal|panic)\b.*")


class Listener:
    """Takes the lines; tells the instructions as the classic builder does: ``Step 3/7 : RUN make``."""

    def __init__(self, job: BuildJob, emit: Emit) -> None:
        self._job, self._emit = job, emit
        self._progress = Progress(job.artifact.image, emit)
        self._instructions = job.context.instructions
        self._at = 0                  # the next instruction to be announced
        self._step = ""
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._last = ""
        self._usage = False

    @property
    def talk(self) -> Talk:
        """How far it came. The last words are no part of what a RUN printed."""
        tail = tuple(line for line in self._tail if line != self._last)
        if _UNANNOUNCED in self._last:
            for index in range(self._at, len(self._instructions)):
                if self._instructions[index].keyword in ("COPY", "ADD"):
                    return Talk(self._named(index), (), self._last)
        return Talk(self._step, tail, self._last)

    def take(self, text: str) -> None:
        """One line of output."""
        for line in split(text):
            self._heard(said(line))

    def _heard(self, heard: Said) -> None:
        if not heard.level:
            if self._usage or (heard.text == "Usage:" and self._last.startswith("Error: ")):
                self._usage = True      # all that the executor could have been asked for, behind what was wrong with what it was
                return
            if _LAST.match(heard.text):
                self._last = heard.text
            self._say(heard.text)
        elif heard.level in ("error", "fatal", "panic"):
            self._last = heard.text
            self._say(heard.text)
        elif heard.level == "warning":
            self._say(f"warning: {heard.text}")
        elif match := _STAGE.fullmatch(heard.text):
            self._enter(int(match[1]))
        elif not self._announced(heard.text):
            if (match := _RETRIEVING.match(heard.text)) and not self._at:
                self._fetch(match[1])
            if not _QUIET.match(heard.text):
                self._say(heard.text, tail=False)

    def _fetch(self, image: str) -> None:
        """All base images are looked up before the first stage is entered."""
        froms = [index for index, instruction in enumerate(self._instructions) if instruction.keyword == "FROM"]
        named = [index for index in froms if image in self._instructions[index].arguments.split()]
        if found := named or (froms if len(froms) == 1 else []):
            self._step = self._named(found[0])

    def _enter(self, stage: int) -> None:
        """Its FROM is never announced by itself."""
        for index, instruction in enumerate(self._instructions):
            if instruction.stage == stage:
                self._begin(index, instruction)
                return

    def _announced(self, text: str) -> bool:
        wanted = _plain(text)
        for index in range(self._at, len(self._instructions)):
            if _plain(self._instructions[index].text) == wanted or _same(self._instructions[index], wanted):
                self._begin(index, self._instructions[index])
                return True
        return False

    def _begin(self, index: int, instruction: Instruction) -> None:
        self._at = index + 1
        self._step = self._named(index)
        self._progress.step(instruction.text, index + 1, len(self._instructions))
        self._tail.clear()
        self._last = ""
        self._emit(StepOutput("build", self._job.artifact.image, self._step))

    def _named(self, index: int) -> str:
        return f"Step {index + 1}/{len(self._instructions)} : {self._instructions[index].text}"

    def _say(self, line: str, *, tail: bool = True) -> None:
        if tail:
            self._tail.append(line)
        self._emit(StepOutput("build", self._job.artifact.image, line))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _same(instruction: Instruction, wanted: str) -> bool:
    """Whether the executor means this one, though it prints it in a form of its own: ``ENV A=1`` for ``ENV A 1``."""
    keyword, _, rest = wanted.partition(" ")
    if keyword.upper() != instruction.keyword:
        return False
    return _letters(rest) == _letters(" ".join((*instruction.flags, instruction.arguments)))


def _letters(text: str) -> str:
    return re.sub(r"[\s\[\]\"',=]", "", text)
