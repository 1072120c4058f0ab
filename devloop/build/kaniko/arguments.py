"""The executor's command line and environment. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from devloop.build.builder import BuildJob
from devloop.build.kaniko.agent import CERTIFICATES, CONTEXT, DIGEST, DOCKERFILE, LOGINS
from devloop.build.kaniko.git import directory, fragment
from devloop.config.kaniko import flag
from devloop.config.models import GitContext, Kaniko
from devloop.model import ImageRef

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY")


def arguments(job: BuildJob, kaniko: Kaniko, target: ImageRef, *, insecure: bool) -> list[str]:
    """The executor's flags. `target`: where it pushes to. `insecure`: that registry may speak plain HTTP or show any certificate."""
    docker = job.artifact.docker
    flags = [*_context(job, kaniko), f"--destination={target}", f"--digest-file={DIGEST}", "--log-format=json",
             *(f"--build-arg={name}={value}" for name, value in sorted(job.build_args.items())),
             *(f"--build-arg={name}" for name in _proxy_names(kaniko.env) if name not in job.build_args),
             *(f"--label={name}={value}" for name, value in sorted(docker.labels.items()))]
    if docker.target:
        flags.append(f"--target={docker.target}")
    if docker.platform:
        flags.append(f"--custom-platform={docker.platform}")
    return [*flags, *_cache(kaniko, target), *_registries(kaniko, target, insecure=insecure), *kaniko.args]


def _context(job: BuildJob, kaniko: Kaniko) -> Iterator[str]:
    if not isinstance(kaniko.context, GitContext):
        yield f"--context=dir://{CONTEXT}"
        yield f"--dockerfile={DOCKERFILE}"
        return
    git = kaniko.context.git
    yield f"--context=git://{git.url.partition('://')[2]}#{fragment(job.context)}"
    if path := directory(job.artifact, git):
        yield f"--context-sub-path={path}"
    yield f"--dockerfile={job.context.dockerfile_name}"


def _cache(kaniko: Kaniko, target: ImageRef) -> Iterator[str]:
    if kaniko.cache.enabled:
        yield "--cache=true"
        yield f"--cache-repo={cache_repository(kaniko, target)}"
        yield f"--cache-ttl={kaniko.cache.ttl}"
        yield f"--cache-copy-layers={str(kaniko.cache.copy_layers).lower()}"


def cache_repository(kaniko: Kaniko, target: ImageRef) -> str:
    """Where layers are kept; empty: nowhere."""
    if not kaniko.cache.enabled:
        return ""
    # Docker Hub has no nested names
    return kaniko.cache.repository or target.repository + ("-cache" if target.canonical.startswith("docker.io/") else "/cache")


def _registries(kaniko: Kaniko, target: ImageRef, *, insecure: bool) -> Iterator[str]:
    yield from (f"--registry-mirror={mirror}" for mirror in kaniko.registry_mirror)
    hosts = [*kaniko.insecure_registries, *([target.registry] if insecure else [])]
    for host in dict.fromkeys(hosts):
        yield f"--insecure-registry={host}"
        yield f"--skip-tls-verify-registry={host}"
    if kaniko.skip_tls_verify:
        yield "--skip-tls-verify"
        yield "--skip-tls-verify-pull"
    if insecure:
        yield "--insecure"


def order(flags: list[str], kaniko: Kaniko) -> str:
    """A script for the agent that becomes the executor: nothing of it is in any object of the cluster."""
    environment = dict(kaniko.env)
    for name in _proxy_names(kaniko.env):      # some programs know only the one spelling, some only the other
        environment.setdefault(name.lower(), kaniko.env[name])
    if isinstance(kaniko.context, GitContext) and kaniko.context.git.url.startswith("http://"):
        environment.setdefault("GIT_PULL_METHOD", "http")
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    lines.append(f"export DOCKER_CONFIG={LOGINS}/")
    if kaniko.certificates:
        lines.append(f'export SSL_CERT_DIR="${{SSL_CERT_DIR:-/kaniko/ssl/certs}}:{CERTIFICATES}"')
    return "\n".join([*lines, "cd /", shlex.join(["exec", "/kaniko/executor", *flags]), ""])


def _proxy_names(env: Mapping[str, str]) -> list[str]:
    return [name for name in _PROXIES if name in env]


def refused_flag(text: str) -> str:
    """What an executor that is older or newer than devloop expects does not know; empty where it is not about a flag."""
    return flag(text.rpartition("unknown flag: ")[2].strip()) if "unknown flag: " in text else ""
