"""Image fields and pod templates."""

from __future__ import annotations

import pytest

from devloop.config.models import ImagePaths
from devloop.deploy import fields
from devloop.errors import ConfigError
from devloop.model import Object


def test_paths_of_every_form() -> None:
    expected = ("spec", "a.b", None, 2, "image")
    assert fields.parse_path(".spec['a.b'][*][2].image") == expected
    assert fields.parse_path("$.spec[\"a.b\"][*][2].image") == expected
    assert fields.parse_path("{.spec['a.b'][*][2].image}") == expected
    assert fields.parse_path("spec['a.b'][*][2].image") == expected


@pytest.mark.parametrize(("path", "said"), [
    (".spec..image", "it stops at '..image'"), ("", "it stops at '.'"), (".spec[?(@.a)].image", "it stops at '[?"),
    (".a[-1].image", "it stops at '[-1]"), (".a[].image", "it stops at '[]"), (".a.image.", "it stops at '.'"),
    (".spec.containers[*]", "must end in the name of a field")])
def test_a_malformed_path_says_where_it_ends_to_make_sense(path: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fields.parse_path(path)
    assert said in caught.value.message
    assert f"'{path}'" in caught.value.message


def test_select_follows_lists_maps_and_indices_and_skips_what_is_not_there() -> None:
    value = {"a": [{"image": "x"}, {"name": "no"}, {"image": "y"}], "m": {"k.1": {"image": "z"}}}
    def at(path: str) -> list[str]:
        return [where for _, _, where in fields.select(value, fields.parse_path(path))]

    assert at(".a[*].image") == [".a[0].image", ".a[2].image"]
    assert at(".a[2].image") == [".a[2].image"]
    assert at(".a[7].image") == at(".a.image") == at(".nope.image") == at(".m[0].image") == []
    assert at(".m[*].image") == at(".m['k.1'].image") == [".m['k.1'].image"]


def custom(spec: Object) -> Object:
    return {"apiVersion": "example.org/v1", "kind": "Rollout", "metadata": {"name": "r"}, "spec": spec}


@pytest.mark.parametrize("kind", ["Rollout", "Rollout.example.org"])
def test_a_custom_kind_is_known_by_name_or_with_its_group(kind: str) -> None:
    obj = custom({"image": "a", "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"image": "b"}]}}})
    entry = ImagePaths(kind=kind, paths=[".spec.image", ".spec.template.spec.containers[*].image"])
    assert [f.image for f in fields.images(obj, [entry])] == ["a", "b"]
    assert list(fields.pod_templates(obj, [entry])) == [obj["spec"]["template"]]
    assert list(fields.images(obj, [ImagePaths(kind="Rollout.other.org", paths=[".spec.image"])])) == []


def test_a_custom_kinds_template_without_labels_is_left_alone() -> None:
    obj = custom({"template": {"spec": {"containers": [{"image": "b"}]}}})
    assert list(fields.pod_templates(obj, [ImagePaths(kind="Rollout", paths=[".spec.template.spec.containers[*].image"])])) == []


def test_a_path_that_leads_to_something_else_than_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"leads to \.spec\.image of rollout/r, which is not an image but \{'name': 'a'\}"):
        list(fields.images(custom({"image": {"name": "a"}}), [ImagePaths(kind="Rollout", paths=[".spec.image"])]))


def test_a_path_to_what_is_known_already_finds_it_once() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"image": "a"}]}}
    assert len(list(fields.images(pod, [ImagePaths(kind="Pod", paths=[".spec.containers[*].image"])]))) == 1
