from __future__ import annotations

from pathlib import Path

import pytest
from harness import Devloop


@pytest.fixture
def devloop(tmp_path: Path) -> Devloop:
    """The command in an empty directory, without cluster and without Docker: neither is there, whatever this machine has."""
    return Devloop(tmp_path, {"KUBECONFIG": str(tmp_path / "no-kubeconfig"), "DOCKER_HOST": f"unix://{tmp_path}/no-docker.sock"})
