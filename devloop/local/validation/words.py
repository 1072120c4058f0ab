"""What can be wrong with a field, in Kubernetes' words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from devloop.local.refusals import Cause

Causes = Iterator[Cause]


@dataclass(frozen=True)
class _Rule:
    """What a name must be: a pattern, a length, and how that is told."""

    pattern: str
    longest: int
    text: str
    examples: str = ""

    @property
    def told(self) -> str:
        return f"{self.text} (e.g. {self.examples}, regex used for validation is '{self.pattern}')" if self.examples else self.text


_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_ENDS = "and must start and end with an alphanumeric character"
_RULES = {
    "label": _Rule(_LABEL, 63, f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}",
                   "'my-name',  or '123-abc'"),
    "subdomain": _Rule(rf"{_LABEL}(\.{_LABEL})*", 253,
                       f"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', {_ENDS}",
                       "'example.com'"),
    "value": _Rule(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", 63,
                   f"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', {_ENDS}",
                   "'MyValue',  or 'my_value',  or '12345'"),
    "key": _Rule(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", 63,
                 f"name part must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}", "'MyName',  or 'my.name',  or '123-abc'"),
    "config key": _Rule(r"[-._a-zA-Z0-9]+", 253, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                        "'key.name',  or 'KEY_NAME',  or 'key-name'"),
    "variable": _Rule(r"[ -<>-~]+", 1 << 20,
                      "a valid environment variable name must consist only of printable ASCII characters other than '='"),
    "port name": _Rule(r"[a-z0-9]+(-[a-z0-9]+)*", 15, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
    "percent": _Rule(r"[0-9]+%", 99, "a valid percent string must be a numeric string followed by an ending '%'", "'1%',  or '93%'"),
}


def required(field: str, why: str = "") -> Cause:
    return Cause(field, "FieldValueRequired", f"Required value{': ' if why else ''}{why}")


def invalid(field: str, value: Any, why: str) -> Cause:
    return Cause(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}")


def forbidden(field: str, why: str) -> Cause:
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def duplicate(field: str, value: Any) -> Cause:
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def missing(field: str, value: Any) -> Cause:
    return Cause(field, "FieldValueNotFound", f"Not found: {_shown(value)}")


def unsupported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    return Cause(field, "FieldValueNotSupported",
                 f"Unsupported value: {_shown(value)}: supported values: {', '.join(map(json.dumps, supported))}")


def one_of(field: str, value: Any, *supported: str) -> Causes:
    if value not in supported:
        yield unsupported(field, value, supported)


def obeys(rule: str, field: str, value: str) -> Causes:
    """That a name is what this kind of name must be."""
    found = _RULES[rule]
    if len(value) > found.longest:
        yield invalid(field, value, f"must be no more than {found.longest} characters")
    if not re.fullmatch(found.pattern, value):
        yield invalid(field, value, found.told)


def not_negative(field: str, value: Any) -> Causes:
    if isinstance(value, int) and value < 0:
        yield invalid(field, value, "must be greater than or equal to 0")


def port(field: str, value: Any) -> Causes:
    """A port's number, or the name of one."""
    if isinstance(value, str) and not value.isdigit():
        yield from obeys("port name", field, value)
    elif not 1 <= int(value or 0) <= 65535:
        yield invalid(field, value or 0, "must be between 1 and 65535, inclusive")


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
