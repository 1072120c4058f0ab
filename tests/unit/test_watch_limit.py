"""The watcher where the kernel has few watches to give: a user namespace of its own may have a lower limit than the machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

LIMIT = 5
WATCHES = """
import sys
from pathlib import Path
from devloop.roots import Root
from devloop.watch import Watcher

root = Path(sys.argv[1])
watcher = Watcher([Root(root)], relevant=lambda path: True, deliver=lambda batch: print(*(p.relative_to(root) for p in batch), flush=True),
                  emit=lambda notice: print(notice.message, flush=True))
watcher.start()
print("watching", flush=True)
sys.stdin.read()
watcher.stop()
"""
Hears = Callable[..., None]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[], Hears]]:
    """Have `tmp_path` watched; what it gives waits until a word has come."""
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", f'echo {LIMIT} > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("missing: user namespaces")
    started: list[subprocess.Popen[str]] = []

    def watch() -> Hears:
        process = subprocess.Popen([*inside, sys.executable, "-c", WATCHES, tmp_path],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)

        def hears(*words: str) -> None:
            missing = set(words)
            while missing:
                assert process.stdout
                line = process.stdout.readline()
                assert line, f"it ended without {missing}"
                missing -= set(line.split())

        return hears

    yield watch
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_a_tree_of_more_directories_than_watches_is_looked_at(tmp_path: Path, watch: Callable[[], Hears]) -> None:
    for number in range(LIMIT + 1):
        (tmp_path / str(number)).mkdir()
    hears = watch()
    hears("ran")        # the system's file watches ran out
    hears("watching")
    for number in range(LIMIT + 1):
        (tmp_path / str(number) / "file").write_text("x")
    hears(*(f"{number}/file" for number in range(LIMIT + 1)))


def test_directories_that_come_when_the_watches_have_run_out_are_looked_at(tmp_path: Path, watch: Callable[[], Hears]) -> None:
    hears = watch()
    hears("watching")
    deep = tmp_path.joinpath(*"abcdefg")
    deep.mkdir(parents=True)
    hears("ran")
    hears(".")          # what came meanwhile was not seen by itself
    (deep / "file").write_text("x")
    hears("a/b/c/d/e/f/g/file")
