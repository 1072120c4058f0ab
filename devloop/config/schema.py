"""The JSON schema of devloop.yaml, generated from the models; and, run as a program, that and the reference in docs/ as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from devloop.config import reference
from devloop.config.models import File, Model
from devloop.config.shapes import fields, places

ROOT = Path(__file__).parents[2]
VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}", "description": "${VAR} or ${VAR:-default}"}
_CONSTRAINTS = {"enum", "pattern", "minLength", "maxLength"}


def schema() -> dict[str, Any]:
    """Draft 2020-12. Wherever a number, a boolean or restricted text is expected, ``${VAR}`` is accepted as well."""
    generated = File.model_json_schema(by_alias=True)
    models = {model.__name__: model for _, model in places(File)}
    definitions = {name: _map(each, models[name]) for name, each in sorted(generated.pop("$defs").items())}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:devloop:config:v1", **_map(generated, File),
            "title": "devloop.yaml", "$defs": {**definitions, "variable": VARIABLE}}


def text() -> str:
    """The schema as it is in schemas/devloop.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def files() -> dict[Path, str]:
    """What is generated from the models: the files, and what has to be in them."""
    return {ROOT / "schemas" / "devloop.schema.json": text(), ROOT / "docs" / "configuration.md": reference.text()}


def main(arguments: list[str]) -> int:
    """Write the files; with ``--check`` only say which of them are out of date (exit code 1)."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m devloop.config.schema [--check]\n")
        return 2
    stale = {file: new for file, new in files().items() if not file.exists() or file.read_text(encoding="utf-8") != new}
    for file, new in stale.items():
        if arguments:
            sys.stderr.write(f"{file.relative_to(ROOT)} is out of date: run python -m devloop.config.schema\n")
        else:
            file.write_text(new, encoding="utf-8")
    return 1 if arguments and stale else 0


def _map(definition: dict[str, Any], model: type[Model]) -> dict[str, Any]:
    """A model's schema. pydantic's titles repeat the keys, its defaults of maps what these maps' own keys say, and it leaves out
    a description that is the same as the referenced map's."""
    properties = {}
    for key, entry in fields(model).items():
        generated = definition["properties"][key]
        default = {} if isinstance(generated.get("default"), dict) else generated.get("default")
        properties[key] = {"description": entry.description, **({} if entry.required else {"default": default}),
                           **_value({part: each for part, each in generated.items() if part not in ("title", "description", "default")})}
    return {**definition, "properties": properties}


def _value(value: dict[str, Any]) -> dict[str, Any]:
    if "items" in value:
        return {**value, "items": _value(value["items"])}
    if "anyOf" in value:
        forms = [form for each in value["anyOf"] for form in _value(each).get("anyOf", [_value(each)])]
        return {"anyOf": [form for index, form in enumerate(forms) if form not in forms[:index]]}
    if value.get("type") in ("integer", "boolean") or _CONSTRAINTS & value.keys():
        return {"anyOf": [value, {"$ref": "#/$defs/variable"}]}
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
