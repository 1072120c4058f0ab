"""Remembers what files contain, so that only changed ones are read again."""

from __future__ import annotations

from pathlib import Path


class DigestCache:
    """Content digests by path and stat. In memory, and kept in `directory` (if any) between runs. Safe from several threads."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def save(self) -> None:
        """Write what is new to the directory. Never raises: a cache that cannot be written is only slower."""
