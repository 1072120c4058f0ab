"""What kubelets report."""

from __future__ import annotations

from typing import Any

import pytest

from devloop.model import BuiltImage, ImageRef
from devloop.publish.nodestatus import full, ready, reports


def node(*names: str, more: int = 0, is_ready: str = "True") -> dict[str, Any]:
    images = [{"names": list(names), "sizeBytes": 1}, *({"names": [f"other-{n}:1"]} for n in range(more))]
    return {"metadata": {"name": "n"}, "status": {"images": images, "conditions": [{"type": "MemoryPressure", "status": "False"},
                                                                                     {"type": "Ready", "status": is_ready}]}}


@pytest.mark.parametrize("names", [("web:1",), ("docker.io/library/web@sha256:aa", "docker.io/library/web:1"), ("x:1", "web:1")])
def test_an_image_is_reported_under_its_short_or_its_full_name(names: tuple[str, ...]) -> None:
    assert reports(node(*names), BuiltImage("web", ImageRef("web", "1"), "sha256:1"))


@pytest.mark.parametrize("names", [("web:2",), ("web",), ("localhost/web:1",), ("docker.io/library/web@sha256:aa",), ()])
def test_another_name_is_not_it(names: tuple[str, ...]) -> None:
    assert not reports(node(*names), BuiltImage("web", ImageRef("web", "1"), "sha256:1"))


def test_a_kubelet_reports_50_images_and_may_have_more() -> None:
    assert not full(node("web:1", more=48))
    assert full(node("web:1", more=49))
    assert not full({"metadata": {"name": "n"}, "status": {}})


def test_a_node_is_ready_where_it_says_so() -> None:
    assert ready(node())
    assert not ready(node(is_ready="Unknown"))
    assert not ready({"metadata": {"name": "n"}, "status": {}})
