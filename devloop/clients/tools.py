"""Command lines of the tools that make local clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from devloop.cancel import Cancel
from devloop.clients import process
from devloop.clients.process import Captured
from devloop.errors import PublishError


@dataclass(frozen=True)
class Tool:
    """A program, and where to get it."""

    name: str
    home: str

    def path(self, environ: Mapping[str, str]) -> str:
        """Where it is. Raises `PublishError` where it is not."""
        if path := process.which(self.name, environ):
            return path
        raise PublishError(f"{self.name} is not installed, or not in PATH", hint=f"Get it: {self.home}")

    def run(self, arguments: Sequence[str], environ: Mapping[str, str], cancel: Cancel) -> Captured:
        """Run it to its end, whatever its exit code. Raises `PublishError` where it is missing or cannot be started, `Cancelled`."""
        path = self.path(environ)
        with self._runnable(path):
            return process.capture([path, *arguments], environ=environ, cancel=cancel)

    def stream(self, arguments: Sequence[str], environ: Mapping[str, str], on_line: Callable[[str], None], cancel: Cancel) -> int:
        """The same, giving every line of its output and errors to `on_line`. Returns the exit code."""
        path = self.path(environ)
        with self._runnable(path):
            return process.stream([path, *arguments], environ=environ, cancel=cancel, stdin=(), on_line=on_line)

    @contextmanager
    def _runnable(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PublishError(f"{path} cannot be run: {error.strerror}", hint=f"Install it anew: {self.home}") from error

    def complaint(self, done: Captured, said: str = "") -> str:
        """What a run that failed is quoted with: its last words, or `said`."""
        said = said or last(done.errors) or last(done.output) or "it said nothing"
        return f"{self.name} ended with exit code {done.code}: {said}"


def last(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
