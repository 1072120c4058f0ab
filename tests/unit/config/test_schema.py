"""The JSON schema and the reference are generated from the models and say the same as the loader."""

import copy
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from devloop.config import schema
from devloop.config.reference import EXAMPLE, PROFILE
from devloop.errors import ConfigError

SCHEMA = schema.schema()
VALIDATOR = Draft202012Validator(SCHEMA)
HEAD: dict[str, Any] = {"apiVersion": "devloop/v1", "name": "hello"}
FORWARD = {"resource": "service/x", "port": 80}


def properties() -> list[tuple[str, str, dict[str, Any], bool]]:
    maps = {"": SCHEMA, **{name: each for name, each in SCHEMA["$defs"].items() if "properties" in each}}
    return [(place, key, value, key in each.get("required", [])) for place, each in maps.items()
            for key, value in each["properties"].items()]


def test_it_is_a_valid_schema_of_the_current_draft_with_a_name_of_no_ones_host():
    Draft202012Validator.check_schema(SCHEMA)

    assert (SCHEMA["$schema"], SCHEMA["$id"], SCHEMA["title"]) == \
        ("https://json-schema.org/draft/2020-12/schema", "urn:devloop:config:v1", "devloop.yaml")


@pytest.mark.parametrize(("place", "key", "value", "required"), properties(), ids=[f"{place}.{key}" for place, key, *_ in properties()])
def test_every_key_has_a_description_and_a_default_unless_it_is_required(place, key, value, required):
    assert value["description"].endswith((".", "devloop/v1", "image"))
    assert ("default" in value) != required


def test_every_map_refuses_unknown_keys():
    assert [name for name, each in SCHEMA["$defs"].items() if "properties" in each and each["additionalProperties"] is not False] == []


def config(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(HEAD) | parts


GOOD = [
    yaml.safe_load(EXAMPLE), yaml.safe_load(EXAMPLE + PROFILE), config(),
    config(portForward=[FORWARD | {"port": "http"}]),
    config(portForward=[FORWARD | {"port": "${PORT}", "localPort": "${PORT:-8080}", "strict": "${STRICT}"}]),
    config(build={"concurrency": "${N}", "engine": "${ENGINE:-auto}", "tag": "${TAG:-gitCommit}"}),
    config(name="${NAME}"), config(deploy={"rolloutTimeout": "${T}s"}),
    config(build={"artifacts": [{"image": "a", "docker": {"buildArgs": {"A": 1, "B": True, "C": "x", "D": 1.5}}}]}),
    config(build={"artifacts": [{"image": "a", "requires": ["b", {"image": "c", "alias": "C"}]}, {"image": "b"}, {"image": "c"}]}),
    config(build={"tag": {"template": "{{BRANCH}}"}}),
    config(publish="kind"), config(publish="${MODE:-k3d}"),
    config(publish={"mode": "minikube-registry", "minikube": {"enableRegistryAddon": True}}),
    config(publish={"registry": {"repository": "ghcr.io/acme", "pullRepository": "localhost:5000", "insecure": "${STRICT}"}}),
    config(deploy={"imagePullSecret": "regcred"}),
    config(profiles=[{"name": "x", "deploy": {"namespace": "y"}, "portForward": [FORWARD]}]),
]
ENVIRON = {"PORT": "80", "N": "2", "NAME": "x", "T": "5", "STRICT": "true"}

BAD = [
    {}, {"name": "x"}, config(foo=1), config(name="Hello"), config(name=1), config(apiVersion="devloop/v2"), config(build=[]),
    config(build={"artifacts": {}}), config(build={"artifacts": [{}]}), config(build={"artifacts": [{"image": ""}]}),
    config(build={"artifacts": [{"image": "a", "dockerfile": "x"}]}),
    config(build={"artifacts": [{"image": "a", "docker": {"buildArgs": {"A": []}}}]}),
    config(build={"artifacts": [{"image": "a", "requires": [1]}]}), config(build={"artifacts": [{"image": "a", "requires": "b"}]}),
    config(build={"tag": "gitcommit"}), config(build={"tag": {}}), config(build={"concurrency": -1}), config(build={"concurrency": "2"}),
    config(build={"concurrency": 1.5}), config(deploy={"manifests": "x"}), config(deploy={"manifests": [""]}),
    config(deploy={"rolloutTimeout": 600}), config(deploy={"rolloutTimeout": "10 min"}), config(deploy={"namespace": 1}),
    config(deploy={"imagePaths": [{"kind": "X", "paths": []}]}), config(portForward=[{"port": 1}]),
    config(portForward=[FORWARD | {"resource": "x"}]), config(portForward=[FORWARD | {"port": 70000}]),
    config(portForward=[FORWARD | {"port": "80"}]), config(portForward=[FORWARD | {"localPort": "80"}]),
    config(portForward=[FORWARD | {"strict": "true"}]), config(logs={"since": "later"}), config(logs={"exclude": [1]}),
    config(publish="Kind"), config(publish=[]), config(publish={"mode": "x"}), config(publish={"repository": "ghcr.io/acme"}),
    config(publish={"registry": "ghcr.io/acme"}), config(deploy={"imagePullSecret": "A"}),
    config(profiles=[{}]), config(profiles=[{"name": "x", "apiVersion": "devloop/v1"}]),
]


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_what_the_schema_accepts_the_loader_accepts(read, document):
    assert list(VALIDATOR.iter_errors(document)) == []
    assert read(yaml.safe_dump(document), ENVIRON)


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_the_schema_refuses_the_loader_refuses(read, document):
    assert list(VALIDATOR.iter_errors(document)) != []
    with pytest.raises(ConfigError):
        read(yaml.safe_dump(document), ENVIRON)


def test_the_reference_names_every_key():
    text = schema.files()[schema.ROOT / "docs" / "configuration.md"]

    assert [key for _, key, *_ in properties() if f"| `{key}` |" not in text] == []


def test_the_files_in_the_repository_are_up_to_date():
    assert schema.main(["--check"]) == 0


def test_other_arguments_are_refused(capsys):
    assert schema.main(["--chek"]) == 2
    assert capsys.readouterr().err == "usage: python -m devloop.config.schema [--check]\n"
