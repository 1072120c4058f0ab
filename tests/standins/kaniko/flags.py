"""The command line: the executor's flags. Those that would change what is built, and that the stand-in does not obey, it refuses;
those that only change how long it takes (``--compressed-caching``, ``--use-new-run``, ``--cache-dir``...) say nothing to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BOOL = ("cache", "cache-copy-layers", "cache-run-layers", "cleanup", "compressed-caching", "force", "ignore-var-run", "insecure",
        "insecure-pull", "log-timestamp", "no-push", "no-push-cache", "pre-cleanup", "reproducible", "single-snapshot",
        "skip-default-registry-fallback", "skip-push-permission-check", "skip-tls-verify", "skip-tls-verify-pull", "use-new-run")
LIST = ("build-arg", "credential-helpers", "destination", "git", "ignore-path", "insecure-registry", "label", "registry-certificate",
        "registry-map", "registry-mirror", "secret", "skip-tls-verify-registry", "target")
TEXT = {"cache-dir": "/cache", "cache-repo": "", "cache-ttl": "336h", "compression": "gzip", "compression-level": "-1",
        "context": "/workspace/", "context-sub-path": "", "custom-platform": "", "digest-file": "", "dockerfile": "Dockerfile",
        "image-download-retry": "0", "image-fs-extract-retry": "0", "image-name-tag-with-digest-file": "",
        "image-name-with-digest-file": "", "log-format": "color", "push-retry": "0", "snapshot-mode": "full", "verbosity": "info"}
SHORT = {"c": "context", "f": "dockerfile", "d": "destination", "v": "verbosity"}
TRUE = ("cache-run-layers", "compressed-caching", "ignore-var-run")
THEIRS = ("annotation", "bucket", "dryrun", "force-build-metadata", "image-format", "kaniko-dir", "materialize", "oci-layout-path",
          "preserve-context", "push-ignore-immutable-tag-errors", "registry-client-cert", "skip-unused-stages", "tar-path")
UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}


class UsageError(Exception):
    pass


@dataclass
class Flags:
    on: dict[str, bool] = field(default_factory=lambda: {name: name in TRUE for name in BOOL})
    many: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in LIST})
    text: dict[str, str] = field(default_factory=lambda: dict(TEXT))

    def pairs(self, name: str) -> dict[str, str]:
        return dict(value.partition("=")[::2] for value in self.many[name])

    def number(self, name: str) -> int:
        return int(self.text[name])


def parse(arguments: list[str]) -> Flags:
    flags = Flags()
    rest = list(arguments)
    while rest:
        given = rest.pop(0)
        if not given.startswith("-"):
            raise UsageError(f'unknown command "{given}" for "executor"')
        name, equals, value = (given[2:] if given.startswith("--") else _short(given)).partition("=")
        if name in THEIRS:
            raise UsageError(f"the stand-in for Kaniko does not do --{name}")
        if name not in (*BOOL, *LIST, *TEXT):
            raise UsageError(f"unknown flag: {given.partition('=')[0]}")
        if name in BOOL:
            flags.on[name] = _bool(name, value) if equals else True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"flag needs an argument: --{name}")
            value = rest.pop(0)
        if name in LIST:
            flags.many[name] += value.split(",") if name == "target" else [value]
        else:
            flags.text[name] = value
    _check(flags)
    return flags


def seconds(duration: str) -> float:
    """Of ``336h0m0s``."""
    found = re.findall(r"([\d.]+)(ms|[hms])", duration)
    if not found or "".join(number + unit for number, unit in found) != duration:
        raise UsageError(f'invalid argument "{duration}" for "--cache-ttl" flag: time: invalid duration "{duration}"')
    return sum(float(number) * UNITS[unit] for number, unit in found)


def usage() -> str:
    kinds = dict.fromkeys(BOOL, "") | dict.fromkeys(LIST, " strings") | dict.fromkeys(TEXT, " string")
    names = [f"      --{name}{kind}" for name, kind in kinds.items()]
    return "Usage:\n  executor [flags]\n  executor [command]\n\nFlags:\n" + "\n".join(sorted(names)) + "\n"


def _short(given: str) -> str:
    if given[1:2] not in SHORT:
        raise UsageError(f"unknown shorthand flag: '{given[1:2]}' in {given}")
    value = given[2:].removeprefix("=")
    return SHORT[given[1]] + (f"={value}" if value else "")


def _bool(name: str, value: str) -> bool:
    if value.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise UsageError(f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}": invalid syntax')
    return value.lower() in ("1", "t", "true")


def _check(flags: Flags) -> None:
    seconds(flags.text["cache-ttl"])
    if flags.text["compression"] != "gzip":
        raise UsageError("the stand-in for Kaniko does not do --compression other than gzip")
    for name in ("compression-level", "push-retry", "image-download-retry", "image-fs-extract-retry"):
        if not re.fullmatch(r"-?\d+", flags.text[name]):
            given = f'"{flags.text[name]}"'
            raise UsageError(f'invalid argument {given} for "--{name}" flag: strconv.ParseInt: parsing {given}: invalid syntax')
