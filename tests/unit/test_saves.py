"""Which dirty paths are a save: what is no part of a context is known by its content."""

from __future__ import annotations

import os
from pathlib import Path

from devloop.app import App, Options
from devloop.config.models import Config
from devloop.dev import Saves
from devloop.pipeline import Pipeline


def test_a_file_counts_when_its_content_changes_and_a_directory_always(tmp_path: Path) -> None:
    config = Config.model_validate({"apiVersion": "devloop/v1", "name": "shop", "deploy": {"manifests": ["k8s/*.yaml"]}})
    told: list[object] = []
    saves = Saves(Pipeline(config, tmp_path, App(Options(), told.append), told.append))
    k8s = tmp_path / "k8s"
    file = k8s / "a.yaml"

    def counts(path: Path) -> bool:
        return saves.changed(frozenset({path})) == {path}

    for _ in range(2):      # however often it is replaced
        k8s.mkdir()
        assert counts(k8s)
        assert counts(k8s)
        k8s.rmdir()
        assert counts(k8s)
        assert not counts(k8s)
    k8s.mkdir()
    file.write_text("one")
    assert counts(file)
    os.utime(file)
    assert not counts(file)
    file.write_text("two")
    assert counts(file)
    file.unlink()
    assert counts(file)
