"""Which images a Dockerfile starts from."""

from __future__ import annotations

import pytest

from devloop.build.bases import base_images

from .conftest import MakeJob


@pytest.mark.parametrize(("dockerfile", "images"), [
    ("FROM busybox:1.36\nFROM ghcr.io/a/b@sha256:" + "0" * 64 + "\nFROM busybox:1.36\n",
     ["busybox:1.36", "ghcr.io/a/b@sha256:" + "0" * 64]),
    ("FROM --platform=linux/amd64 a:1 AS Base\nFROM base\nFROM scratch\nCOPY --from=BASE /x /x\nCOPY --from=0 /x /y\n", ["a:1"]),
    ("FROM a\nCOPY --from=nginx:1 --chown=1 /etc/nginx /etc/nginx\n", ["a", "nginx:1"]),
    ('ARG REG=reg.example:5000\nARG TAG="2"\nARG NONE\nFROM ${REG}/x:$TAG\nFROM y:${NONE:-3}${REG:+z}\n', ["reg.example:5000/x:2", "y:3z"]),
    ("ARG UNSET\nFROM $UNSET/x\n", []),
    ("FROM Not/An:Image:Ref\n", []),
])
def test_base_images(job: MakeJob, dockerfile: str, images: list[str]) -> None:
    assert [str(ref) for ref in base_images(job(dockerfile).context.instructions, {})] == images


def test_build_arguments_win_over_defaults(job: MakeJob) -> None:
    context = job("ARG BASE=a\nFROM $BASE\n").context
    assert [str(ref) for ref in base_images(context.instructions, {"BASE": "b:2"})] == ["b:2"]
