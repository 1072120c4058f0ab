"""The executor's lines, as every version and setting of it prints them."""

import pytest

from devloop.build.kaniko.lines import Said, said, split


@pytest.mark.parametrize(("line", "expected"), [
    ("\x1b[36mINFO\x1b[0m[0004] RUN make all                                 ", Said("info", "RUN make all")),
    ("\x1b[36mINFO\x1b[0m[2026-11-21T15:48:40Z] Pushing image to r/web:1     ", Said("info", "Pushing image to r/web:1")),
    ("\x1b[33mWARN\x1b[0m[0000] make sure you entered the tag name ", Said("warning", "make sure you entered the tag name")),
    ('time="2026-11-21T15:48:39Z" level=info msg="RUN echo \\"a\\""', Said("info", 'RUN echo "a"')),
    ("time=\"2026-11-21T15:48:39Z\" level=error msg=broken", Said("error", "broken")),
    ('{"level":"info","msg":"RUN \\u003c\\u003cEOF","time":"2026-11-21T15:48:41Z"}', Said("info", "RUN <<EOF")),
    ('{"level":"info","msg":"no time"}', Said("", '{"level":"info","msg":"no time"}')),
    ('{"a": 1', Said("", '{"a": 1')),
    ("\x1b[32mgreen\x1b[0m", Said("", "green")),
    ("10%\r100%", Said("", "100%")),
    ("INFO: of a program", Said("", "INFO: of a program")),
    ("", Said("", "")),
])
def test_is_the_executors_or_a_programs(line: str, expected: Said) -> None:
    assert said(line) == expected


def test_what_a_program_has_not_ended_is_a_line_of_its_own() -> None:
    own = '{"level":"info","msg":"Taking snapshot","time":"2026-11-21T16:12:13Z"}'
    assert split("netgroup: nis" + own) == ["netgroup: nis", own]
    assert split(own) == [own]
    assert split("plain") == ["plain"]
