"""Why a build in the cluster failed: by what its pod is, and by what the executor said last."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from devloop.build.builder import BuildJob
from devloop.build.failure import FOREIGN, FULL, NO_NETWORK, Advice, failure
from devloop.build.kaniko.agent import CONTEXT
from devloop.build.kaniko.arguments import refused_flag
from devloop.build.kaniko.pod import HELPER
from devloop.clients.docker_auth import login_command
from devloop.config.models import Kaniko
from devloop.deploy.causes.diagnosis import Diagnosis
from devloop.errors import BuildError
from devloop.model import ImageRef, Object

MORE_MEMORY = ("Raise build.kaniko.resources.limits.memory (and requests). Kaniko needs less with --snapshot-mode=redo or "
               "--compressed-caching=false in build.kaniko.args.")
MORE_ROOM = ("Set build.kaniko.resources.requests.ephemeral-storage, so that the build gets a node with so much room, or make some there. "
             "What the image does not need goes into .dockerignore.")
KEY = ("build.kaniko.dockerConfigSecret (a secret of type kubernetes.io/dockerconfigjson), or fromDockerConfig: true for this machine's "
       "logins")

_ADVICE = (
    Advice(FULL, MORE_ROOM),
    Advice(FOREIGN, "A program in the image is made for another platform than the node's: choose a base image that has the node's, or a "
                    "node that has the image's (build.kaniko.nodeSelector, label kubernetes.io/arch)."),
    Advice(NO_NETWORK, "The network did not answer. Behind a proxy: build.kaniko.env (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), which RUN gets, "
                       "too.", ("RUN", "ADD")),
)
_EXIT = re.compile(r"waiting for process to exit: (?:exit status (\d+)|signal: (\w+))")
_PUSH = re.compile(r"error checking push permissions|checking push permission for|error pushing image|failed to push to destination")
_DENIED = re.compile(r"unauthorized|denied|forbidden|authentication required|insufficient_scope|\b40[13]\b|no basic auth", re.IGNORECASE)
_TLS = re.compile(r"x509|certificate|tls: ", re.IGNORECASE)
_PLAIN = re.compile(r"server gave HTTP response to HTTPS client", re.IGNORECASE)
_PROXY = re.compile(r"proxyconnect|proxy authentication", re.IGNORECASE)
_AWAY = re.compile(r"no such host|connection refused|i/o timeout|network is unreachable|no route to host|deadline exceeded|timeout awaiting"
                   r"|connection reset|lookup \S+ on|\bEOF\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"MANIFEST_UNKNOWN|NAME_UNKNOWN|manifest unknown|not found|repository name not known", re.IGNORECASE)
_PLATFORM = re.compile(r"no child with platform|no matching manifest|does not match the specified platform", re.IGNORECASE)
_RATE = re.compile(r"TOOMANYREQUESTS|rate limit", re.IGNORECASE)
_CHAIN = re.compile(r"^(?:(?:error|failed) (?:building|to|getting|checking|pushing) [^:]*: "
                    r"|unable to complete operation after \d+ attempts, last error: |Error: )+")
_HOST = re.compile(r"https?://([^/\s\"]+)/|dial tcp:? (?:lookup )?(\S+?)(?: on|:\d+: )")

_REGISTRY = (
    (_PROXY, "The proxy in build.kaniko.env (HTTPS_PROXY) is not reached from the cluster, or refuses. NO_PROXY has what needs none."),
    (_PLAIN, "The registry{host} speaks plain HTTP: if that is meant to be, add it to build.kaniko.insecureRegistries."),
    (_TLS, "The build's pod does not trust the registry{host}: build.kaniko.certificates names a ConfigMap with its authority."),
    (_RATE, f"Registries limit pulls without a login: {KEY}."),
    (_DENIED, f"Is the image's name right? If it is private, the build's pod needs a login: {KEY}."),
    (_PLATFORM, "The base image does not exist for this platform: see docker.platform in devloop.yaml."),
    (_AWAY, "The build's pod does not reach{somewhere}: is the name right as seen from the cluster? Behind a proxy: build.kaniko.env."),
    (_UNKNOWN, "Is there an image with this name and tag?"),
)   # what is surest first


@dataclass(frozen=True)
class Talk:
    """How far the executor came: the line that announced its last instruction, what came after that, and its last words."""

    step: str
    tail: tuple[str, ...]
    last: str


def made_out(found: Diagnosis, job: Object) -> Diagnosis:
    """What was found of a pod of this Job, with what only we know: which type a Secret has that has the key."""
    secret = found.missing
    if secret is None or secret.kind != "Secret" or not secret.key:
        return found
    return replace(found, message=f"Secret '{secret.name}' in namespace {job['metadata']['namespace']} is not of type "
                   f"kubernetes.io/dockerconfigjson: it has no key '{secret.key}'")


def pod_failure(job: BuildJob, kaniko: Kaniko, found: Diagnosis, talk: Talk) -> BuildError:
    """Of a pod that cannot build: the cause as a rollout would tell it, and what to do in terms of build.kaniko."""
    if talk.step:
        return replace_hint(failure(job, found.message, step=talk.step, output=talk.tail), _hint(kaniko, found))
    return BuildError(f"{job.artifact.image}: {found.message}", hint=_hint(kaniko, found))


def _hint(kaniko: Kaniko, found: Diagnosis) -> str:
    match found.topic:
        case "node" if found.resource:
            return f"Lower build.kaniko.resources.requests.{found.resource}, stop what else runs there, or add a node."
        case "node":
            return ("See build.kaniko.nodeSelector and tolerations, and 'kubectl get nodes'."
                    if kaniko.node_selector or "taint" in found.message else found.hint)
        case "image":
            key = "helperImage" if f"container {HELPER}" in found.message else "image"
            return (f"See build.kaniko.{key}: is its name right, and may the cluster's nodes pull it? Where they cannot, have it in a "
                    "registry of your own, and name that one.")
        case "setup" if found.missing and found.missing.kind == "Secret":
            name = found.missing.name
            return f"build.kaniko.dockerConfigSecret names it. {_how_to_make(name)}; or set fromDockerConfig: true instead."
        case "setup" if found.missing and found.missing.kind == "ConfigMap":
            return (f"build.kaniko.certificates names it. Make it: kubectl create configmap {found.missing.name} --from-file=ca.crt")
        case "create" if "quota" in found.message:
            return "See 'kubectl describe resourcequota', and build.kaniko.resources: lower them, or set those that the quota asks for."
        case "create" if "serviceaccount" in found.message:
            return "build.kaniko.serviceAccount names one that is not there."
        case "create" if "PodSecurity" in found.message or "security context constraint" in found.message:
            return ("Kaniko needs to be root in its container: build in a namespace of pod security level 'baseline' "
                    "(build.kaniko.namespace).")
        case "disk":
            return MORE_ROOM
        case "crash" if "memory" in found.message:
            return MORE_MEMORY
        case "failed":
            return ("Its node needed what it used, or its time was over. Set build.kaniko.resources.requests (memory, ephemeral-storage), "
                    "so that it gets a node with room.")
    return found.hint.replace(" in the manifest", " in build.kaniko")


def executor_failure(job: BuildJob, kaniko: Kaniko, target: ImageRef, talk: Talk, *, code: int, killed: int) -> BuildError:
    """Of an executor that ended with `code`; `killed` processes of the pod ran out of memory meanwhile."""
    said = talk.last
    if killed and (code == 137 or "signal: killed" in said or "exit status 137" in said):
        limit = kaniko.resources.limits.get("memory", "")
        why = f"it needs more memory than its limit of {limit}" if limit else "its node has no memory left"
        found = failure(job, f"it was killed for its use of memory (OOMKilled): {why}", step=talk.step, output=talk.tail)
        return BuildError(found.message, hint=MORE_MEMORY, details=found.details)
    if name := refused_flag(said):
        return BuildError(f"{job.artifact.image}: the executor {kaniko.image} does not know the flag --{name}",
                          hint="Use a newer image (build.kaniko.image), or take the flag out of build.kaniko.args.", details=talk.tail)
    if "error resolving source context" in said:
        return BuildError(f"{job.artifact.image}: Kaniko cannot get its context, {job.context.name}: {_CHAIN.sub('', said)}",
                          hint="See build.kaniko.context.git; a login goes into build.kaniko.env (GIT_USERNAME, GIT_PASSWORD, GIT_TOKEN).",
                          details=talk.tail)
    if "parsing config file" in said or "loading config file" in said:
        name = kaniko.docker_config_secret
        return BuildError(f"{job.artifact.image}: the logins that the executor was given cannot be read: {_CHAIN.sub('', said)}",
                          hint=f"The key .dockerconfigjson of the Secret '{name}' is not docker's configuration. {_how_to_make(name)}."
                          if name else "", details=talk.tail)
    if _PUSH.search(said):
        return _unpushed(job, target, said, talk)
    if exit_code := _EXIT.search(said):
        return failure(job, f"exit code: {exit_code[1]}" if exit_code[1] else f"it was ended by signal {exit_code[2]}",
                       step=talk.step, output=talk.tail, advice=_ADVICE)
    said = said.replace(f"{CONTEXT}/", "")
    found = failure(job, _CHAIN.sub("", said) or _silent(code), step=talk.step, output=talk.tail, advice=_ADVICE)
    from_registry = "" if "downloading remote source file: invalid" in said else _registry_hint(said)      # that is ADD's server
    return replace_hint(found, from_registry or found.hint)


def _how_to_make(secret: str) -> str:
    return (f"Make it: kubectl create secret docker-registry {secret} --docker-server=... --docker-username=... "
            "--docker-password=...")


def _silent(code: int) -> str:
    return f"the executor ended with exit code {code}" if code else "the executor tells no digest of what it pushed"


def _unpushed(job: BuildJob, target: ImageRef, said: str, talk: Talk) -> BuildError:
    host = target.registry or "Docker Hub"
    what = f"{job.artifact.image}: Kaniko cannot push {target.repository} to {host}: {_CHAIN.sub('', said)}"
    if _DENIED.search(said):
        hint = f"The build's pod needs a login that may push there: {KEY}, after '{login_command(target.registry)}'."
    elif _UNKNOWN.search(said):
        hint = "Does the repository exist, and is publish.registry.repository right? Some registries want it created before the first push."
    else:
        hint = _registry_hint(said)
    return BuildError(what, hint=hint, details=talk.tail)


def _registry_hint(said: str) -> str:
    """What to do about a registry that the build's pod gets no good answer from."""
    found = _HOST.search(said)
    host = (found[1] or found[2] or "") if found else ""
    named = f" {host}" if host else ""
    for pattern, hint in _REGISTRY:
        if pattern.search(said):
            return hint.format(host=named, somewhere=named or " the network")
    return ""


def replace_hint(error: BuildError, hint: str) -> BuildError:
    return BuildError(error.message, hint=hint, details=error.details)


def late(job: BuildJob, kaniko: Kaniko, talk: Talk) -> BuildError:
    """Of a build that took longer than it may."""
    found = failure(job, f"it took longer than build.kaniko.timeout, {kaniko.timeout}", step=talk.step, output=talk.tail)
    return replace_hint(found, "Raise build.kaniko.timeout, if it is to take that long.")


def never_started(job: BuildJob, kaniko: Kaniko, waited_for: str) -> BuildError:
    """Of a pod that nothing seems wrong with, but its time is over."""
    return BuildError(f"{job.artifact.image}: its build pod did not start within build.kaniko.timeout, {kaniko.timeout}: {waited_for}",
                      hint="See 'kubectl get events'; raise build.kaniko.timeout if it only needs more time.")
