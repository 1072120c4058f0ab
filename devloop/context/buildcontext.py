"""Which files an artifact is built from, and what can be asked of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from devloop.context import steps, tar
from devloop.context.ignore import IgnoreRules
from devloop.context.model import ContextFile, Instruction
from devloop.context.select import Selection


@dataclass(frozen=True)
class BuildContext:
    """Which files an artifact is built from, as they were when they were analysed.

    `root` and `dockerfile` are absolute; the Dockerfile may lie outside of `root`. `name` is the context as the user knows it.
    `dockerfile_name` is the name under which the Engine finds the Dockerfile in the tar. `files` is sorted and holds what the
    Dockerfile can see and nothing else, `size` is the sum of their bytes. `needs_buildkit` says why the Dockerfile needs BuildKit
    (``RUN --mount on line 7``), or is empty. `digest` is the sha256 in hex of the Dockerfile and of every file's path, type,
    permissions, link target and content. `roots` are what to watch; `skipped` what cannot be sent, with the reason
    (``run.sock (a socket)``).
    """

    root: Path
    name: str
    dockerfile: Path
    dockerfile_name: str
    files: tuple[ContextFile, ...]
    needs_buildkit: str
    instructions: tuple[Instruction, ...]
    size: int
    digest: str
    roots: tuple[Path, ...]
    skipped: tuple[str, ...]
    extras: tuple[tuple[ContextFile, bytes], ...] = field(repr=False)      # files of the tar that are none of the context
    inputs: frozenset[Path] = field(repr=False)                    # Dockerfile and ignore files, those that are not there included
    selection: Selection = field(repr=False, compare=False)
    rules: IgnoreRules = field(repr=False, compare=False)

    def tar(self) -> Iterator[bytes]:
        """The context as a GNU tar, streamed while it is read, in constant memory. Raises `ContextChanged` where a file is not what
        it was when it was analysed. It can be called again."""
        return tar.stream(os.fspath(self.root), self.name, self.files, self.extras)

    def depends_on(self, path: Path) -> bool:
        """Whether a change of this absolute path could change the build; files that are not there yet included."""
        if path in self.inputs:
            return True
        inside = _below(path, os.fspath(self.root)) or _below(path, self._real_root)
        if not inside:
            return False
        if inside == ".":
            return True
        if not self.selection.reaches(inside):
            return False
        if not self.rules.state(inside)[0]:
            return True
        # an ignored directory matters for what a '!' rule takes back inside of it
        return (inside in self._directories or path.is_dir()) and self.rules.may_take_back_below(inside)

    def step_line(self, text: str) -> int | None:
        """The Dockerfile's line that a line of build output (``Step 3/7 : RUN …``, ``[build 2/5] COPY …``) is about."""
        return steps.step_line(self.instructions, text)

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)   # what some systems name in their file events

    @cached_property
    def _directories(self) -> frozenset[str]:
        return frozenset(file.path for file in self.files if file.kind == "dir")


def _below(path: Path, root: str) -> str:
    """`path` relative to `root`, ``.`` for itself, empty where it lies elsewhere."""
    text = os.fspath(path)
    if text == root:
        return "."
    prefix = root.rstrip("/") + "/"
    return text[len(prefix) :] if text.startswith(prefix) else ""
