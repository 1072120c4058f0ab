"""What cannot be when Kaniko builds. Works on the tree, as `checks` does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from devloop.config.problems import Problem
from devloop.config.tree import Items, Map, Node, Scalar

CANNOT: Mapping[str, str] = {
    "network": "Kaniko's RUN instructions have the network of the build's pod, and no other",
    "cacheFrom": "Kaniko takes layers only from build.kaniko.cache.repository, not from images",
}
"""Keys of an artifact's ``docker`` that Kaniko does not obey, and why."""

OURS: Mapping[str, str] = {
    "context": "build.kaniko.context", "context-sub-path": "build.kaniko.context.git.subPath", "git": "build.kaniko.context.git",
    "dockerfile": "docker.dockerfile of the artifact", "target": "docker.target of the artifact",
    "build-arg": "docker.buildArgs of the artifact", "label": "docker.labels of the artifact",
    "custom-platform": "docker.platform of the artifact", "customPlatform": "docker.platform of the artifact",
    "destination": "publish.registry.repository", "cache": "build.kaniko.cache.enabled", "cache-repo": "build.kaniko.cache.repository",
    "cache-ttl": "build.kaniko.cache.ttl", "cache-copy-layers": "build.kaniko.cache.copyLayers",
    "registry-mirror": "build.kaniko.registryMirror", "insecure-registry": "build.kaniko.insecureRegistries",
    "skip-tls-verify": "build.kaniko.skipTlsVerify", "skip-tls-verify-pull": "build.kaniko.skipTlsVerify",
    "no-push": "", "digest-file": "", "log-format": "", "log-timestamp": "", "cleanup": "", "pre-cleanup": "", "preserve-context": "",
    "kaniko-dir": "", "force": "", "tar-path": "", "tarPath": "", "oci-layout-path": "", "dryrun": "",
}
"""The executor's flags that devloop sets, and the key that says the same; empty: they are not to be set."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHORT = {"c": "context", "f": "dockerfile", "d": "destination", "b": "context"}
_PUBLISH = ("auto", "registry")


def check_kaniko(root: Map, artifacts: list[Map]) -> Iterator[Problem]:
    """What contradicts ``builder: kaniko``; where `auto` chooses, the build itself will say it."""
    build = root.get("build")
    if not isinstance(build, Map):
        return
    kaniko = build.get("kaniko")
    yield from _arguments(kaniko)
    yield from _environment(kaniko)
    chosen = _text(build, "builder")
    theirs = [a for a in artifacts if (_text(a, "builder") or chosen) == "kaniko"]
    for artifact in theirs:
        docker = artifact.get("docker")
        for key, why in CANNOT.items():
            value = docker.get(key) if isinstance(docker, Map) else None
            if (isinstance(value, Scalar) and value.text) or (isinstance(value, Items) and value.nodes):
                yield Problem(value.at, value.path, why)
    if not theirs:
        return
    if (engine := build.get("engine")) and isinstance(engine, Scalar) and engine.text == "buildkit" and len(theirs) == len(artifacts):
        yield Problem(engine.at, engine.path, "BuildKit is a Docker Engine's, and Kaniko builds everything here: remove it")
    publish = root.get("publish")
    mode = publish.get("mode") if isinstance(publish, Map) else publish
    if isinstance(mode, Scalar) and mode.text and mode.kind in ("text", "variable") and mode.text not in _PUBLISH:
        yield Problem(mode.at, mode.path, "Kaniko pushes what it builds to a registry: expected auto or registry")


def _arguments(kaniko: Node | None) -> Iterator[Problem]:
    args = kaniko.get("args") if isinstance(kaniko, Map) else None
    for node in args.nodes if isinstance(args, Items) else ():
        if not isinstance(node, Scalar) or node.kind not in ("text", "variable"):
            continue
        if not node.text.startswith("-"):
            yield Problem(node.at, node.path, f"expected a flag with its value such as --snapshot-mode=redo, found '{node.text}'")
        elif (name := flag(node.text)) in OURS:
            instead = OURS[name]
            yield Problem(node.at, node.path, f"devloop sets --{name} itself" + (f": see {instead}" if instead else ""))
    if isinstance(kaniko, Map) and (secret := kaniko.get("dockerConfigSecret")) and _text(kaniko, "dockerConfigSecret") \
            and _text(kaniko, "fromDockerConfig") == "true":
        yield Problem(secret.at, secret.path, "the logins come from this secret, or from this machine (fromDockerConfig), not from both")


def _environment(kaniko: Node | None) -> Iterator[Problem]:
    env = kaniko.get("env") if isinstance(kaniko, Map) else None
    for name, entry in env.entries.items() if isinstance(env, Map) else ():
        if not _VARIABLE.fullmatch(name):      # no shell could hand it over
            yield Problem(entry.key, entry.value.path, f"expected a variable's name, of letters, digits and '_', found '{name}'")


def flag(text: str) -> str:
    """The name of the flag in ``--name=value``."""
    name = text.partition("=")[0]
    return name[2:] if name.startswith("--") else _SHORT.get(name[1:2], name[1:])


def _text(node: Map, key: str) -> str:
    value = node.get(key)
    return value.text if isinstance(value, Scalar) and not value.problem else ""
