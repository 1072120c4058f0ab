from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devloop.build.builder import BuildJob
from devloop.config.models import Artifact, DockerBuild
from devloop.context import DigestCache, analyse
from devloop.model import ImageRef

MakeJob = Callable[..., BuildJob]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJob:
    """A job for a Dockerfile's text, in the current directory's ``web/``, where there is a file ``data``."""
    monkeypatch.chdir(tmp_path)

    def make(dockerfile: str, *, build_args: dict[str, str] | None = None, **docker: object) -> BuildJob:
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web" / "Dockerfile").write_text(dockerfile)
        (tmp_path / "web" / "data").write_text("data")
        artifact = Artifact(image="hello-web", context="web", docker=DockerBuild(**docker))   # type: ignore[arg-type]
        return BuildJob(artifact, analyse(artifact, tmp_path, DigestCache()), ImageRef("hello-web", "1"), build_args or {})

    return make
