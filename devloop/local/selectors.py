"""Label selectors, as text (``app=web,tier in (a, b),!old``) and as objects have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from devloop.local.refusals import refused
from devloop.model import Object
from devloop.pods import selector_text

Labels = Mapping[str, str]
Matches = Callable[[Labels], bool]

_REQUIREMENT = re.compile(r"""\s*(?: (?P<absent>!)\s*(?P<no>[\w./-]+)
                               | (?P<key>[\w./-]+) \s*
                                 (?: (?P<op>==?|!=) \s* (?P<value>[\w.-]*)
                                   | (?P<set>in|notin) \s* \( (?P<values>[^()]*) \) )? )
                              \s*(?:,|$)""", re.VERBOSE)


def matcher(text: str) -> Matches:
    """A function that tells whether labels match. An empty text matches all. Raises `ApiError` (400) for what is none."""
    requirements: list[Matches] = []
    at = 0
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if not found or found.end() == at:
            raise refused(400, "BadRequest", f"unable to parse requirement: found '{text[at:]}', expected: identifier")
        requirements.append(_requirement(found))
        at = found.end()
    return lambda labels: all(matches(labels) for matches in requirements)


def selects(selector: Object) -> Matches:
    """Of a ``LabelSelector`` (matchLabels, matchExpressions)."""
    return matcher(selector_text(selector))


def _requirement(found: re.Match[str]) -> Matches:
    key = found["no"] or found["key"]
    if found["absent"]:
        return lambda labels: key not in labels
    if found["op"]:
        value = found["value"]
        return (lambda labels: labels.get(key) != value) if found["op"] == "!=" else (lambda labels: labels.get(key) == value)
    if found["set"]:
        values = {value.strip() for value in found["values"].split(",")}
        return (lambda labels: labels.get(key) in values) if found["set"] == "in" else (lambda labels: labels.get(key) not in values)
    return lambda labels: key in labels


_FIELDS = ("metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "status.phase", "type", "reason",
           "involvedObject.kind", "involvedObject.name", "involvedObject.namespace", "involvedObject.uid", "involvedObject.fieldPath")


def field_matcher(text: str) -> Callable[[Object], bool]:
    """A function that tells whether an object's fields are these (``metadata.name=web,status.phase!=Failed``)."""
    wanted: list[tuple[list[str], str, bool]] = []
    for requirement in filter(None, text.split(",")):
        field, sign, value = re.split(r"(!?==?)", requirement, maxsplit=1) if "=" in requirement else (requirement, "", "")
        if not sign or field not in _FIELDS:
            raise refused(400, "BadRequest", f"field label not supported: {field}")
        wanted.append((field.split("."), value, not sign.startswith("!")))
    return lambda obj: all((_value(obj, path) == value) == equal for path, value, equal in wanted)


def _value(obj: Object, path: list[str]) -> str:
    found: Any = obj
    for key in path:
        found = found.get(key) or {}
    return found or ""
