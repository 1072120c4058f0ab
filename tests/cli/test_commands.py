"""The command line itself: help, flags, output formats."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from harness import Devloop
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
COMMANDS = ("dev", "run", "build", "deploy", "render", "delete", "doctor", "schema", "version")


def test_help_names_every_command_and_the_exit_codes(devloop: Devloop) -> None:
    said = devloop.run("--help").ended(0).out
    assert all(f"  {command} " in said for command in COMMANDS)
    assert re.findall(r"\d+", said.partition("Exit codes:")[2]) == ["0", "2", "10", "11", "12", "13", "14", "130"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(devloop: Devloop, command: str) -> None:
    assert "Usage: devloop " in devloop.run(command, "--help").ended(0).out


def test_version_is_the_packages(devloop: Devloop) -> None:
    assert devloop.run("version").ended(0).out.strip() == f"devloop {version('devloop')}"


@pytest.mark.parametrize("args", [("frobnicate",), ("dev", "--no-such-flag"), ("run", "--output", "xml"), ("build", "surplus"), ("-x",)])
def test_a_wrong_command_line_ends_with_2(devloop: Devloop, args: tuple[str, ...]) -> None:
    assert devloop.run(*args).ended(2).err


def test_schema_prints_what_the_repository_holds(devloop: Devloop) -> None:
    assert devloop.run("schema").ended(0).out == (ROOT / "schemas" / "devloop.schema.json").read_text()


@pytest.mark.parametrize("file", [ROOT / "devloop.yaml", ROOT / "examples" / "hello" / "devloop.yaml"], ids=["root", "example"])
def test_the_examples_render_with_no_cluster_and_no_docker(devloop: Devloop, file: Path) -> None:
    assert "image: hello-web:" in devloop.run("render", "-f", str(file)).ended(0).out


def test_json_output_is_one_event_of_the_schema_a_line(devloop: Devloop) -> None:
    schema = Draft202012Validator(json.loads((ROOT / "schemas" / "events.schema.json").read_text()))
    (devloop.cwd / "devloop.yaml").write_text((ROOT / "examples" / "hello" / "devloop.yaml").read_text())
    for command in ("build", "run", "delete", "render"):
        said = devloop.json(command)
        assert said.code != 0
        for event in said.events:
            schema.validate(event)


def test_without_a_terminal_there_are_no_control_codes(devloop: Devloop) -> None:
    for output in ("auto", "plain"):
        said = devloop.run("build", "--output", output).ended(2)
        assert "\x1b" not in said.out + said.err


def test_a_terminal_shows_failures_in_colour(devloop: Devloop) -> None:
    with devloop.terminal("build") as terminal:
        assert terminal.ended() == 2
        assert "\x1b[" in terminal.raw


def test_no_color_means_no_colours_on_a_terminal_either(devloop: Devloop) -> None:
    devloop.environ["NO_COLOR"] = "1"
    with devloop.terminal("build") as terminal:
        assert terminal.ended() == 2
        assert "\x1b[3" not in terminal.raw
        assert "\x1b[1" not in terminal.raw


