"""YAML's syntax errors in plain words, at the place where the mistake is rather than where the parser noticed it."""

from __future__ import annotations

import re

import yaml
from yaml.reader import ReaderError

from devloop.config.problems import Problem, Source

MAX_DEPTH = 50      # levels that values may be nested in each other
TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

_UNFITTING = "this line does not fit with those before it: check its indentation"
_BRACES = "YAML reads {{...}} as a map: quote the value"


def explain(source: Source, error: yaml.YAMLError) -> Problem:
    """What is wrong. libyaml and PyYAML's own parser word the same errors differently; both are understood."""
    if isinstance(error, ReaderError):  # its position is in bytes or characters, depending on the parser
        at = source.position(source.text.find(chr(error.character)))
        return Problem(at, "", f"the character U+{error.character:04X} is not allowed in YAML")
    assert isinstance(error, yaml.MarkedYAMLError)
    noticed = error.problem_mark or error.context_mark
    assert noticed
    begun = error.context_mark or noticed
    offset, text, width = _locate(source, error.problem or "", error.context or "", noticed.index, begun.index)
    return Problem(source.position(offset, width), "", text)


def _locate(source: Source, problem: str, context: str, noticed: int, begun: int) -> tuple[int, str, int]:
    """Offset, text and width of the mistake. `noticed`: where the parser gave up; `begun`: where that which it read then begins."""
    at = source.position(noticed)
    line = source.lines[at.line - 1]
    before = line[: at.column - 1]
    start = noticed - len(before)
    if tab := re.match(r" *\t", line):
        return start + tab.end() - 1, "a tab; YAML is indented with spaces", 1
    if "nesting depth" in problem:      # libyaml, from 0.2.6, has a bound of its own
        return noticed, TOO_DEEP, 1
    if "quoted scalar" in context and "end of stream" in problem:
        return begun, f"this {source.text[begun]} is never closed", 1
    if "flow" in context and (variable := re.compile(r"\$\{[^\s}]*}?").match(source.text, max(0, noticed - 1))):
        return noticed - 1, f'quote it, "{variable[0]}": inside of {{...}} and [...] YAML takes its braces for a map', len(variable[0])
    if "flow node" in context:
        return noticed, "expected a value" if source.text[noticed:].strip() else "the file ends inside of {...} or [...]", 1
    if "flow" in context:
        return begun, f"this '{source.text[begun]}' is not closed, or a ',' is missing in it", 1
    if re.search("scanning an? (alias|anchor|tag)", context) or "cannot start any token" in problem:
        first = noticed if "token" in problem else begun
        return first, f"quote a value that begins with '{source.text[first]}'", 1
    if "escape" in problem:
        return noticed, "in double quotes a backslash begins an escape: write \\\\, or use single quotes", 1
    if "mapping values" in problem:
        if ":" in before:
            return noticed, "a second ': ' in one line; quote the value if the colon belongs to it", 1
        if glued := re.search(r"\n\s*(?:- )?[A-Za-z]+(:)[^\s/][^\n]*\n\s*$", "\n" + source.text[:start]):
            return glued.start(1) - 1, "a space is missing after this ':'", 1
    if "expected ':'" in problem:
        unfinished = source.lines[source.position(begun).line - 1].strip()
        return begun, "expected 'key: value'" + (", with a space after the ':'" if ":" in unfinished else ""), len(unfinished)
    if "sequence entries are not allowed" in problem:
        return noticed, "a list cannot begin within a line: put '- ' on a line of its own", 1
    if "block" in context and before.strip(" -"):
        quote = "something follows a value that has ended; quote the whole value (in single quotes, ' is written '')"
        return noticed, _BRACES if "{{" in line else quote, 1
    if "block" in context or "mapping values" in problem or "<document start>" in problem:
        return start + len(line) - len(line.lstrip()), _UNFITTING, len(line.strip())
    return noticed, f"no valid YAML: {problem}", 1
