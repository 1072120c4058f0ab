"""A list of builds that somebody has written or mended by hand: what is taken, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Devloop, Result

DIGEST = "sha256:" + "a" * 64


def rendered(devloop: Devloop, builds: Any) -> Result:
    (devloop.cwd / "devloop.yaml").write_text("apiVersion: devloop/v1\nname: hello\nbuild: {artifacts: [{image: hello-web}]}\n")
    (devloop.cwd / "k8s").mkdir()
    (devloop.cwd / "k8s" / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: hello}\nspec: {containers: [{name: web, image: hello-web}]}\n")
    (devloop.cwd / "builds.json").write_text(builds if isinstance(builds, str) else json.dumps({"builds": builds}))
    return devloop.json("render", "--build-artifacts", "builds.json", "-o", "all.yaml")


def build(tag: Any, image: Any = "hello-web") -> dict[str, Any]:
    return {"imageName": image, "tag": tag}


@pytest.mark.parametrize("tag", ["hello-web:1", f"ghcr.io/acme/hello-web@{DIGEST}", f"ghcr.io/acme/hello-web:latest@{DIGEST}"])
def test_an_image_that_will_always_be_the_same_is_taken(devloop: Devloop, tag: str) -> None:
    assert not rendered(devloop, [build(tag)]).ended(0).all("notice")
    assert f"image: {tag}\n" in (devloop.cwd / "all.yaml").read_text()


def test_images_that_devloop_yaml_does_not_build_are_ignored_and_named(devloop: Devloop) -> None:
    said = rendered(devloop, [build("other:latest", "other"), build("hello-web:1")]).ended(0)
    assert "builds.json lists other, too" in said.one("notice")["message"]
    assert "image: hello-web:1\n" in (devloop.cwd / "all.yaml").read_text()


@pytest.mark.parametrize("tag", ["hello-web", "hello-web:latest", "ghcr.io/acme/hello-web:latest"])
def test_a_tag_that_may_mean_another_image_tomorrow_is_refused(devloop: Devloop, tag: str) -> None:
    failure = rendered(devloop, [build(tag)]).ended(2).one("failure")
    assert f"{tag} may mean another image tomorrow" in failure["message"]
    assert "digest" in failure["hint"]


@pytest.mark.parametrize(("builds", "said"), [
    ([build(5)], "tag must be text, found 5"), ([build(None)], "tag must be text, found null"),
    ([build("hello-web:1", ["hello-web"])], 'imageName must be text, found ["hello-web"]'), ([build("")], "not an image reference"),
    ([build("Hello:1")], "not an image reference"), ([{"imageName": "hello-web"}], "'tag'"), (["hello-web"], "no list of builds"),
    (5, "no list of builds"), ("[" * 100_000, "no list of builds"), ([], "no image for hello-web"),
], ids=str)
def test_what_is_no_list_of_builds_is_told_with_what_is_wrong(devloop: Devloop, builds: Any, said: str) -> None:
    failure = rendered(devloop, builds).ended(2).one("failure")
    assert said in failure["message"]
    assert failure["hint"]
