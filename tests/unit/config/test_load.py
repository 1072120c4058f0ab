"""devloop.yaml becomes a Config, every value of the type its place asks for."""

import os
from pathlib import Path

import pytest

from devloop.config import load
from devloop.config.models import (
    Artifact,
    Build,
    Config,
    Deploy,
    DockerBuild,
    ImagePaths,
    Logs,
    PortForward,
    Requirement,
    TemplateTag,
    parse_duration,
)
from devloop.config.reference import EXAMPLE
from devloop.errors import ConfigError

HEAD = "apiVersion: devloop/v1\nname: hello\n"


def test_the_example_is_read_in_full(read):
    loaded = read(EXAMPLE)

    assert loaded.config.model_dump() == Config(
        api_version="devloop/v1", name="hello",
        build=Build(artifacts=[Artifact(image="hello-web", context="web", docker=DockerBuild(dockerfile="Dockerfile"))], tag="inputDigest"),
        deploy=Deploy(manifests=["k8s/*.yaml"], namespace="", kube_context="", rollout_timeout="10m"),
        port_forward=[PortForward(resource="service/hello", port="http", local_port=8080, address="127.0.0.1")],
        logs=Logs(since="start", exclude=[]),
    ).model_dump() | {"profiles": []}


def test_the_file_is_absolute_and_every_value_knows_its_line(read, project):
    loaded = read(EXAMPLE)

    assert loaded.file == project / "devloop.yaml"
    lines = {path: at.line for path, at in loaded.sources.items()}
    assert lines["name"] == 2
    assert lines["build.artifacts[0].image"] == 6
    assert lines["build.artifacts[0].docker.dockerfile"] == 8
    assert lines["publish"] == 10
    assert lines["deploy.manifests[0]"] == 12
    assert lines["portForward[0].localPort"] == 17
    assert "build.engine" not in lines
    assert str(loaded.sources["portForward[0].localPort"]) == "devloop.yaml:17:54"


def test_what_the_file_does_not_say_has_its_default(read):
    config = read(HEAD).config

    assert config.build == Build()
    assert config.deploy == Deploy()
    assert config.port_forward == []
    assert config.logs == Logs()


def test_a_key_without_a_value_has_its_default(read):
    config = read(HEAD + "build:\ndeploy:\n  manifests:\n  namespace: ~\n  rolloutTimeout: null\nportForward:\n").config

    assert (config.build, config.deploy, config.port_forward) == (Build(), Deploy(), [])


def test_build_args_and_labels_are_taken_as_they_are_written(read):
    text = HEAD + ("build: {artifacts: [{image: a, docker: {labels: {v: 1.10}, buildArgs: "
                   "{PORT: 8080, ON: on, OCTAL: 010, DATE: 2024-01-01, EMPTY: '', 1: x}}}]}\n")
    docker = read(text).config.build.artifacts[0].docker

    assert docker.build_args == {"PORT": "8080", "ON": "on", "OCTAL": "010", "DATE": "2024-01-01", "EMPTY": "", "1": "x"}
    assert docker.labels == {"v": "1.10"}


def test_the_forms_of_requires_tag_and_image_paths(read):
    config = read(HEAD + """\
build:
  tag: {template: "{{BRANCH}}"}
  artifacts:
    - {image: a, requires: [b, {image: c, alias: BASE}]}
    - image: b
    - image: c
deploy:
  imagePaths: [{kind: Rollout.argoproj.io, paths: [".spec.image"]}]
""").config

    assert config.build.tag == TemplateTag(template="{{BRANCH}}")
    assert config.build.artifacts[0].requires == [Requirement(image="b"), Requirement(image="c", alias="BASE")]
    assert config.deploy.image_paths == [ImagePaths(kind="Rollout.argoproj.io", paths=[".spec.image"])]


@pytest.mark.parametrize(("text", "port"), [("80", 80), ("http", "http"), ("${PORT}", 8080), ("'${PORT}'", 8080), ("${NAME}", "web"),
                                            ("80${ZERO}", 800)])
def test_a_port_is_a_number_or_a_name(read, text, port):
    environ = {"PORT": "8080", "NAME": "web", "ZERO": "0"}

    assert read(HEAD + f"portForward:\n- resource: pod/x\n  port: {text}", environ).config.port_forward[0].port == port


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), ("ON", True), ("${YES}", True), ("'${YES}'", True),
                                             ("${EMPTY}", False)])
def test_a_boolean(read, text, value):
    config = read(HEAD + f"portForward:\n- resource: pod/x\n  port: 1\n  strict: {text}", {"YES": "true", "EMPTY": ""}).config

    assert config.port_forward[0].strict is value


def test_anchors_aliases_and_merge_keys_work(read):
    config = read(HEAD + """\
build:
  artifacts:
    - &a
      image: a
      docker: &docker {target: dev, buildArgs: &args {A: 1, B: 2}}
    - image: b
      docker: {<<: *docker, platform: linux/arm64, buildArgs: {<<: [{B: 3, C: 4}, *args], A: 9}}
    - {<<: *a, image: c}
deploy: {namespace: &n dev, kubeContext: *n}
""").config

    a, b, c = config.build.artifacts
    assert b.docker == DockerBuild(target="dev", platform="linux/arm64", build_args={"A": "9", "B": "3", "C": "4"})
    assert c.docker == a.docker
    assert config.deploy.kube_context == "dev"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(project):
    Path("devloop.yaml").write_bytes(b"\xef\xbb\xbf" + (HEAD + "deploy:\n  namespace: x\n").replace("\n", "\r\n").encode())
    loaded = load(Path("devloop.yaml"), environ={})

    assert loaded.config.deploy.namespace == "x"
    assert loaded.sources["deploy.namespace"].line == 4


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("10m", 600), ("1h30m", 5400), ("1.5s", 1.5)])
def test_a_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "10 m", "m", "-1s", "10d"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="expected a duration such as 30s, 10m or 1h30m"):
        parse_duration(text)


# --- the file itself

def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ={})
    assert caught.value.exit_code == 2
    return caught.value


def test_a_missing_file_tells_of_the_flag(project):
    error = refused(Path("devloop.yaml"))

    assert (error.message, error.hint) == ("devloop.yaml does not exist", "Point to another config file with -f FILE.")


def test_a_missing_file_suggests_devloop_yml(project):
    Path("devloop.yml").touch()
    error = refused(Path("devloop.yaml"))

    assert (error.message, error.hint) == ("devloop.yaml does not exist", "Use devloop.yml with -f devloop.yml.")


def test_a_file_below_a_file_does_not_exist(project):
    Path("a").touch()

    assert refused(Path("a/devloop.yaml")).message == "a/devloop.yaml does not exist"


def test_a_directory_is_no_config_file(project):
    error = refused(Path("web"))

    assert (error.message, error.hint) == ("web is a directory, expected a file", "Point to a config file with -f FILE.")


def test_a_directory_suggests_the_file_in_it(project):
    Path("web/devloop.yaml").touch()

    assert refused(Path("web")).hint == "Use -f web/devloop.yaml."


def test_a_link_to_itself_cannot_be_read(project):
    Path("devloop.yaml").symlink_to("devloop.yaml")

    assert refused(Path("devloop.yaml")).message == "devloop.yaml cannot be read: Too many levels of symbolic links"


def test_a_name_with_a_nul_cannot_be_read(project):
    assert refused(Path("a\0b")).message.endswith("cannot be read: embedded null byte")


def test_an_endless_file_is_refused():
    assert refused(Path("/dev/zero")).message == "/dev/zero is larger than 1 MiB: is it a devloop.yaml?"


def test_a_pipe_is_read(project):
    receiving, sending = os.pipe()
    os.write(sending, HEAD.encode())
    os.close(sending)
    try:
        assert load(Path(f"/dev/fd/{receiving}"), environ={}).config.name == "hello"
    finally:
        os.close(receiving)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "---\n...\n"])
def test_an_empty_file_shows_how_to_begin(refusal, read, text):
    error = refusal(text)

    assert (error.message, error.hint) == ("devloop.yaml is empty", "Begin with this:")
    assert read("\n".join(error.details)).config.name == "hello"


@pytest.mark.parametrize(("content", "message"), [
    (b"name: x\nfoo: caf\xe9\n", "devloop.yaml:2:9: not UTF-8: the byte 0xe9"),
    ("name: é\n".encode() + b"\xff", "devloop.yaml:2:1: not UTF-8: the byte 0xff"),
    ("name: x".encode("utf-16"), "devloop.yaml:1:1: not UTF-8: the byte 0xff"),
])
def test_other_encodings_are_refused_with_the_place(project, content, message):
    Path("devloop.yaml").write_bytes(content)
    error = refused(Path("devloop.yaml"))

    assert (error.message, error.hint) == (message, "Save the file in UTF-8.")


@pytest.mark.parametrize("text", ["ghcr.io/acme/", "GHCR.io/Acme", "https://ghcr.io/acme", "ghcr.io/acme:1", "ghcr.io/ac me"])
def test_a_repository_for_images_is_a_host_and_a_path(refusal, text):
    error = refusal(f"apiVersion: devloop/v1\nname: hello\npublish:\n  registry:\n    repository: {text}\n")

    assert f"expected a registry's host and path such as ghcr.io/acme, without tag and '/' at the end, found '{text}'" in str(error)
