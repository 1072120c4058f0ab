"""What a build sees: the values of this package."""

from __future__ import annotations

from dataclasses import dataclass
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
