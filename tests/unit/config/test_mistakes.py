"""Every mistake names its place and path, says what was expected and what was found, and suggests what was meant."""

import pytest

from devloop.config.models import NAMESPACE_WORDS

HEAD = "apiVersion: devloop/v1\nname: hello\n"


def line(key_path: str, value: str) -> str:
    """A devloop.yaml whose last line holds one value: ``build.tag`` and ``x`` give ``build: {tag: x}``, a third line."""
    *maps, key = key_path.split(".")
    return HEAD + "".join(f"{each}: {{" for each in maps) + f"{key}: {value}" + "}" * len(maps)


def artifact(rest: str) -> str:
    return HEAD + f"build:\n  artifacts:\n    - image: web\n      {rest}\n"


def forward(rest: str) -> str:
    return HEAD + f"portForward:\n  - {{{rest}}}\n"


TEXT_TYPES = [
    ("1.0", "the number 1.0", "1.0"), ("010", "the number 010", "010"), ("2024-01-01", "the date 2024-01-01", "2024-01-01"),
    ("true", "true", "true"), ("on", "on, which YAML takes for true", "on"), ("No", "No, which YAML takes for false", "No"),
]


@pytest.mark.parametrize(("value", "found", "quoted"), TEXT_TYPES)
def test_what_yaml_takes_for_something_else_than_text_has_to_be_quoted(refusal, value, found, quoted):
    assert refusal(line("deploy.kubeContext", value)).message == \
        f'devloop.yaml:3:23: deploy.kubeContext: expected text, found {found}: quote it, "{quoted}"'


KEYS = [  # where, the key, what it was taken for
    (HEAD + "buld: {}", "3:1: buld", ", did you mean 'build'?"),
    (HEAD + "port_forward: []", "3:1: port_forward", ", did you mean 'portForward'?"),
    (HEAD + "profile: []", "3:1: profile", ", did you mean 'profiles'?"),
    (HEAD + "manifests: [x]", "3:1: manifests", ", did you mean 'manifests' in 'deploy'?"),
    (HEAD + "artefacts: []", "3:1: artefacts", ", did you mean 'artifacts' in 'build'?"),
    (HEAD + "zzz: 1", "3:1: zzz", "; expected apiVersion, name, build, publish, deploy, portForward, logs or profiles"),
    (artifact("docker: {dockerfle: x}"), "6:16: build.artifacts[0].docker.dockerfle", ", did you mean 'dockerfile'?"),
    (artifact("dockerfile: x"), "6:7: build.artifacts[0].dockerfile", ", did you mean 'dockerfile' in 'docker'?"),
    (artifact("dockerfle: x"), "6:7: build.artifacts[0].dockerfle", ", did you mean 'dockerfile' in 'docker'?"),
    (artifact("build-args: {}"), "6:7: build.artifacts[0].build-args", ", did you mean 'buildArgs' in 'docker'?"),
    (artifact("localPort: 1"), "6:7: build.artifacts[0].localPort", ", did you mean 'localPort' in 'portForward[]'?"),
    (artifact("a.b: 1"), '6:7: build.artifacts[0]["a.b"]', "; expected image, context, builder, docker or requires"),
    (HEAD + "deploy: {tag: x}", "3:10: deploy.tag", ", did you mean 'tag' in 'build'?"),
    (HEAD + "profiles: [{name: x, deploy: {namspace: y}}]", "3:31: profiles[0].deploy.namspace", ", did you mean 'namespace'?"),
]


@pytest.mark.parametrize(("text", "place", "meant"), KEYS, ids=[place for _, place, _ in KEYS])
def test_an_unknown_key_is_told_with_the_one_that_was_meant(refusal, text, place, meant):
    assert refusal(text).message == f"devloop.yaml:{place}: unknown key{meant}"


TAGS = "'inputDigest', 'gitCommit', 'dateTime' or a map with template"
VALUES = [
    ("name: x", "1:1: apiVersion: missing: write 'apiVersion: devloop/v1'"),
    ("apiVersion: devloop/v1", "1:1: name: missing: the project's name; it labels what devloop deploys"),
    (HEAD + "build: {artifacts: [{context: web}]}",
     "3:21: build.artifacts[0].image: missing: the image's name as it stands in the manifests, without tag"),
    ("apiVersion: devloop/v1\nname:", "2:6: name: expected lower-case letters, digits and '-', 63 characters at most, found nothing"),
    ("apiVersion: devloop/v1\nname: Hello_World",
     "2:7: name: expected lower-case letters, digits and '-', 63 characters at most, found 'Hello_World'"),
    ("apiVersion: devloop/v1\nname: 12",
     "2:7: name: expected lower-case letters, digits and '-', 63 characters at most, found the number 12: quote it, \"12\""),
    (line("build", "x"), "3:8: build: expected a map with builder, artifacts, tag, engine, concurrency and kaniko, found 'x'"),
    (line("build", "[{tag: inputDigest}]"),
     "3:8: build: expected a map with builder, artifacts, tag, engine, concurrency and kaniko, found a list: remove the '-'"),
    (line("build.artifacts", "{image: x}"), "3:20: build.artifacts: expected a list, found a map: begin each item with '- '"),
    (line("build.artifacts", "[web]"),
     "3:21: build.artifacts[0]: expected a map with image, context, builder, docker and requires, found 'web'"),
    (line("build.artifacts", "[~]"),
     "3:21: build.artifacts[0]: expected a map with image, context, builder, docker and requires, found nothing"),
    (line("build.tag", "gitcommit"),
     f"3:14: build.tag: expected {TAGS}, found 'gitcommit', did you mean 'gitCommit'?"),
    (line("build.tag", "{templte: x}"), "3:15: build.tag.templte: unknown key, did you mean 'template'?"),
    (line("build.tag", "[]"), f"3:14: build.tag: expected {TAGS}, found an empty list"),
    (line("build.tag", "{template: ''}"), "3:25: build.tag.template: expected text that is not empty, found ''"),
    (line("build.engine", "on"), "3:17: build.engine: expected 'auto', 'classic' or 'buildkit', found on, which YAML takes for true"),
    (line("build.concurrency", "-1"), "3:22: build.concurrency: expected a whole number, 0 or more, found the number -1"),
    (line("build.concurrency", "9" * 5000),
     f"3:22: build.concurrency: expected a whole number, 0 or more, found the number {'9' * 57}..."),
    (line("deploy.manifests", "[a, '', b]"), "3:25: deploy.manifests[1]: expected text that is not empty, found ''"),
    (line("build.concurrency", "1.0"), "3:22: build.concurrency: expected a whole number, 0 or more, found the number 1.0"),
    (line("build.concurrency", "010"),
     "3:22: build.concurrency: expected a whole number, 0 or more, found the number 010, which YAML reads as octal: write 10"),
    (line("build.concurrency", "'4'"), "3:22: build.concurrency: expected a whole number, 0 or more, found '4': remove the quotes"),
    (line("deploy.manifests", "k8s/*.yaml"), "3:21: deploy.manifests: expected a list, found 'k8s/*.yaml': write [k8s/*.yaml]"),
    (line("deploy.manifests", "[1]"), "3:22: deploy.manifests[0]: expected text that is not empty, found the number 1: quote it, \"1\""),
    (line("deploy.manifests", "['']"), "3:22: deploy.manifests[0]: expected text that is not empty, found ''"),
    (line("deploy.manifests", "[[a]]"), "3:22: deploy.manifests[0]: expected text that is not empty, found a list"),
    (line("deploy.kubeContext", "{}"), "3:23: deploy.kubeContext: expected text, found an empty map"),
    (line("deploy.namespace", "My_NS"), f"3:21: deploy.namespace: expected {NAMESPACE_WORDS}, found 'My_NS'"),
    (line("deploy.namespace", "a/b"), f"3:21: deploy.namespace: expected {NAMESPACE_WORDS}, found 'a/b'"),
    (line("deploy.namespace", "a" * 64), f"3:21: deploy.namespace: expected {NAMESPACE_WORDS}, found '{'a' * 57}...'"),
    (line("deploy.namespace", "12"), f'3:21: deploy.namespace: expected {NAMESPACE_WORDS}, found the number 12: quote it, "12"'),
    (forward("resource: pod/x, port: 1, namespace: a."), f"4:43: portForward[0].namespace: expected {NAMESPACE_WORDS}, found 'a.'"),
    (line("deploy.rolloutTimeout", "600"),
     "3:26: deploy.rolloutTimeout: expected a duration such as 30s, 10m or 1h30m, found the number 600: write 600s"),
    (line("deploy.rolloutTimeout", "10 min"), "3:26: deploy.rolloutTimeout: expected a duration such as 30s, 10m or 1h30m, found '10 min'"),
    (line("deploy.imagePaths", "[{kind: X, paths: []}]"), "3:40: deploy.imagePaths[0].paths: expected a list, found an empty list"),
    (line("logs.since", "yesterday"), "3:15: logs.since: expected start, now, or a duration such as 5m, found 'yesterday'"),
    (forward("resource: svc/x, port: 1"),
     "4:16: portForward[0].resource: expected service/NAME, deployment/NAME, statefulset/NAME or pod/NAME, found 'svc/x'"),
    (forward("resource: pod/x, port: 70000"),
     "4:29: portForward[0].port: expected a port's number (1 to 65535) or name, found the number 70000"),
    (forward("resource: pod/x, port: '80'"),
     "4:29: portForward[0].port: expected a port's number (1 to 65535) or name, found '80': remove the quotes"),
    (forward("resource: pod/x, port: HTTP"), "4:29: portForward[0].port: expected a port's number (1 to 65535) or name, found 'HTTP'"),
    (forward("resource: pod/x, port: 1, localPort: 99999"),
     "4:43: portForward[0].localPort: expected a whole number from 0 to 65535, found the number 99999"),
    (forward("resource: pod/x, port: 1, strict: 'true'"), "4:40: portForward[0].strict: expected true or false, found 'true'"),
    (artifact("requires: web"), "6:17: build.artifacts[0].requires: expected a list, found 'web': write [web]"),
    (artifact("requires: [1]"),
     "6:18: build.artifacts[0].requires[0]: expected text or a map with image and alias, found the number 1: quote it, \"1\""),
    (artifact("docker: {buildArgs: {A: }}"),
     '6:31: build.artifacts[0].docker.buildArgs.A: expected text, found nothing: for an empty text write ""'),
    (artifact("docker: {labels: {a.b: []}}"), '6:30: build.artifacts[0].docker.labels["a.b"]: expected text, found an empty list'),
    (line("deploy.kubeContext", "'" + "x" * 70 + "'").replace("kubeContext", "manifests"),
     f"3:21: deploy.manifests: expected a list, found '{'x' * 57}...': write [{'x' * 70}]"),
]


@pytest.mark.parametrize(("text", "message"), VALUES, ids=[message.split(": ")[1] + str(i) for i, (_, message) in enumerate(VALUES)])
def test_a_wrong_value_is_told_with_what_was_expected(refusal, text, message):
    assert refusal(text).message == f"devloop.yaml:{message}"


IMAGES = [
    ("web:1.0", "expected an image without tag or digest, found 'web:1.0': write 'web', devloop sets the tag"),
    ("r.io:5000/web:1", "expected an image without tag or digest, found 'r.io:5000/web:1': write 'r.io:5000/web', devloop sets the tag"),
    ("web@sha256:" + "a" * 64,
     f"expected an image without tag or digest, found 'web@sha256:{'a' * 64}': write 'web', devloop sets the tag"),
    ("My/Web", "expected an image such as hello-web: 'My/Web' is not an image reference (a repository is lower-case)"),
    ("a b", "expected an image such as hello-web: 'a b' is not an image reference"),
    ("''", "expected an image such as hello-web, found ''"),
]


@pytest.mark.parametrize(("image", "message"), IMAGES)
def test_an_image_is_a_name_without_a_tag(refusal, image, message):
    error = refusal(HEAD + f"build:\n  artifacts:\n    - image: {image}\n")

    assert error.message == f"devloop.yaml:5:14: build.artifacts[0].image: {message}"


ROOTS = [
    ("- a", "1:1: expected a map with apiVersion, name, build, publish, deploy, portForward, logs and profiles, found a list"),
    ("hello", "1:1: expected a map with apiVersion, name, build, publish, deploy, portForward, logs and profiles, found 'hello'"),
    ("apiVersion: skaffold/v4beta13\nkind: Config\n",
     "1:13: apiVersion: expected 'devloop/v1', found 'skaffold/v4beta13': is this a devloop.yaml?"),
    ("apiVersion: devloop/v2\nfoo: 1\n",
     "1:13: apiVersion: expected 'devloop/v1', found 'devloop/v2': another version of devloop is needed"),
    ("apiVersion: 1\nname: x", "1:13: apiVersion: expected 'devloop/v1', found the number 1"),
]


@pytest.mark.parametrize(("text", "message"), ROOTS)
def test_another_kind_of_file_is_recognised(refusal, text, message):
    error = refusal(text)

    assert error.message == f"devloop.yaml:{message}"
    assert len(error.details) == 2  # nothing else is said about a file of another kind


def test_all_mistakes_are_told_at_once_in_the_files_order_with_carets(refusal):
    error = refusal("""\
apiVersion: devloop/v1
nme: hello
build:
  artifacts:
    - image: web
      context: wbe
      docker: {dockerfle: Dockerfile}
  tag: 1.0
deploy:
  namespace: a
  namespace: b
""")

    assert error.message == "devloop.yaml:2:1: nme: unknown key, did you mean 'name'?"
    assert error.hint == ""
    assert "\n".join(error.details) == """\
   2 | nme: hello
     | ^^^

devloop.yaml:6:16: build.artifacts[0].context: the context 'wbe' does not exist, did you mean 'web'?
   6 |       context: wbe
     |                ^^^

devloop.yaml:7:16: build.artifacts[0].docker.dockerfle: unknown key, did you mean 'dockerfile'?
   7 |       docker: {dockerfle: Dockerfile}
     |                ^^^^^^^^^

devloop.yaml:8:8: build.tag: expected 'inputDigest', 'gitCommit', 'dateTime' or a map with template, found the number 1.0
   8 |   tag: 1.0
     |        ^^^

devloop.yaml:11:3: the key 'namespace' is here twice, first on line 10
  11 |   namespace: b
     |   ^^^^^^^^^"""


def test_of_very_many_mistakes_the_first_are_shown(refusal):
    error = refusal(HEAD + "".join(f"unknown{n}: 1\n" for n in range(30)))

    assert sum(": unknown key" in line for line in (error.message, *error.details)) == 20
    assert error.details[-1] == "... and 10 more errors in devloop.yaml"


@pytest.mark.parametrize(("rest", "excerpt"), [
    ("foo: {a: 1}\t# ünïcode 日本", ["   3 | foo: {a: 1} # ünïcode 日本", "     | ^^^"]),
    ("logs: {日本: 1}", ["   3 | logs: {日本: 1}", "     |        ^^^^"]),
    ("logs: {exclude: [日本], foo: 1}", ["   3 | logs: {exclude: [日本], foo: 1}", "     |                         ^^^"]),
])
def test_the_caret_stands_below_what_is_meant(refusal, rest, excerpt):
    assert list(refusal(HEAD + rest).details[:2]) == excerpt


def test_of_a_long_line_the_part_that_is_meant_is_shown(refusal):
    shown, caret = refusal(HEAD + "logs: {exclude: [" + "x" * 200 + "], foo: 1, since: start}").details

    assert shown == "   3 | " + "x" * 114 + "], foo"
    assert caret == "     | " + " " * 117 + "^^^"


def test_a_terminal_is_not_controlled_by_what_a_config_says(refusal):
    error = refusal(HEAD + 'logs: {since: "\\e[31m"}')

    assert error.message == ("devloop.yaml:3:15: logs.since: expected start, now, or a duration such as 5m, "
                             "found '\N{REPLACEMENT CHARACTER}[31m'")
