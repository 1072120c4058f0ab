"""What is no YAML, or more than one wants, is told in plain words; by libyaml and by PyYAML's own parser alike."""

import pytest
import yaml

from devloop.config.problems import Source
from devloop.config.tree import Unreadable, parse

UNFITTING = "this line does not fit with those before it: check its indentation"
BRACES = "YAML reads {{...}} as a map: quote the value"

BROKEN = [
    ("a:\n\tb: 1\n", "2:1: a tab; YAML is indented with spaces"),
    ("a:\n  \tb: 1\n", "2:3: a tab; YAML is indented with spaces"),
    ("a: 1\n\tb: 2\n", "2:1: a tab; YAML is indented with spaces"),
    ("a: b: c\n", "1:5: a second ': ' in one line; quote the value if the colon belongs to it"),
    ("a: 1\n b: 2\n", f"2:2: {UNFITTING}"),
    ("a:\n  - b\n c: 1\n", f"3:2: {UNFITTING}"),
    ("a:\n- b\n  c: d\n", f"3:3: {UNFITTING}"),
    ("a:1\nb: 2\n", "1:2: a space is missing after this ':'"),
    ("x:\n  - ab:1\n\n    c: 2\n", "2:7: a space is missing after this ':'"),
    ("x: 1\n\nab:1\n\nc: 2\n", "3:1: expected 'key: value', with a space after the ':'"),
    ("a: {b: ${B:-1}}\n", '1:8: quote it, "${B:-1}": inside of {...} and [...] YAML takes its braces for a map'),
    ("a: [x${B}, c]\n", '1:6: quote it, "${B}": inside of {...} and [...] YAML takes its braces for a map'),
    ("foo: bar\nbaz\n", "2:1: expected 'key: value'"),
    ("foo: bar\nbaz:1\n", "2:1: expected 'key: value', with a space after the ':'"),
    ("a: [1, 2\nb: 3\n", "1:4: this '[' is not closed, or a ',' is missing in it"),
    ("a: {b: 1 c: 2}\n", "1:4: this '{' is not closed, or a ',' is missing in it"),
    ("a: 'x\nb: 1\n", "1:4: this ' is never closed"),
    ('a: "x\n', '1:4: this " is never closed'),
    ("a: 'it's'\n", "1:8: something follows a value that has ended; quote the whole value (in single quotes, ' is written '')"),
    ("a: {{B}}-{{C}}\n", f"1:9: {BRACES}"),
    ("- *.yaml\n", "1:3: quote a value that begins with '*'"),
    ("a: &!x\n", "1:4: quote a value that begins with '&'"),
    (" a: 1\nb: 2\n", f"2:1: {UNFITTING}"),
    ("a: - b\n", "1:4: a list cannot begin within a line: put '- ' on a line of its own"),
    ("a: {b: 1, c:", "1:13: the file ends inside of {...} or [...]"),
    ("a: [b,\n", "2:1: the file ends inside of {...} or [...]"),
    ("a: [}]\n", "1:5: expected a value"),
    ("a: @x\n", "1:4: quote a value that begins with '@'"),
    ("a: `x`\n", "1:4: quote a value that begins with '`'"),
    ("a: %x\n", "1:4: quote a value that begins with '%'"),
    ("a: *foo\n", "1:4: '*foo' is an alias, but there is no anchor &foo before it; quote a value that begins with '*'"),
    ("a: &x [*x]\n", "1:8: the alias '*x' stands inside of its own anchor &x"),
    ("é: x\x7f\n", "1:5: the character U+007F is not allowed in YAML"),
    ("a: x\x07\n", "1:5: the character U+0007 is not allowed in YAML"),
    ("a: 1\n---\nb: 1\n",
     "2:1: a second document begins here; devloop.yaml is one document: remove the '---', and use profiles for variants"),
    ("a: " + "[" * 900, "1:54: nested more than 50 levels deep"),
    ("- " * 60_000, "1:103: nested more than 50 levels deep"),
    ("é: 'ü' x\n", "1:8: something follows a value that has ended; quote the whole value (in single quotes, ' is written '')"),
]


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
@pytest.mark.parametrize(("text", "message"), BROKEN, ids=[text[:20] for text, _ in BROKEN])
def test_what_is_no_yaml_is_told_in_plain_words(text, message, loader):
    with pytest.raises(Unreadable) as caught:
        parse(Source("f", text), {}, loader)
    assert str(caught.value.problem) == f"f:{message}"


@pytest.mark.parametrize(("text", "message"), [
    ('a: "\\q"\n', "1:5: in double quotes a backslash begins an escape: write \\\\, or use single quotes"),
    ("a: !<x\n", "1:4: quote a value that begins with '!'"),
    ("%YAML 2.0\n---\na: 1\n", "1:1: no valid YAML: found incompatible YAML document"),
])
def test_what_the_two_parsers_place_or_word_differently(text, message):
    with pytest.raises(Unreadable) as caught:
        parse(Source("f", text), {})
    assert str(caught.value.problem) == f"f:{message}"


@pytest.mark.parametrize(("text", "problems"), [
    ("a: 1\nb: {c: 1, c: 2}\na: 2\n",
     ["2:11: the key 'c' is here twice, first on line 2", "3:1: the key 'a' is here twice, first on line 1"]),
    ("a: {{B}}\n", [f"1:5: {BRACES}"]),
    ("? [x]\n: 1\n", ["1:3: a key must be text"]),
    ("a: !vault x\n", ["1:4: the YAML tag !vault means nothing here; quote the value if it begins with '!'"]),
    ("a: !!python/object:os.system {}\n",
     ["1:4: the YAML tag !!python/object:os.system means nothing here; quote the value if it begins with '!'"]),
    ("a: {<<: 1}\n", ["1:9: expected a map, or aliases (*name) of maps, to merge with '<<'"]),
])
def test_what_is_yaml_but_no_config_does_not_hide_the_rest(text, problems):
    root, found = parse(Source("f", text), {})

    assert root is not None
    assert [str(problem) for problem in found] == [f"f:{problem}" for problem in problems]


def test_a_few_lines_of_aliases_do_not_become_billions_of_values():
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    with pytest.raises(Unreadable, match=r"more than 10000 values, counting what aliases \(\*name\) repeat"):
        parse(Source("f", "\n".join(lines)), {})


def test_aliases_cannot_nest_what_may_not_be_nested():
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    with pytest.raises(Unreadable, match="nested more than 50 levels deep"):
        parse(Source("f", "\n".join(lines)), {})


def test_an_anchor_may_be_used_again_for_another_value():
    root, problems = parse(Source("f", "a: &x 1\nb: *x\nc: &x 2\nd: *x\n"), {})

    assert problems == []
    assert [root.get(key).text for key in "abcd"] == ["1", "1", "2", "2"]


@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
def test_what_is_too_deep_for_the_parser_itself_is_told_as_that(loader):
    with pytest.raises(Unreadable) as caught:
        parse(Source("f", "a: " + "[" * 60_000), {}, loader)
    assert str(caught.value.problem).endswith(": nested more than 50 levels deep")      # the place is the parser's
