"""Contexts on disk, written as a mapping of paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from devloop.config.models import Artifact
from devloop.context import BuildContext, DigestCache, analyse

Tree = Mapping[str, str | bytes | None]


def plant(root: Path, tree: Tree) -> None:
    """``name/``: a directory; ``name@``: a symbolic link to the text; anything else: a file."""
    for name, content in tree.items():
        path = root / name.rstrip("/@")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif name.endswith("@"):
            path.symlink_to(os.fsdecode(content or ""))
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content or b"")


@pytest.fixture
def web(tmp_path: Path) -> Callable[..., BuildContext]:
    """Plants a context in ``web`` and analyses it; keywords go to `docker` of the artifact."""
    cache = DigestCache()

    def make(tree: Tree, *, buildkit: bool = False, **docker: object) -> BuildContext:
        (tmp_path / "web").mkdir(exist_ok=True)
        plant(tmp_path / "web", tree)
        artifact = Artifact.model_validate({"image": "hello-web", "context": "web", "docker": docker})
        return analyse(artifact, tmp_path, cache, buildkit=buildkit)

    return make
