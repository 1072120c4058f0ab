"""Which files are manifests, and what rendering changes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devloop.config.models import ImagePaths
from devloop.deploy.manifests import ManifestSet, Rendered, render
from devloop.errors import ConfigError, DeployError
from devloop.model import ImageRef, Manifest, Object, PublishedImage


def write(base: Path, *names: str) -> None:
    for name in names:
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {file.stem}, namespace: {file.parent.name}}}\n")


def names(base: Path, *patterns: str) -> list[str]:
    return [m.ref.name for m in ManifestSet(patterns, base).load()]


def test_files_globs_and_directories_in_order_and_no_file_twice(tmp_path: Path) -> None:
    write(tmp_path, "k8s/b.yaml", "k8s/a.yml", "k8s/c.json.txt", "k8s/.hidden.yaml", "k8s/deep/d.yaml", "one.yaml", "k8s/deep/er/e.yaml")
    (tmp_path / "k8s/README.md").write_text("{{ not YAML")
    (tmp_path / "k8s/j.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "j"}}')
    assert names(tmp_path, "k8s") == ["a", "b", "j"]
    assert names(tmp_path, "k8s/*.yaml") == ["b"]
    assert names(tmp_path, "k8s/**/*.yaml") == ["b", "d", "e"]
    assert names(tmp_path, "k8s/**") == ["a", "b", "j", "d", "e"]
    assert names(tmp_path, "one.yaml", "k8s/deep/../b.yaml", "k8s", "*/deep") == ["one", "b", "a", "j", "d"]
    assert names(tmp_path, str(tmp_path / "k8s/*.yaml")) == ["b"]
    assert names(tmp_path / "k8s", "../one.yaml") == ["one"]
    assert names(tmp_path) == []


def test_a_base_with_wildcards_in_its_name_is_taken_literally(tmp_path: Path) -> None:
    base = tmp_path / "we[i]rd*"
    write(base, "k8s/a.yaml")
    manifests = ManifestSet(["k8s/*.yaml"], base)
    assert [m.ref.name for m in manifests.load()] == ["a"]
    assert manifests.roots == (base / "k8s",)
    assert manifests.depends_on(base / "k8s/new.yaml")


def test_sources_are_named_as_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "app/k8s/a.yaml")
    monkeypatch.chdir(tmp_path)
    assert ManifestSet(["k8s"], tmp_path / "app").load()[0].source == "app/k8s/a.yaml"
    monkeypatch.chdir("/")
    monkeypatch.chdir(tmp_path / "app/k8s")
    assert ManifestSet(["app/k8s"], tmp_path).load()[0].source == "a.yaml"


@pytest.mark.parametrize(("pattern", "near"), [
    ("k8s/*.yml", "k8s/a.yaml"), ("kubernetes/*.yaml", "k8s/a.yaml"), ("k8s/b.yaml", "k8s/a.yaml")])
def test_a_pattern_that_matches_nothing_says_what_it_looked_for_and_what_there_is(tmp_path: Path, pattern: str, near: str) -> None:
    write(tmp_path, "k8s/a.yaml", ".git/x.yaml", "devloop.yaml")
    with pytest.raises(ConfigError) as caught:
        ManifestSet([pattern], tmp_path).load()
    assert f"'{pattern}' matches no file; looked for {tmp_path / pattern}" in caught.value.message
    assert near in caught.value.hint
    assert ".git" not in caught.value.hint


def test_an_empty_directory_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "k8s").mkdir()
    with pytest.raises(ConfigError, match=r"'k8s' matches no file; .* \(\*\.yaml, \*\.yml or \*\.json\)"):
        ManifestSet(["k8s"], tmp_path).load()


def test_files_that_are_no_text_and_duplicates_are_errors(tmp_path: Path) -> None:
    write(tmp_path, "k8s/a.yaml")
    (tmp_path / "k8s/b.yaml").write_bytes((tmp_path / "k8s/a.yaml").read_bytes())
    with pytest.raises(ConfigError, match=r"k8s/b\.yaml:1:1: configmap/a is there already, in .*k8s/a\.yaml:1"):
        ManifestSet(["k8s"], tmp_path).load()
    (tmp_path / "k8s/b.yaml").write_bytes(b"a: b\nc: \xff\n")
    with pytest.raises(ConfigError, match=r"k8s/b\.yaml:2:1: this is not UTF-8 text"):
        ManifestSet(["k8s"], tmp_path).load()
    (tmp_path / "k8s/b.yaml").write_bytes((tmp_path / "k8s/a.yaml").read_text().replace("name: a", "name: b").encode("utf-8-sig"))
    assert names(tmp_path, "k8s") == ["a", "b"]


def test_roots_are_the_directories_where_manifests_are_or_would_be(tmp_path: Path) -> None:
    write(tmp_path, "k8s/a.yaml", "one.yaml")
    assert ManifestSet(["k8s/*.yaml", "k8s", "k8s/**/x/*.yaml"], tmp_path).roots == (tmp_path / "k8s",)
    assert ManifestSet(["one.yaml", "k8s/a.yaml", "nope/deep/*.yaml"], tmp_path).roots == (tmp_path, tmp_path / "k8s")


@pytest.mark.parametrize(("pattern", "path", "expected"), [
    ("k8s/*.yaml", "k8s/new.yaml", True), ("k8s/*.yaml", "k8s/deep/new.yaml", False), ("k8s/*.yaml", "k8s/.#new.yaml", False),
    ("k8s/*.yaml", "k8s/new.yml", False), ("k8s/*.yaml", "k8s", True), ("k8s", "k8s/new.yml", True), ("k8s", "k8s/README.md", False),
    ("k8s", "k8s/deep/new.yml", False), ("one.yaml", "one.yaml", True), ("one.yaml", "two.yaml", False), ("*/k8s", "web/k8s/a.yaml", True),
    ("**/*.yaml", "a.yaml", True), ("**/*.yaml", "a/b/c.yaml", True), ("**/*.yaml", "a/.b/c.yaml", False), ("k8s/**", "k8s/a/b.yaml", True),
    ("../k8s/*.yaml", "../k8s/a.yaml", True), ("k8s/*", "k8s/a.swp", False), ("manifest", "manifest", True)])
def test_it_depends_on_what_it_would_load(tmp_path: Path, pattern: str, path: str, expected: bool) -> None:
    assert ManifestSet([pattern], tmp_path / "p").depends_on(tmp_path / "p" / path) is expected


# --- render

WEB = PublishedImage("hello-web", ImageRef("hello-web", "abc"))
LOCAL = PublishedImage("hello-web", ImageRef("hello-web", "abc"), local_only=True)


def pod_spec(image: str = "hello-web", **more: str) -> Object:
    return {"initContainers": [{"name": "i", "image": image}],
            "containers": [{"name": "c", "image": image, **more}, {"name": "d", "image": "other:1"}]}


def manifest(kind: str, spec: Object, api: str = "apps/v1", **more: Object) -> Manifest:
    return Manifest({"apiVersion": api, "kind": kind, "metadata": {"name": "web"}, "spec": spec, **more}, "a.yaml", 3)


def rendered(*manifests: Manifest, image: PublishedImage = WEB, **more: object) -> Rendered:
    before = json.dumps([m.object for m in manifests])
    result = render(manifests, [image], name="hello", **more)  # type: ignore[arg-type]
    assert json.dumps([m.object for m in manifests]) == before
    return result


TEMPLATE_KINDS = [("Deployment", "apps/v1"), ("StatefulSet", "apps/v1"), ("DaemonSet", "apps/v1"), ("ReplicaSet", "apps/v1"),
                  ("ReplicationController", "v1"), ("Job", "batch/v1")]


@pytest.mark.parametrize(("kind", "api"), TEMPLATE_KINDS)
def test_images_and_labels_of_every_kind_with_a_template(kind: str, api: str) -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "volumeClaimTemplates": [{"metadata": {"name": "v"}}],
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec("docker.io/library/hello-web:old")}}
    (one,) = rendered(manifest(kind, spec, api)).manifests
    assert (one.source, one.line) == ("a.yaml", 3)
    template = one.object["spec"]["template"]
    containers = template["spec"]["initContainers"] + template["spec"]["containers"]
    assert [c["image"] for c in containers] == ["hello-web:abc", "hello-web:abc", "other:1"]
    assert one.object["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "devloop", "devloop.dev/name": "hello"}
    assert template["metadata"]["labels"] == {"a": "b", "devloop.dev/name": "hello"}
    assert one.object["spec"]["selector"] == {"matchLabels": {"a": "b"}}
    assert one.object["spec"]["volumeClaimTemplates"] == [{"metadata": {"name": "v"}}]


def test_a_cronjob_a_pod_and_a_podtemplate() -> None:
    cron = manifest("CronJob", {"jobTemplate": {"metadata": {}, "spec": {"template": {"spec": pod_spec()}}}}, "batch/v1beta1")
    pod = manifest("Pod", {**pod_spec(), "ephemeralContainers": [{"name": "e", "image": "hello-web"}],
                           "volumes": [{"name": "v", "image": {"reference": "hello-web:1"}}]}, "v1")
    plain = Manifest({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"},
                      "template": {"metadata": None, "spec": pod_spec()}}, "a")
    one, two, three = (m.object for m in rendered(cron, pod, plain).manifests)
    inner = one["spec"]["jobTemplate"]["spec"]["template"]
    assert inner["spec"]["containers"][0]["image"] == "hello-web:abc"
    assert inner["metadata"]["labels"] == {"devloop.dev/name": "hello"}
    assert one["spec"]["jobTemplate"]["metadata"] == {}
    assert two["spec"]["ephemeralContainers"][0]["image"] == two["spec"]["volumes"][0]["image"]["reference"] == "hello-web:abc"
    assert two["metadata"]["labels"]["devloop.dev/name"] == "hello"
    assert three["template"]["spec"]["containers"][0]["image"] == "hello-web:abc"
    assert three["template"]["metadata"]["labels"] == {"devloop.dev/name": "hello"}


@pytest.mark.parametrize("written", [
    "hello-web", "hello-web:latest", "hello-web@sha256:" + "0" * 64, "docker.io/library/hello-web:1", "index.docker.io/hello-web"])
def test_the_repository_decides_whatever_tag_is_written(written: str) -> None:
    (one,) = rendered(manifest("Pod", pod_spec(written), "v1")).manifests
    assert one.object["spec"]["containers"][0]["image"] == "hello-web:abc"


@pytest.mark.parametrize("written", ["hello-web-2", "ghcr.io/hello-web", "hello/hello-web", "${IMAGE}", "Hello-Web"])
def test_other_repositories_are_left_alone(written: str) -> None:
    with pytest.raises(DeployError, match="no manifest uses the image hello-web") as caught:
        rendered(manifest("Pod", pod_spec(written), "v1"))
    assert written in caught.value.message
    assert "other:1" in caught.value.message


def test_an_unused_image_in_a_field_we_do_not_know_names_the_setting_that_helps() -> None:
    custom = manifest("Rollout", {"steps": [{"image": "hello-web:1", "name": "hello-web"}]}, "example.org/v1")
    with pytest.raises(DeployError) as caught:
        rendered(custom)
    assert '{kind: Rollout, paths: [".spec.steps[*].image"]}' in caught.value.hint
    further = [ImagePaths(kind="Rollout", paths=[".spec.steps[*].image"])]
    assert rendered(custom, image_paths=further).manifests[0].object["spec"]["steps"][0] == {"image": "hello-web:abc", "name": "hello-web"}


def test_no_manifests_at_all_is_said_and_a_base_needs_no_manifest() -> None:
    with pytest.raises(DeployError, match="there are no manifests"):
        rendered()
    assert rendered(bases=["hello-web"]).manifests == ()


def test_a_managed_by_of_the_users_own_stays() -> None:
    pod = manifest("Pod", pod_spec(), "v1")
    pod.object["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "me", "devloop.dev/name": "else"}
    assert rendered(pod).manifests[0].object["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "me", "devloop.dev/name": "hello"}


@pytest.mark.parametrize(("policy", "expected", "told"), [
    ("Always", "IfNotPresent", True), (None, "IfNotPresent", False), ("IfNotPresent", "IfNotPresent", False), ("Never", "Never", False)])
def test_an_image_of_this_machine_alone_is_not_pulled(policy: str | None, expected: str, told: bool) -> None:
    more = {"imagePullPolicy": policy} if policy else {}
    result = rendered(manifest("Pod", pod_spec(**more), "v1"), image=LOCAL)
    first, other = result.manifests[0].object["spec"]["containers"]
    assert first["imagePullPolicy"] == expected
    assert "imagePullPolicy" not in other
    notice = "pod/web: imagePullPolicy Always becomes IfNotPresent, because hello-web is only on this machine"
    assert result.notices == ((notice,) if told else ())


def test_a_published_image_keeps_its_pull_policy() -> None:
    result = rendered(manifest("Pod", pod_spec(imagePullPolicy="Always"), "v1"))
    assert result.manifests[0].object["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert result.notices == ()


def test_a_custom_field_gets_no_pull_policy_it_may_not_know_but_an_always_gives_way() -> None:
    further = [ImagePaths(kind="Rollout", paths=[".spec.image"])]
    plain = rendered(manifest("Rollout", {"image": "hello-web"}, "example.org/v1"), image=LOCAL, image_paths=further)
    assert plain.manifests[0].object["spec"] == {"image": "hello-web:abc"}
    explicit = manifest("Rollout", {"image": "hello-web", "imagePullPolicy": "Always"}, "example.org/v1")
    always = rendered(explicit, image=LOCAL, image_paths=further)
    assert always.manifests[0].object["spec"]["imagePullPolicy"] == "IfNotPresent"


PUBLISHED = PublishedImage("hello-web", ImageRef("ghcr.io/acme/hello-web", "abc"))


@pytest.mark.parametrize(("image", "written", "expected"), [
    (PUBLISHED, None, [{"name": "login"}]),
    (PUBLISHED, [{"name": "other"}], [{"name": "other"}, {"name": "login"}]),
    (PUBLISHED, [{"name": "login"}], [{"name": "login"}]),
    (PublishedImage("hello-web", ImageRef("localhost:5000/hello-web", "abc")), None, [{"name": "login"}]),
    (PublishedImage("hello-web", ImageRef("localhost.corp.com/hello-web", "abc")), None, [{"name": "login"}]),
    (LOCAL, None, None),
], ids=["none", "another", "the same", "a registry on this machine", "one that is called alike", "on this machine only"])
def test_pods_that_pull_an_image_name_the_pull_secret(image, written, expected):
    spec: Object = {"containers": [{"name": "web", "image": "hello-web"}]} | ({"imagePullSecrets": written} if written else {})
    cron = manifest("CronJob", {"jobTemplate": {"spec": {"template": {"spec": spec}}}}, "batch/v1")
    other = manifest("Pod", {"containers": [{"name": "db", "image": "postgres"}]}, "v1")
    one, two = rendered(cron, other, image=image, pull_secret="login").manifests

    assert one.object["spec"]["jobTemplate"]["spec"]["template"]["spec"].get("imagePullSecrets") == expected
    assert "imagePullSecrets" not in two.object["spec"]
