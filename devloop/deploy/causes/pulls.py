"""Why an image does not come to the node."""

from __future__ import annotations

import re

from devloop.deploy.causes.diagnosis import AT_ONCE, Diagnosis, Events, said, subject
from devloop.model import ImageRef, Object
from devloop.pods import Container

REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable",
           "SignatureValidationFailed"}
SECOND_ATTEMPT = 15.0   # seconds: the kubelet tries again 10 s after a first pull that failed

_NOISE = re.compile(r'^(Failed to pull image "[^"]*": |Back-off pulling image "[^"]*": |ErrImagePull: |\[?rpc error: code = \w+ desc = '
                    r'|Error response from daemon: |Error: |failed to pull and unpack image "[^"]*": '
                    r'|failed to resolve (?:reference "[^"]*"|image): )+')
_DENIED = re.compile(r"denied|unauthorized|authentication required|no basic auth|forbidden|\b40[13]\b", re.IGNORECASE)
_PLATFORM = re.compile(r"no match(ing manifest)? for (platform )?\S+", re.IGNORECASE)
_UNKNOWN = re.compile(r"not found|manifest unknown|name unknown|repository name not known|does not exist", re.IGNORECASE)
_TLS = re.compile(r"x509|server gave HTTP response to HTTPS client|certificate|TLS handshake$", re.IGNORECASE)
_INVALID = re.compile(r"invalid reference|couldn't parse image", re.IGNORECASE)


def pull_failure(pod: Object, container: Container, events: Events) -> Diagnosis:
    """Of a container that waits for one of `REASONS`."""
    reason, image = container.waiting["reason"], container.spec.get("image", "")
    who = subject(pod, container)
    if reason == "ErrImageNeverPull":
        node = (pod.get("spec") or {}).get("nodeName", "")
        return Diagnosis("image", reason, f"{who} cannot start: image '{image}' is not on node '{node}', "
                         "and imagePullPolicy: Never forbids to pull it", patience=AT_ONCE,
                         hint="Is the image's name in the manifest the one that is built? "
                              "If it is to be pulled, set imagePullPolicy: IfNotPresent.")
    answer = _answer(pod, container, events)
    if reason == "InvalidImageName" or _INVALID.search(answer):
        return Diagnosis("image", reason, f"{who} cannot start: '{image}' is not a valid image reference: {answer or reason}",
                         patience=AT_ONCE, hint="Mend the container's image in the manifest; a repository is all lower-case.")
    return _refused(pod, who, image, reason, answer)


def _refused(pod: Object, who: str, image: str, reason: str, answer: str) -> Diagnosis:
    registry = _registry(image)
    told = f"{who} cannot start: image '{image}' cannot be pulled"
    if _PLATFORM.search(answer):
        return Diagnosis("image", reason, f"{told}: it is not made for this node's processor: {answer}", patience=AT_ONCE,
                         hint="Choose an image for the node's platform, or build one (docker.platform of the artifact in devloop.yaml).")
    if _DENIED.search(answer):
        return Diagnosis("image", reason, f"{told}: {registry} refuses it: {answer}", patience=AT_ONCE, hint=_secret_hint(pod, registry))
    if _UNKNOWN.search(answer):
        return Diagnosis("image", reason, f"{told}: {registry} does not have it: {answer}", patience=AT_ONCE,
                         hint="Look for a typing error in the image's name and tag. An image of your own that is to be built must be "
                              "an artifact in devloop.yaml.")
    if _TLS.search(answer):
        return Diagnosis("image", reason, f"{told}: the node does not trust {registry}: {answer}", patience=AT_ONCE,
                         hint=f"The node's container runtime must know {registry}: its certificate authority, or as an insecure registry.")
    because = f": {answer}" if answer else f" ({reason})"
    return Diagnosis("image", reason, f"{told}{because}", patience=SECOND_ATTEMPT,
                     hint=f"Can the cluster's nodes reach {registry}? They pull the image, not this machine.")


def _answer(pod: Object, container: Container, events: Events) -> str:
    """What the registry said: the status has it after an attempt, and between attempts only the events (until Kubernetes 1.30)."""
    candidates = [container.waiting.get("message", "")]
    candidates += [said(e) for e in events.of_pod(pod, "Failed", "InspectFailed", container=container.name)]
    for text in candidates:
        answer = _NOISE.sub("", " ".join(text.split()))
        if answer and not answer.startswith("Back-off pulling") and answer not in REASONS:
            return answer
    return ""


def _registry(image: str) -> str:
    try:
        return ImageRef.parse(image).canonical.partition("/")[0].replace("docker.io", "Docker Hub")
    except ValueError:
        return "the registry"


def _secret_hint(pod: Object, registry: str) -> str:
    names = pull_secrets(pod)
    if not names:
        return (f"The pod has no pull secret; {registry} may also say this of an image that does not exist. If the image is private, name "
                "one in the pod's imagePullSecrets. To make one: kubectl create secret docker-registry NAME --docker-server=...")
    return f"Are the credentials for {registry} in the pull secret {' or '.join(names)} right?"


def pull_secrets(pod: Object) -> list[str]:
    """The names of the pod's pull secrets, its service account's included: admission has copied them."""
    return [s["name"] for s in (pod.get("spec") or {}).get("imagePullSecrets") or () if s.get("name")]
