"""The objects of one build pod, as pure data: a Job, for it goes by itself some time after its end, and its pod with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devloop.build.kaniko.agent import AGENT_SCRIPT, BUSYBOX, CERTIFICATES, HOME, INSTALL, KEEPER, KEEPER_SCRIPT, LOGINS
from devloop.config.models import Kaniko, Model, parse_duration
from devloop.model import Object

MANAGED_BY, BUILDER, PROJECT, ARTIFACT = ("app.kubernetes.io/managed-by", "devloop.dev/builder", "devloop.dev/project",
                                          "devloop.dev/artifact")
CONTAINER = "executor"
HELPER = "helper"
KEPT = 10               # seconds for which a Job that has ended is kept
SLACK = 60              # seconds that a Job has besides the build's own time, which a pod's start is a part of
WARM = 4 * 3600         # seconds after which a warm pod ends, whatever happens; the next build gets another
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT")
"""What unpacking images (owners, modes, file capabilities, devices) and RUN instructions (other users, apt's sandbox) need. All of them are
allowed by the pod security level 'baseline'."""


def job(kaniko: Kaniko, *, session: str, project: str, artifact: str) -> Object:
    """`session`: what tells one devloop from another; a label's value. `artifact`: the image's name.

    Of a pod that never runs only the deadline sees to the end, so it is no longer than one build's; a warm one's is raised later.
    """
    labels = {MANAGED_BY: "devloop", BUILDER: session, PROJECT: project, ARTIFACT: label(artifact)}
    deadline = int(parse_duration(kaniko.timeout)) + SLACK
    return {
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"generateName": f"kaniko-{label(artifact).lower()[:40]}-".replace("_", "-").replace(".", "-"), "labels": labels},
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": KEPT, "activeDeadlineSeconds": deadline,
                 "template": {"metadata": {"labels": labels, "annotations": _ANNOTATIONS}, "spec": _pod(kaniko)}}}


_ANNOTATIONS = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled",       # a mesh's sidecar would outlive the build
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def label(image: str) -> str:
    """An image's name as a label's value: its last 63 characters that may stand there."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in image)[-63:].strip("._-")


def _pod(kaniko: Kaniko) -> Object:
    spec: Object = {
        "restartPolicy": "Never", "automountServiceAccountToken": False, "enableServiceLinks": False, "terminationGracePeriodSeconds": 0,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_executor(kaniko)], "volumes": _volumes(kaniko)}
    if kaniko.helper_image:
        spec["initContainers"] = [_helper(kaniko)]
    optional: Mapping[str, Any] = {"serviceAccountName": kaniko.service_account, "nodeSelector": kaniko.node_selector,
                                   "tolerations": [_given(toleration) for toleration in kaniko.tolerations]}
    return spec | {key: value for key, value in optional.items() if value}


def _helper(kaniko: Kaniko) -> Object:
    """Copies its busybox, as nobody, and can do nothing else."""
    return {"name": HELPER, "image": kaniko.helper_image, "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/busybox", "sh", "-c", INSTALL, "/bin/busybox", KEEPER_SCRIPT, AGENT_SCRIPT],
            "resources": _resources(kaniko),      # a quota may ask for them in every container
            "securityContext": {"runAsUser": 65534, "runAsNonRoot": True, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "devloop", "mountPath": HOME}]}


def _executor(kaniko: Kaniko) -> Object:
    command = [BUSYBOX, "sh", KEEPER]
    if not kaniko.helper_image:
        command = ["/busybox/busybox", "sh", "-c", f"{INSTALL}\nexec {BUSYBOX} sh {KEEPER}", "/busybox/busybox", KEEPER_SCRIPT,
                   AGENT_SCRIPT]
    return {"name": CONTAINER, "image": kaniko.image, "imagePullPolicy": "IfNotPresent", "command": command,
            "workingDir": "/",      # the image's own may be one that a build replaces
            "resources": _resources(kaniko),
            "securityContext": {"runAsUser": 0, "privileged": False, "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)}},
            "volumeMounts": [{"name": volume["name"], "mountPath": _MOUNTS[volume["name"]]} for volume in _volumes(kaniko)]}


_MOUNTS = {"devloop": HOME, "logins": LOGINS, "certificates": CERTIFICATES}


def _volumes(kaniko: Kaniko) -> list[Object]:
    volumes: list[Object] = [{"name": "devloop", "emptyDir": {}}]
    if kaniko.docker_config_secret:
        items = [{"key": ".dockerconfigjson", "path": "config.json"}]
        volumes.append({"name": "logins", "secret": {"secretName": kaniko.docker_config_secret, "items": items}})
    elif kaniko.from_docker_config:      # they come with each build, and are on no disk
        volumes.append({"name": "logins", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
    if kaniko.certificates:
        volumes.append({"name": "certificates", "configMap": {"name": kaniko.certificates}})
    return volumes


def _resources(kaniko: Kaniko) -> Object:
    return _given(kaniko.resources)


def _given(model: Model) -> Object:
    return {key: value for key, value in model.model_dump(by_alias=True).items() if value}
