"""Docker's ignore rules: its documented examples, its odd corners, and a comparison with its algorithm written down plainly."""

from __future__ import annotations

import random
import re
from itertools import accumulate

import pytest

from devloop.context.globs import translate
from devloop.context.ignore import IgnoreRules, Rule
from devloop.errors import ConfigError


def ignored(text: str, path: str) -> bool:
    return IgnoreRules.parse(text.encode(errors="surrogateescape"), ".dockerignore").state(path)[0]


@pytest.mark.parametrize(("text", "path", "expected"), [
    # exact names and everything below
    ("build", "build", True), ("build", "build/a/b", True), ("build", "src/build", False), ("build", "builder", False),
    ("build", "Build", False),                        # docker-py: case-insensitive
    ("a/b", "a/b/c", True), ("a/b", "a", False), ("a/b", "x/a/b", False),
    # slashes, dots, blanks
    ("/build", "build", True), ("build/", "build/x", True), ("./build", "build", True), ("a//b/../c", "a/c", True),
    ("  build  ", "build", True), ("build\r", "build", True), ("/", "a", False), (".", "a", False), ("../a", "a", False),
    ("\ufeffbuild", "build", True), ("# build", "build", False), ("#build\nsrc", "#build", False), (" #build", "#build", True),
    # one star and question mark stay inside of a component
    ("*.md", "a.md", True), ("*.md", "docs/a.md", False), ("*/temp*", "sub/temporary.txt", True), ("*/temp*", "temporary", False),
    ("*/*/temp*", "a/b/tempx", True), ("temp?", "tempa", True), ("temp?", "temp", False), ("temp?", "temp/", False), ("*", "a/b", True),
    # two stars
    ("**", "a/b", True), ("**/*.go", "a.go", True), ("**/*.go", "a/b/c.go", True), ("**/node_modules", "a/node_modules/b", True),
    ("**/node_modules", "node_modules", True), ("**/node_modules", "my_node_modules", False), ("dir/**", "dir", False),
    ("dir/**", "dir/a/b", True), ("a/**/b", "a/b", True), ("a/**/b", "a/x/y/b", True), ("a/**/b", "a/xb", False),
    ("**/a/b", "x/a/b", True), ("**/a/b", "x/ya/b", False), ("**.log", "a/b.log", True), ("**log", "a/blog", True),
    ("**/x/**", "a/x/b", True), ("**/x/**", "a/x", False), ("a**b", "a/x/b", True), ("a**", "abc", True),
    # classes and escapes
    ("[a-c]*", "bx", True), ("[a-c]*", "dx", False), ("[^a-c]*", "dx", True), ("[^a-c]*", "ax", False), (r"\*.md", "*.md", True),
    (r"\*.md", "a.md", False), (r"\#a", "#a", True), (r"\!a", "!a", True), ("[[]a", "[a", True), (r"a[\]]b", "a]b", True),
    ("[!a]", "!", True), ("[!a]", "b", False), ("a.b", "axb", False), ("a+(b)|{c}$^", "a+(b)|{c}$^", True), ("[c-a]", "b", False),
    # taking back: the last rule that matches decides
    ("*.md\n!README.md", "README.md", False), ("*.md\n!README.md", "a.md", True), ("!README.md\n*.md", "README.md", True),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True), ("a\n!a/b", "a/b/c", False), ("a\n!a/b", "a/c", True),
    ("**/node_modules\n!a/node_modules/keep", "a/node_modules/keep/x", False),
    ("**/node_modules\n!a/node_modules/keep", "a/node_modules/drop", True),     # docker-py takes back all of it
    ("*\n!src", "src/main.py", False), ("*\n!src", "srcs", True), ("*\n! src", "src/x", False), ("*\n!/src/", "src/x", False),
    ("a/x\n!a", "a/x", True),                         # Docker: what is below a directory that was not ignored stays ignored
    # names that are no UTF-8
    ("*.bin", "\udcff.bin", True), ("\udcff", "\udcff", True), ("?", "\udcff", True),
])
def test_a_path_is_ignored_as_docker_ignores_it(text: str, path: str, expected: bool) -> None:
    assert ignored(text, path) is expected


def test_the_context_itself_is_never_ignored() -> None:
    assert not ignored("**", ".")


@pytest.mark.parametrize(("line", "said"), [("[a", "not closed"), ("a[]b", "malformed"), ("a[-b]", "malformed"), ("a\\", "backslash"),
    ("!", "nothing")])
def test_a_malformed_pattern_is_named_with_its_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        IgnoreRules.parse(f"ok\n\n{line}\n".encode(), "web/.dockerignore")
    assert caught.value.message.startswith("web/.dockerignore:3: ")
    assert caught.value.hint


def test_the_reason_is_the_last_rule_that_ignores() -> None:
    rules = IgnoreRules.parse(b"# comment\n*.md\ndist\n/dist/*.js \n", "x")
    assert rules.reason("dist/a.js") == Rule("dist/*.js", False, 4, "/dist/*.js")
    assert rules.reason("dist/a.css") == Rule("dist", False, 3, "dist")
    assert rules.reason("src/a.css") is None


@pytest.mark.parametrize(("text", "directory", "expected"), [
    ("a", "a", False), ("a\n!b", "a", False), ("a\n!a/b", "a", True), ("a\n!a/b/c", "a/b", True), ("a\n!a/b", "a/b", False),
    ("a\n!**/keep", "a/deep", True), ("a\n!*/keep", "a", True), ("a\n!*/keep", "a/deep", False), ("a\n!a/[k]/x", "a/k", True),
    ("a\n!a/[k]/x", "a/j", False), ("*\n!src", "node_modules", False),
])
def test_a_walk_enters_an_ignored_directory_only_where_something_can_be_taken_back(text: str, directory: str, expected: bool) -> None:
    assert IgnoreRules.parse(text.encode(), "x").may_take_back_below(directory) is expected


def plainly(rules: IgnoreRules, path: str) -> bool:
    """moby/patternmatcher's MatchesUsingParentResults, rule by rule and directory by directory."""
    def match(pattern: str, of: str) -> bool:
        return re.fullmatch(translate(pattern, deep=True), of, re.DOTALL) is not None

    above = [False] * len(rules.rules)
    matched = False
    for prefix in accumulate(path.split("/"), lambda a, b: f"{a}/{b}"):
        matched = False
        now = []
        for rule, known in zip(rules.rules, above, strict=True):
            hit = known or (rule.negated == matched and match(rule.pattern, prefix))
            now.append(hit)
            matched = (not rule.negated) if hit else matched
        above = now
    return matched


def test_fast_answers_are_those_of_the_plain_algorithm() -> None:
    rand = random.Random(7)
    part = ["a", "b", "c", "*", "?", "a*", "[ab]", "**", "*c"]
    different = 0
    for _ in range(1500):
        lines = [rand.choice(["", "", "!"]) + "/".join(rand.choices(part, k=rand.randint(1, 3))) for _ in range(rand.randint(1, 6))]
        rules = IgnoreRules.parse("\n".join(lines).encode(), "x")
        for _ in range(8):
            path = "/".join(rand.choices(["a", "b", "c", "ac", "x"], k=rand.randint(1, 4)))
            expected = plainly(rules, path)
            assert rules.state(path)[0] is expected, (lines, path)
            different += expected
            if rules.state(path)[0] and not rules.may_take_back_below(path):
                assert plainly(rules, path + "/a/c"), (lines, path)     # so the walk may stop here
    assert 2000 < different < 10000
