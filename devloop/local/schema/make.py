"""Makes ``kinds.json`` from what an API server says of its kinds:

    kubectl get --raw /openapi/v2 | python -m devloop.local.schema.make > devloop/local/schema/kinds.json

``{"kinds": {"apps/v1 Deployment": "Deployment"}, "types": {"Deployment": {"fields": {NAME: TYPE}, "required": [NAME]}}}`` with TYPE:
``s`` string, ``s:A|B`` one of these, ``i`` integer, ``n`` number, ``b`` boolean, ``q`` quantity, ``p`` integer or string, ``o`` anything;
``@NAME`` another type, ``!@NAME`` one that is replaced as a whole; ``{}TYPE`` a map, ``!{}TYPE`` one that is replaced as a whole;
``[]TYPE`` a list that is replaced as a whole, ``[*]TYPE`` a set, ``[a,b]TYPE`` a list whose items are known by these fields.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from devloop.local.kinds import KINDS, group

Json = dict[str, Any]

_GIVEN = {"IntOrString": "p", "Quantity": "q", "Time": "s", "MicroTime": "s", "FieldsV1": "o", "RawExtension": "o"}
_PLAIN = {"string": "s", "integer": "i", "number": "n", "boolean": "b"}
NOT_APPLIED = ("Node", "Event", "ControllerRevision")
"""Kinds that nobody applies."""


def compact(definitions: Json) -> Json:
    """Of the ``definitions`` of an OpenAPI document, those that the local target's kinds need."""
    kinds = {f"{k.api_version} {k.kind}": f"io.k8s.api.{group(k).removesuffix('.k8s.io') or 'core'}.v1.{k.kind}"
             for k in KINDS if k.kind not in NOT_APPLIED}
    types: dict[str, Json] = {}
    due = list(kinds.values())
    while due:
        full = due.pop()
        name = _name(full)
        if name in types or name in _GIVEN:
            continue
        definition, root = definitions[full], full in kinds.values()
        properties = {key: value for key, value in definition.get("properties", {}).items() if not (root and key == "status")}
        types[name] = {"fields": {key: _type(value, definitions) for key, value in sorted(properties.items())}}
        if definition.get("required"):
            types[name]["required"] = definition["required"]
        due += [ref for value in properties.values() for ref in re.findall(r'"#/definitions/([^"]+)"', json.dumps(value))]
    return {"kinds": {key: _name(full) for key, full in sorted(kinds.items())}, "types": dict(sorted(types.items()))}


def _name(full: str) -> str:
    return full.rpartition(".")[2]


def _type(value: Json, definitions: Json) -> str:
    if "$ref" in value:
        full = value["$ref"].removeprefix("#/definitions/")
        atomic = "atomic" in (value.get("x-kubernetes-map-type"), definitions[full].get("x-kubernetes-map-type"))
        return _GIVEN.get(_name(full)) or f"{'!' if atomic else ''}@{_name(full)}"
    if value["type"] == "array":
        keys = ",".join(value.get("x-kubernetes-list-map-keys") or ())
        known = {"map": keys, "set": "*"}.get(value.get("x-kubernetes-list-type", ""), "")
        return f"[{known}]{_type(value['items'], definitions)}"
    if value["type"] == "object":
        atomic = value.get("x-kubernetes-map-type") == "atomic"
        return f"{'!' if atomic else ''}{{}}{_type(value['additionalProperties'], definitions)}" if "additionalProperties" in value else "o"
    return _PLAIN[value["type"]] + (f":{'|'.join(value['enum'])}" if value.get("enum") else "")


if __name__ == "__main__":
    json.dump(compact(json.load(sys.stdin)["definitions"]), sys.stdout, indent=1)
    sys.stdout.write("\n")
