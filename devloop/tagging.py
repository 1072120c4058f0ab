"""How images are tagged. Every tag contains the digest of what the image is built from: no tag is ever used for two contents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from devloop.config.models import TemplateTag


class Digested(Protocol):
    """A build context, as far as tags are concerned."""

    @property
    def digest(self) -> str: ...


def input_digest(context: Digested, build_args: Mapping[str, str], target: str, platform: str, labels: Mapping[str, str]) -> str:
    """The sha256 in hex of everything that makes the image what it is."""
    raise NotImplementedError


def tag(policy: Literal["inputDigest", "gitCommit", "dateTime"] | TemplateTag, *, digest: str, base: Path,
        environ: Mapping[str, str], now: datetime) -> str:
    """The tag for an image whose `input_digest` is `digest`. Raises `ConfigError` where the policy cannot be followed."""
    raise NotImplementedError


def same_content(digest: str) -> str:
    """A glob that matches every tag, of whatever policy and time, of an image with this `input_digest`."""
    raise NotImplementedError
