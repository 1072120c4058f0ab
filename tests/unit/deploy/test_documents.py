"""Manifest files as objects, with the places where they begin."""

from __future__ import annotations

import pytest
import yaml

from devloop.deploy.documents import MAX_DEPTH, parse, refuse_twins, to_yaml
from devloop.errors import ConfigError
from devloop.model import Manifest, Object

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def objects(text: str, source: str = "a.yaml") -> list[Object]:
    return [manifest.object for manifest in parse(text, source)]


def error(text: str, source: str = "k8s/a.yaml") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, source)
    return caught.value


def test_documents_lists_and_empty_documents_become_objects_with_their_lines() -> None:
    text = f"""---
# nothing
---
{HEAD}---
apiVersion: v1
kind: List
items:
  - {{apiVersion: v1, kind: Pod, metadata: {{name: b}}}}
  - kind: PodList
    apiVersion: v1
    items:
    - {{apiVersion: v1, kind: Pod, metadata: {{name: c}}}}
---
"""
    assert [(str(m.ref), m.line, m.source) for m in parse(text, "a.yaml")] == [
        ("configmap/a", 4, "a.yaml"), ("pod/b", 11, "a.yaml"), ("pod/c", 15, "a.yaml")]


def test_json_files_may_hold_tabs_lists_and_several_values() -> None:
    pod = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "%s"}}'
    text = '{\n\t"apiVersion": "v1", "kind": "List", "items": [' + pod % "a" + "]}\n" + pod % "\\ud83d\\ude00"
    assert [(m.object["metadata"]["name"], m.line) for m in parse(text, "a.json")] == [("a", 1), ("😀", 3)]


@pytest.mark.parametrize(("written", "value"), [
    ("22:22", "22:22"), ("2024-01-01", "2024-01-01"), ("0o644", 0o644), ("0644", 0o644), ("0x1f", 31), ("1_000", 1000), ("1e3", 1000.0),
    ("=", "="), ("on", True), ("no", False), ("~", None), ("1.5", 1.5), ("1.2.3", "1.2.3"), ("'8'", "8"), ("y", "y"), ("-", None)])
def test_scalars_are_read_as_kubectl_reads_them(written: str, value: object) -> None:
    text = f"{HEAD}data: {{a: {written}}}\n" if written != "-" else f"{HEAD}data:\n  a:\n"
    read = objects(text)[0]["data"]["a"]
    assert (read, type(read)) == (value, type(value))


def test_keys_are_text() -> None:
    assert objects(f"{HEAD}data: {{80: a, true: b}}")[0]["data"] == {"80": "a", "true": "b"}


def test_aliases_are_copies_and_merges_are_merged() -> None:
    a = objects(f"{HEAD}one: &l {{x: 1}}\ntwo: *l\nthree: {{<<: *l, y: 2}}\nfour: {{<<: *l, x: 3}}\nfive: [*l]\n")[0]
    assert (a["two"], a["three"], a["four"], a["five"]) == ({"x": 1}, {"x": 1, "y": 2}, {"x": 3}, [{"x": 1}])
    a["one"]["x"] = 9
    assert a["two"]["x"] == a["five"][0]["x"] == 1


def test_an_aliased_merge_can_be_used_twice() -> None:
    a = objects(f"{HEAD}base: &b {{x: 1}}\none: &o {{<<: *b, x: 2}}\ntwo: *o\n")[0]
    assert a["two"] == {"x": 2}


@pytest.mark.parametrize(("text", "where", "said"), [
    (f"{HEAD}data: {{a: [1}}\n", "k8s/a.yaml:4:13", "not valid YAML"),
    (f"{HEAD}data:\n\ta: 1\n", "k8s/a.yaml:5:1", "not valid YAML"),
    (f"{HEAD}---\n{HEAD}data: {{a: 1, b: 2, a: 3}}\n", "k8s/a.yaml:8:20", "the key 'a' is there twice (first in line 8)"),
    (f"{HEAD}data: !Ref x\n", "k8s/a.yaml:4:7", "the tag !Ref means nothing"),
    (f"{HEAD}data: !!binary aGk=\n", "k8s/a.yaml:4:7", "the tag !!binary means nothing"),
    (f"{HEAD}data: &a [*a]\n", "k8s/a.yaml:4:7", "contains itself"),
    (f"{HEAD}data: {{a: !!float .inf}}\n", "k8s/a.yaml:1:1", "JSON does not have"),
    (f"{HEAD}data: {{a: !!int x}}\n", "k8s/a.yaml:4:11", "'x' is no int"),
    (f"{HEAD}data: \a\n", "k8s/a.yaml:4:7", "no text that YAML allows"),
    (f"{HEAD}---\n- a\n", "k8s/a.yaml:5:1", "expected a Kubernetes object, found a list"),
    ("hello\n", "k8s/a.yaml:1:1", 'expected a Kubernetes object, found "hello"'),
    ("# c\nkind: Pod\nmetadata: {name: a}\n", "k8s/a.yaml:2:1", "this object has no apiVersion"),
    ("apiVersion: v1\nmetadata: {name: a}\n", "k8s/a.yaml:1:1", "this object has no kind"),
    ("apiVersion: 1\nkind: Pod\nmetadata: {name: a}\n", "k8s/a.yaml:1:1", "apiVersion must be text, found 1"),
    ("apiVersion: v1\nkind: Pod\n", "k8s/a.yaml:1:1", "this Pod has no metadata.name"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: 8}\n", "k8s/a.yaml:1:1", "metadata.name of this Pod must be text, found 8"),
    ("apiVersion: v1\nkind: Pod\nmetadata: a\n", "k8s/a.yaml:1:1", "metadata must be a mapping"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: [b]}\n", "k8s/a.yaml:1:1", "metadata.labels of pod/a must be a mapping"),
    ("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: a-}\n", "k8s/a.yaml:1:1", "has generateName"),
    ("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n", "k8s/a.yaml:4:3", "no metadata.name"),
])
def test_errors_name_the_place_and_what_is_wrong(text: str, where: str, said: str) -> None:
    message = error(text).message
    assert message.startswith(f"{where}: ")
    assert said in message


def test_json_errors_name_the_place() -> None:
    assert error('{\n "a": }', "a.json").message.startswith("a.json:2:7: this is not valid JSON")


@pytest.mark.parametrize(("source", "levels"), [("a.json", MAX_DEPTH), ("a.yaml", MAX_DEPTH), ("a.json", 100_000), ("a.yaml", 500)])
def test_what_is_nested_too_deeply_is_told_as_such(source: str, levels: int) -> None:
    def nested(levels: int) -> str:
        return '{"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "data": ' + "[" * levels + "]" * levels + "}"

    assert objects(nested(MAX_DEPTH - 1), source)
    assert error(nested(levels), source).message == f"{source}:1:1: this is nested more than {MAX_DEPTH} levels deep"


def test_a_template_a_tab_and_a_kustomization_get_a_hint() -> None:
    assert "template" in error("apiVersion: v1\nkind: {{ .Values.kind }}\n").hint
    assert "template" in error("{{- if .x }}\napiVersion: v1\n").hint
    assert "tab" in error(f"{HEAD}data:\n\ta: 1\n").hint
    assert "kustomize" in error("resources: [a.yaml]\n", "k8s/kustomization.yaml").hint


def test_the_same_object_twice_names_both_places() -> None:
    twins = [*parse(f"{HEAD}---\n{HEAD}", "a.yaml")]
    with pytest.raises(ConfigError, match=r"a\.yaml:5:1: configmap/a is there already, in a\.yaml:1"):
        refuse_twins(twins)
    refuse_twins([twins[0], Manifest({**twins[0].object, "metadata": {"name": "a", "namespace": "x"}}, "b.yaml")])


def test_what_is_written_is_read_back_and_is_readable() -> None:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"},
           "data": {"script": "one\n  two: 3\n", "on": "on", "e": "1e3", "o": "0o17", "d": "2024-01-01", "y": "y", "t": "22:22",
                    "ü": "é " * 90, "trailing": "a \nb", "i": ".inf", "tab": "a\n\tb", "n": "null",
                    "list": [{"a": 1, "b": [True, None, 0.5]}]}}
    shared = {"x": "1"}
    obj["one"], obj["two"] = shared, shared
    text = to_yaml([Manifest(obj, "k8s/a.yaml"), Manifest(obj, "b.yaml")])
    assert objects(text) == [obj, obj]
    assert list(yaml.safe_load_all(text)) == [obj, obj]
    assert text.startswith("---\n# k8s/a.yaml\nkind: ConfigMap\napiVersion: v1\n")
    assert "  script: |\n    one\n      two: 3\n" in text
    assert "&" not in text
    assert "'1e3'" in text
    assert "'y': 'y'" in text
