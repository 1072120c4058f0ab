"""The schema of the events is what the events are."""

from __future__ import annotations

import jsonschema
import pytest

from devloop.report import schema


def test_the_file_is_up_to_date() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.text()
    assert schema.main(["--check"]) == 0


def test_it_is_a_schema_with_every_event_described() -> None:
    made = schema.schema()
    jsonschema.Draft202012Validator.check_schema(made)
    assert {"logLine", "failure", "stepFinished", "sessionStarted"} < set(made["$defs"])
    assert all(definition["description"] for definition in made["$defs"].values())


def test_wrong_arguments_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main(["--wrong"]) == 2
    assert capsys.readouterr().err.startswith("usage:")
