"""``${VAR}`` and ``${VAR:-default}`` in values."""

import pytest

from devloop.config.variables import substitute

HEAD = "apiVersion: devloop/v1\nname: hello\n"
ENVIRON = {"A": "one", "EMPTY": "", "_B2": "two", "REGISTRY": ""}


@pytest.mark.parametrize(("text", "outcome"), [
    ("${A}", "one"), ("x${A}y${_B2}z", "xoneytwoz"), ("${A:-d}", "one"), ("${NO:-d}", "d"), ("${EMPTY:-d}", "d"), ("${EMPTY}", ""),
    ("${NO:-}", ""), ("${NO:-a:-b}", "a:-b"), ("$A", "$A"), ("$", "$"), ("a$", "a$"), ("$$", "$"), ("$${A}", "${A}"), ("$$${A}", "$one"),
    ("$(A)", "$(A)"), ("{A}", "{A}"), ("${NO:-a\nb}", "a\nb"),
])
def test_what_is_replaced_and_what_is_not(text, outcome):
    assert substitute(text, ENVIRON) == (outcome, [])


def test_a_replaced_value_is_not_looked_at_again():
    assert substitute("${X}", {"X": "${A} $$"}) == ("${A} $$", [])


@pytest.mark.parametrize(("value", "message"), [
    ("${NO}", "4:14: deploy.namespace: the environment variable NO is not set; set it, or give a default: ${NO:-...}"),
    ("a-${REGISTY}", "4:16: deploy.namespace: the environment variable REGISTY is not set, did you mean 'REGISTRY'?"),
    ("${A", "4:14: deploy.namespace: expected ${NAME} or ${NAME:-default}, found '${A'; write $$ for a plain $"),
    ("${}", "4:14: deploy.namespace: expected ${NAME} or ${NAME:-default}, found '${}'; write $$ for a plain $"),
    ("${1}", "4:14: deploy.namespace: expected ${NAME} or ${NAME:-default}, found '${1}'; write $$ for a plain $"),
    ("${A:?x}", "4:14: deploy.namespace: expected ${NAME} or ${NAME:-default}, found '${A:?x}'; write $$ for a plain $"),
    ("${NO:-${A}}", "4:14: deploy.namespace: a default cannot hold another ${...}"),
])
def test_what_cannot_be_replaced_is_told_with_its_place(refusal, value, message):
    assert refusal(HEAD + f"deploy:\n  namespace: {value}\n", ENVIRON).message == "devloop.yaml:" + message


def test_in_text_of_several_lines_the_line_of_the_variable_is_told(refusal):
    error = refusal(HEAD + "deploy:\n  namespace: |\n    é ${A}\n    $$ ${NO}\n", ENVIRON)

    assert error.message.startswith("devloop.yaml:6:8: deploy.namespace: the environment variable NO is not set")
    assert error.details == ("   6 |     $$ ${NO}", "     |        ^^^^^")


def test_a_variable_written_with_escapes_is_told_at_the_value(refusal):
    assert refusal(HEAD + 'deploy:\n  namespace: "a\\x24{NO}"\n').message.startswith("devloop.yaml:4:14: deploy.namespace: the environment")


@pytest.mark.parametrize("value", ["${PORT}", "'${PORT}'", "${NO:-8080}", '"80${EIGHTY}"'])
def test_a_number_may_come_from_the_environment(read, value):
    text = HEAD + f"portForward:\n  - resource: service/x\n    port: 1\n    localPort: {value}\n"

    assert read(text, {"PORT": "8080", "EIGHTY": "80"}).config.port_forward[0].local_port == 8080


def test_an_empty_variable_in_place_of_a_number_is_the_default(read):
    config = read(HEAD + "build:\n  concurrency: ${N:-}\n  engine: ${ENGINE:-}\n").config

    assert (config.build.concurrency, config.build.engine) == (0, "auto")


def test_what_is_wrong_with_a_variables_value_names_the_variable(refusal):
    assert refusal(HEAD + "build:\n  concurrency: ${N}\n", {"N": "many"}).message == \
        "devloop.yaml:4:16: build.concurrency: expected a whole number, 0 or more, found 'many' (from ${N})"


@pytest.mark.parametrize("value", ["12", "on", "1.0", "", "2024-01-01", "~"])
def test_text_from_the_environment_is_text_whatever_it_looks_like(read, value):
    assert read(HEAD + "deploy:\n  kubeContext: ${V}\n", {"V": value}).config.deploy.kube_context == value


def test_what_the_environment_holds_cannot_add_keys(read):
    assert read(HEAD + "deploy:\n  kubeContext: ${V}\n", {"V": "a\n  namespace: b"}).config.deploy.namespace == ""


def test_keys_are_left_as_they_are(read):
    docker = read(HEAD + 'build: {artifacts: [{image: a, docker: {buildArgs: {"${A}": 1}}}]}', ENVIRON).config.build.artifacts[0].docker

    assert docker.build_args == {"${A}": "1"}


def test_an_environment_that_is_no_unicode_is_told(refusal):
    assert refusal(HEAD + "deploy:\n  kubeContext: ${V}\n", {"V": "caf\udce9"}).message == \
        "devloop.yaml:4:16: deploy.kubeContext: the environment variable V is not valid UTF-8"
