"""Profiles are merged into the config, and every value still knows where it was written."""

import pytest

from devloop.config.models import Artifact, DockerBuild, PortForward, Requirement, TemplateTag

TEXT = """\
apiVersion: devloop/v1
name: hello
build:
  artifacts:
    - image: web
      context: web
      docker: {target: prod, buildArgs: {A: 1, B: 2}, cacheFrom: [x, y]}
      requires: [base, {image: lib, alias: LIB}]
    - image: base
    - image: lib
deploy:
  manifests: [a.yaml, b.yaml]
  namespace: dev
  imagePaths: [{kind: X, paths: [.a]}]
portForward:
  - {resource: service/web, port: http, localPort: 8080, strict: true}
  - {resource: service/web, port: 90}
profiles:
  - name: debug
    build:
      tag: {template: "{{BRANCH}}"}
      artifacts:
        - image: extra
        - image: web
          docker: {target: debug, buildArgs: {B: 3, C: 4}, cacheFrom: [z]}
          requires: [{image: base, alias: B}, extra, lib]
    portForward:
      - {resource: service/web, port: "http", localPort: 9090}
      - {resource: service/web, port: 91}
  - name: ci
    build:
      tag: gitCommit
    deploy:
      namespace:
      manifests: [c.yaml]
      imagePaths: [{kind: X, paths: [.b]}, {kind: Y, paths: [.c]}]
  - name: elsewhere
    deploy: {kubeContext: "${CONTEXT}"}
"""


def test_without_a_profile_the_file_stands_as_it_is(read):
    config = read(TEXT).config

    assert config.build.tag == "inputDigest"
    assert config.deploy.namespace == "dev"
    assert len(config.build.artifacts) == 3


def test_maps_merge_deeply_and_named_lists_by_name(read):
    config = read(TEXT, profiles=["debug"]).config

    web, *others = config.build.artifacts
    assert web == Artifact(
        image="web", context="web", docker=DockerBuild(target="debug", build_args={"A": "1", "B": "3", "C": "4"}, cache_from=["z"]),
        requires=[Requirement(image="base", alias="B"), Requirement(image="lib", alias="LIB"), Requirement(image="extra")])
    assert [each.image for each in others] == ["base", "lib", "extra"]
    assert config.build.tag == TemplateTag(template="{{BRANCH}}")
    assert config.port_forward == [
        PortForward(resource="service/web", port="http", local_port=9090, strict=True),
        PortForward(resource="service/web", port=90), PortForward(resource="service/web", port=91)]


def test_other_lists_are_replaced_and_an_empty_value_is_the_default_again(read):
    deploy = read(TEXT, profiles=["ci"]).config.deploy

    assert deploy.manifests == ["c.yaml"]
    assert deploy.namespace == ""
    assert [(each.kind, each.paths) for each in deploy.image_paths] == [("X", [".b"]), ("Y", [".c"])]


@pytest.mark.parametrize(("profiles", "tag"), [(["debug", "ci"], "gitCommit"), (["ci", "debug"], TemplateTag(template="{{BRANCH}}"))])
def test_of_several_profiles_the_later_one_wins(read, profiles, tag):
    assert read(TEXT, profiles=profiles).config.build.tag == tag


def test_every_value_knows_the_line_it_was_written_on(read):
    lines = {path: at.line for path, at in read(TEXT, profiles=["debug", "ci"]).sources.items()}

    assert lines["build.artifacts[0].context"] == 6
    assert lines["build.artifacts[0].docker.buildArgs.A"] == 7
    assert lines["build.artifacts[0].docker.buildArgs.B"] == 25
    assert lines["build.artifacts[0].requires[0].alias"] == 26
    assert lines["build.artifacts[3].image"] == 23
    assert lines["portForward[0].localPort"] == 28
    assert lines["deploy.manifests[0]"] == 35


@pytest.mark.parametrize(("profile", "message", "hint"), [
    ("debg", "devloop.yaml has no profile 'debg', did you mean 'debug'?", "The profiles are: debug, ci, elsewhere."),
    ("prod", "devloop.yaml has no profile 'prod'", "The profiles are: debug, ci, elsewhere."),
])
def test_an_unknown_profile_lists_those_there_are(refusal, profile, message, hint):
    error = refusal(TEXT, profiles=[profile])

    assert (error.message, error.hint) == (message, hint)


def test_a_file_without_profiles_says_so(refusal):
    error = refusal(TEXT[: TEXT.index("profiles:")], profiles=["x"])

    assert (error.message, error.hint) == ("devloop.yaml has no profile 'x'", "It has no profiles at all.")


def test_a_variable_has_to_be_set_only_for_a_profile_that_is_used(read, refusal):
    assert read(TEXT).config.deploy.kube_context == ""
    assert read(TEXT, {"CONTEXT": "kind-a"}, ["elsewhere"]).config.deploy.kube_context == "kind-a"
    assert refusal(TEXT, profiles=["elsewhere"]).message == \
        ("devloop.yaml:38:28: profiles[2].deploy.kubeContext: the environment variable CONTEXT is not set; set it, "
         "or give a default: ${CONTEXT:-...}")


def test_a_variable_that_a_profile_replaces_need_not_be_set(read):
    text = TEXT.replace("namespace: dev", "namespace: ${NOT_SET}")

    assert read(text, profiles=["ci"]).config.deploy.namespace == ""


MISTAKES = [
    ("cacheFrom: [z]", "cacheFrom: z",
     "25:71: profiles[0].build.artifacts[1].docker.cacheFrom: expected a list, found 'z': write [z]"),
    ("- name: ci", "- nme: ci", "30:5: profiles[1].nme: unknown key, did you mean 'name'?"),
    ("- name: ci", "- name: debug", "30:11: profiles[1].name: a second profile 'debug'; the first is on line 19"),
    ("- {resource: service/web, port: 91}", "- {resource: service/web}",
     "29:9: profiles[0].portForward[1].port: missing: the resource's port, by number or name"),
    ("    deploy: {kubeContext", "    apiVersion: x\n    deploy: {kubeContext",
     "38:5: profiles[2].apiVersion: unknown key, did you mean 'apiVersion' at the top level?"),
]


@pytest.mark.parametrize(("good", "bad", "message"), MISTAKES, ids=[bad for _, bad, _ in MISTAKES])
@pytest.mark.parametrize("profiles", [[], ["debug", "ci"]], ids=["unused", "used"])
def test_a_mistake_in_a_profile_is_told_once_with_its_place_in_the_profile(refusal, good, bad, message, profiles):
    error = refusal(TEXT.replace(good, bad), profiles=profiles)

    assert error.message == f"devloop.yaml:{message}"
    assert len(error.details) == 2


@pytest.mark.parametrize(("text", "message"), [
    ("profiles: {name: x}", "3:11: profiles: expected a list, found a map: begin each item with '- '"),
    ("profiles: [x]", "3:12: profiles[0]: expected a map with name, build, publish, deploy, portForward and logs, found 'x'"),
    ("profiles: [{build: {}}]", "3:12: profiles[0].name: missing: the profile's name"),
])
def test_a_malformed_list_of_profiles_is_told_rather_than_that_one_is_unknown(refusal, text, message):
    assert refusal("apiVersion: devloop/v1\nname: x\n" + text, profiles=["x"]).message == f"devloop.yaml:{message}"


def test_what_a_profile_breaks_between_values_is_told(refusal):
    text = TEXT.replace("requires: [{image: base, alias: B}, extra, lib]", "requires: [nothing]")

    assert refusal(text, profiles=["debug"]).message == ("devloop.yaml:26:22: profiles[0].build.artifacts[1].requires[0]: "
                                                         "no artifact builds 'nothing'; the other artifacts are: base, lib, extra")


REGISTRY = "registry: {repository: ghcr.io/acme}"


@pytest.mark.parametrize(("base", "profile", "mode", "repository"), [
    (f"{{{REGISTRY}}}", "registry", "registry", "ghcr.io/acme"),
    ("kind", f"{{{REGISTRY}}}", "kind", "ghcr.io/acme"),
    ("kind", "k3d", "k3d", ""),
    (f"{{mode: registry, {REGISTRY}}}", "{registry: {repository: localhost:5000}}", "registry", "localhost:5000"),
])
def test_text_that_is_short_for_a_map_is_merged_as_that_map(read, base, profile, mode, repository):
    config = read(f"apiVersion: devloop/v1\nname: hello\npublish: {base}\nprofiles:\n  - {{name: x, publish: {profile}}}\n",
                  profiles=["x"]).config

    assert (config.publish.mode, config.publish.registry.repository) == (mode, repository)
