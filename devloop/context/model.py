"""What a build sees: the values of this package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from devloop.errors import BuildError

Kind = Literal["file", "dir", "link"]


class ContextChanged(BuildError):
    """A file changed, grew, shrank or vanished between being hashed and being sent: the build is stale, analyse again."""


class ContextFile(NamedTuple):
    """One entry of the context. A named tuple, because there are tens of thousands of them.

    `path` is relative to the context, with ``/``, bytes that are no UTF-8 as surrogates; `mode` the permission bits;
    `mtime` whole seconds (sent, but no part of any digest); `target` a link's; `digest` the content's sha256 in hex.
    """

    path: str
    kind: Kind
    mode: int
    size: int
    mtime: int
    target: str
    digest: str


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile. `line` to `end_line` are 1-based; `text` is one line, continuations joined.

    `stage` is the index of the stage it belongs to, -1 for the ARGs before the first FROM; `stage_name` what ``AS`` calls it.
    """

    keyword: str
    flags: tuple[str, ...]
    arguments: str
    heredocs: tuple[str, ...]
    line: int
    end_line: int
    text: str
    stage: int = -1
    stage_name: str = ""


@dataclass(frozen=True)
class BuildContext:
    """Which files an artifact is built from, as they were when they were analysed.

    `root` and `dockerfile` are absolute; the Dockerfile may lie outside of `root`. `dockerfile_name` is the name under which
    the Engine finds it in the tar. `files` is sorted and holds what the Dockerfile can see and nothing else, `size` is the sum
    of their bytes. `needs_buildkit` says why the Dockerfile needs BuildKit (``RUN --mount on line 7``), or is empty.
    `digest` is the sha256 in hex of the Dockerfile and of every file's path, type, permissions, link target and content.
    `roots` are the directories to watch; `skipped` what cannot be sent, with the reason (``run.sock (a socket)``).
    """

    root: Path
    dockerfile: Path
    dockerfile_name: str
    files: tuple[ContextFile, ...]
    needs_buildkit: str
    instructions: tuple[Instruction, ...]
    size: int
    digest: str
    roots: tuple[Path, ...]
    skipped: tuple[str, ...]

    def tar(self) -> Iterator[bytes]:
        """The context as a GNU tar, streamed while it is read. Raises `ContextChanged` where a file is not what it was."""
        raise NotImplementedError

    def depends_on(self, path: Path) -> bool:
        """Whether a change of this absolute path could change the build; files that are not there yet included."""
        raise NotImplementedError

    def step_line(self, text: str) -> int | None:
        """The Dockerfile's line that a line of build output (``Step 3/7 : RUN …``, ``[build 2/5] COPY …``) is about."""
        raise NotImplementedError
