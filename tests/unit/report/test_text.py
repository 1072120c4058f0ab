"""What other programs print is shown whole and can do no harm."""

from __future__ import annotations

import pytest

from devloop.events import ForwardChanged, StepProgress
from devloop.report.session import doing_text, link_text
from devloop.report.text import cells, fit, harmless, seconds, size, wrap


@pytest.mark.parametrize(("line", "expected"), [
    ("plain", ["plain"]),
    ("", [""]),
    ("tab\tbed", ["tab\tbed"]),
    ("\x1b[1;31mred\x1b[0m", ["\x1b[1;31mred\x1b[0m\x1b[0m"]),
    ("\x1b[38:2::1:2:3mtrue colour", ["\x1b[38:2::1:2:3mtrue colour\x1b[0m"]),
    ("up\x1b[3A clear\x1b[2J\x1b[H", ["up clear"]),
    ("\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", ["textlink"]),
    ("\x1b]0;never ends", [""]),
    ("\x1bP1$r device\x1b\\after", ["after"]),
    ("\x1b(0charset\x1bc reset \x1b7", ["charset reset "]),
    ("\x9b2Jeight bits \x9d0;t\x9c!", ["eight bits !"]),
    ("bell\x07 nul\x00 del\x7f back\x08", ["bell^G nul^@ del^? back^H"]),
    ("\x85next line", ["\\x85next line"]),
    ("10%\r50%\r100%", ["10%", "50%", "100%"]),
    ("a\nb", ["a", "b"]),
    ("ends with escape \x1b", ["ends with escape "]),
    ("日本語 🎉", ["日本語 🎉"]),
])
def test_controls_are_shown_or_dropped_and_colours_kept(line: str, expected: list[str]) -> None:
    assert harmless(line, colours=True) == expected


def test_colours_can_be_dropped_too() -> None:
    assert harmless("\x1b[32mINFO\x1b[0m ok", colours=False) == ["INFO ok"]


@pytest.mark.parametrize(("value", "text"), [(0.04, "0.0 s"), (1.25, "1.2 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"),
                                             (125, "2 min 05 s")])
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_960, "100 kB"), (999_499, "999 kB"),
                                             (999_500, "1.0 MB"), (3_140_000_000, "3.1 GB"), (5 * 10**15, "5000 TB")])
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


def test_text_is_cut_by_the_cells_it_takes() -> None:
    assert fit("日本語のログ", 8, "…") == "日本語…"
    assert cells(fit("日本語のログ", 8, "…")) <= 8
    assert fit("short", 8, "…") == "short"


def test_long_words_are_not_broken() -> None:
    word = "https://example.com/a/very/long/path/that/goes/on"
    assert word in wrap(f"see {word} for more", 20)


@pytest.mark.parametrize(("port", "address", "link"), [
    ("http", "127.0.0.1", "http://localhost:8080"), ("80", "0.0.0.0", "http://localhost:8080"), ("5432", "127.0.0.1", "localhost:8080"),
    ("grpc", "127.0.0.1", "localhost:8080"), ("https", "10.0.0.7", "https://10.0.0.7:8080"), ("443", "fd00::7", "https://[fd00::7]:8080")])
def test_links(port: str, address: str, link: str) -> None:
    assert link_text(ForwardChanged("service/x", port, address, 8080, "listening")) == link


@pytest.mark.parametrize(("event", "text"), [
    (StepProgress("build", "x", "RUN make", 2, 5, "steps"), "step 2/5: RUN make"),
    (StepProgress("build", "x", "sending the context", 1_500_000, 3_000_000, "bytes"), "sending the context: 1.5 MB of 3.0 MB"),
    (StepProgress("build", "x", "sending the context", 1_500_000, 0, "bytes"), "sending the context: 1.5 MB"),
    (StepProgress("rollout", "x", "0 of 1 pods ready", 0, 1, "pods"), "0 of 1 pods ready")])
def test_progress(event: StepProgress, text: str) -> None:
    assert doing_text(event) == text
