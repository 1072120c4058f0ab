"""What must be true between values of devloop.yaml."""

from pathlib import Path

import pytest

HEAD = "apiVersion: devloop/v1\nname: hello\n"


def artifacts(**requires: list[str]) -> str:
    return HEAD + "build:\n  artifacts:\n" + "".join(f"    - {{image: {image}, requires: [{', '.join(needs)}]}}\n"
                                                     for image, needs in requires.items())


def messages(error) -> list[str]:
    return [error.message, *(line for line in error.details if line.startswith("devloop.yaml:"))]


@pytest.mark.parametrize(("second", "found"), [("web", "web"), ("docker.io/library/web", "docker.io/library/web")])
def test_an_image_is_built_by_one_artifact(refusal, second, found):
    error = refusal(HEAD + f"build:\n  artifacts:\n    - image: web\n    - image: {second}\n")

    assert error.message == f"devloop.yaml:6:14: build.artifacts[1].image: a second artifact '{found}'; the first is on line 5"


@pytest.mark.parametrize(("requires", "expected"), [
    ({"web": ["bse"], "base": []}, ["5:31: build.artifacts[0].requires[0]: no artifact builds 'bse', did you mean 'base'?"]),
    ({"web": ["xyz"], "base": [], "lib": []},
     ["5:31: build.artifacts[0].requires[0]: no artifact builds 'xyz'; the other artifacts are: base, lib"]),
    ({"web": ["xyz"]}, ["5:31: build.artifacts[0].requires[0]: no artifact builds 'xyz'"]),
    ({"web": ["web"]}, ["5:31: build.artifacts[0].requires[0]: the artifact 'web' requires itself"]),
    ({"a": ["b"], "b": ["c"], "c": ["a"]},
     ["7:29: build.artifacts[2].requires[0]: these artifacts require each other in a circle: a -> b -> c -> a"]),
    ({"x": ["a"], "a": ["b"], "b": ["a"], "y": ["y"]},
     ["7:29: build.artifacts[2].requires[0]: these artifacts require each other in a circle: a -> b -> a",
      "8:29: build.artifacts[3].requires[0]: the artifact 'y' requires itself"]),
])
def test_requirements_name_other_artifacts_and_form_no_circle(refusal, requires, expected):
    assert messages(refusal(artifacts(**requires))) == [f"devloop.yaml:{each}" for each in expected]


def test_artifacts_that_share_a_requirement_form_no_circle(read):
    assert len(read(artifacts(a=["b", "c"], b=["d"], c=["d"], d=[])).config.build.artifacts) == 4


def test_a_requirement_in_its_long_form_is_checked_too(refusal):
    text = HEAD + "build:\n  artifacts:\n    - image: web\n      requires: [{image: bas, alias: B}]\n    - image: base\n"

    assert refusal(text).message == \
        "devloop.yaml:6:26: build.artifacts[0].requires[0].image: no artifact builds 'bas', did you mean 'base'?"


@pytest.mark.parametrize(("context", "fault"), [
    ("wbe", "does not exist, did you mean 'web'?"), ("web/../wbe", "does not exist, did you mean 'web/../web'?"),
    ("qqqqqqqq", "does not exist in {base}"), ("nowhere/at/all", "does not exist in {base}"), ("file", "is not a directory"),
    ('"a\\0b"', "does not exist in {base}"), ("x" * 300, "cannot be read: File name too long"),
])
def test_a_context_is_a_directory(refusal, project, context, fault):
    (project / "file").touch()
    error = refusal(HEAD + f"build:\n  artifacts:\n    - image: web\n      context: {context}\n")

    named = context.strip('"').replace("\\0", "\N{REPLACEMENT CHARACTER}")
    assert error.message == f"devloop.yaml:6:16: build.artifacts[0].context: the context '{named}' {fault.format(base=project)}"


def test_a_context_is_relative_to_the_file_and_may_lie_outside(read, project):
    assert read(HEAD + f"build: {{artifacts: [{{image: a, context: ../{project.name}}}, {{image: b, context: {project}/web}}]}}")
    assert Path("devloop.yaml").exists()


def ports(*forwards: str) -> str:
    return HEAD + "portForward:\n" + "".join(f"  - {{resource: pod/x, port: {n}, {each}}}\n" for n, each in enumerate(forwards, 1))


@pytest.mark.parametrize("forwards", [
    ("localPort: 80", "localPort: 80"), ("localPort: 80", "localPort: 80, address: 127.0.0.1"),
    ("localPort: 80", "localPort: 80, address: 0.0.0.0"), ("localPort: 80, address: 0.0.0.0", "localPort: 80, address: 10.0.0.1"),
])
def test_two_forwards_cannot_have_the_same_local_port(refusal, forwards):
    assert refusal(ports(*forwards)).message == \
        "devloop.yaml:5:43: portForward[1].localPort: the local port 80 is taken by the forward on line 4"


@pytest.mark.parametrize("forwards", [
    ("localPort: 80", "localPort: 81"), ("localPort: 80", "localPort: 80, address: 127.0.0.2"), ("localPort: 0", "localPort: 0"), ("", ""),
])
def test_other_forwards_do_not_collide(read, forwards):
    assert len(read(ports(*forwards)).config.port_forward) == 2
