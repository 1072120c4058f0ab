"""The k3d command line, for clusters whose nodes are not containers of the Engine that builds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from devloop.cancel import Cancel
from devloop.clients.tools import Tool

TOOL = Tool("k3d", "https://k3d.io/stable/#installation")
_TROUBLE = re.compile(r"(?:WARN|ERRO|FATA)\[\d+\] .*")


def load(archive: Path, cluster: str, environ: Mapping[str, str], cancel: Cancel) -> str:
    """Load an image's tar into every node. Returns what was complained about; empty: nothing. Raises `PublishError`, `Cancelled`."""
    # `direct`: the default mode ends with 0 whatever the nodes say (k3d #1484), and needs an image of its own
    done = TOOL.run(["image", "import", str(archive), "--cluster", cluster, "--mode", "direct"], {**environ, "LOG_COLORS": "0"}, cancel)
    trouble = _TROUBLE.search(done.errors)
    if done.code or trouble:
        return TOOL.complaint(done, trouble[0] if trouble else "")
    return ""
