"""The kind command line, for clusters whose nodes are not containers of the Engine that builds (Podman, nerdctl)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.tools import Tool

TOOL = Tool("kind", "https://kind.sigs.k8s.io/docs/user/quick-start/#installation")


def load(archive: Path, cluster: str, environ: Mapping[str, str], cancel: Cancel) -> str:
    """Load an image's tar into every node. Returns what was complained about; empty: nothing. Raises `PublishError`, `Cancelled`."""
    # an archive: `load docker-image` would ask the docker CLI, and import platforms that the archive lacks (kind #3795)
    done = TOOL.run(["load", "image-archive", str(archive), "--name", cluster], environ, cancel)
    return TOOL.complaint(done) if done.code else ""
