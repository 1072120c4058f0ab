"""How images are tagged. Every tag contains the digest of what the image is built from: no tag is ever used for two contents."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from devloop.clients import git
from devloop.config.models import TemplateTag
from devloop.config.suggest import did_you_mean
from devloop.errors import ConfigError

LENGTH = 16      # hex digits of the digest in a tag: 64 bits
LONGEST = 128    # what a registry accepts
_FIELD = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_FIELDS = ("BRANCH", "GIT_SHA", "DATE", "DIGEST", "ENV.NAME")


class Digested(Protocol):
    """A build context, as far as tags are concerned."""

    @property
    def digest(self) -> str: ...


def input_digest(context: Digested, build_args: Mapping[str, str], target: str, platform: str, labels: Mapping[str, str]) -> str:
    """The sha256 in hex of everything that makes the image what it is."""
    inputs = {"context": context.digest, "buildArgs": dict(build_args), "target": target, "platform": platform, "labels": dict(labels)}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def tag(policy: Literal["inputDigest", "gitCommit", "dateTime"] | TemplateTag, *, digest: str, base: Path,
        environ: Mapping[str, str], now: datetime) -> str:
    """The tag for an image whose `input_digest` is `digest`. Raises `ConfigError` where the policy cannot be followed.

    With commits and times in it, one content can get several tags; an image that `same_content` finds can be used instead.
    """
    short = digest[:LENGTH]
    match policy:
        case "inputDigest":
            return short
        case "gitCommit":
            text = _commit(git.state(base, environ))
        case "dateTime":
            text = _date(now)
        case TemplateTag():
            text = _filled(policy.template, short, base, environ, now)
    text = _allowed(text)
    if short in text[:LONGEST]:
        return text[:LONGEST]
    return f"{text[: LONGEST - LENGTH - 1]}-{short}" if text else short


def same_content(digest: str) -> str:
    """A glob that matches every tag, of whatever policy and time, of an image with this `input_digest`."""
    return f"*{digest[:LENGTH]}*"


def _commit(state: git.GitState) -> str:
    return state.sha + ("-dirty" if state.dirty else "")


def _date(now: datetime) -> str:
    return now.strftime("%Y-%m-%d_%H-%M-%S")


def _filled(template: str, short: str, base: Path, environ: Mapping[str, str], now: datetime) -> str:
    known: list[git.GitState] = []

    def repository() -> git.GitState:
        if not known:
            known.append(git.state(base, environ))
        return known[0]

    def value(match: re.Match[str]) -> str:
        match match[1]:
            case "BRANCH":
                return repository().branch or repository().sha
            case "GIT_SHA":
                return _commit(repository())
            case "DATE":
                return _date(now)
            case "DIGEST":
                return short
            case field if field.startswith("ENV."):
                return _variable(field.removeprefix("ENV."), template, environ)
            case field:
                raise ConfigError(f"the tag template '{template}' has an unknown field {{{{{field}}}}}{did_you_mean(field, _FIELDS)}",
                                  hint="The fields are " + ", ".join(f"{{{{{name}}}}}" for name in _FIELDS) + ".")

    return _FIELD.sub(value, template)


def _variable(name: str, template: str, environ: Mapping[str, str]) -> str:
    if value := environ.get(name):
        return value
    raise ConfigError(f"the tag template '{template}' takes the environment variable {name}, which is not set.",
                      hint=f"Set it: {name}=... devloop ..., or take it out of the template.")


def _allowed(text: str) -> str:
    """Only what a tag may hold; a feature/branch becomes feature-branch."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip(".-").rstrip("-")
