"""A build pod is what devloop.yaml says, with as few powers as the executor can do with, and an end of its own."""

from __future__ import annotations

import json
from typing import Any

from devloop.build.kaniko.pod import job, label
from devloop.config.models import Kaniko


def made(**kaniko: object) -> dict[str, Any]:
    return job(Kaniko.model_validate(kaniko), session="abc", project="hello", artifact="ghcr.io/acme/hello_Web")


def pod(**kaniko: object) -> dict[str, Any]:
    found: dict[str, Any] = made(**kaniko)["spec"]["template"]["spec"]
    return found


def test_it_goes_by_itself() -> None:
    spec = made(timeout="5m")["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 360)      # even if it never starts
    assert spec["ttlSecondsAfterFinished"] <= 60
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_two_builds_never_have_one_name() -> None:
    metadata = made()["metadata"]
    assert metadata["generateName"] == "kaniko-ghcr-io-acme-hello-web-"
    assert "name" not in metadata
    assert label("registry.example/" + "x" * 80) == "x" * 63


def test_its_powers() -> None:
    spec = pod()
    helper, executor = spec["initContainers"][0]["securityContext"], spec["containers"][0]["securityContext"]
    assert not spec["automountServiceAccountToken"]
    assert helper["runAsNonRoot"]
    assert helper["readOnlyRootFilesystem"]
    assert helper["capabilities"] == {"drop": ["ALL"]}
    assert not executor["privileged"]
    assert not executor["allowPrivilegeEscalation"]
    assert executor["capabilities"]["drop"] == ["ALL"]
    assert not {"SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE"} & set(executor["capabilities"]["add"])
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_what_devloop_yaml_says() -> None:
    spec = pod(image="r/kaniko:1", helperImage="r/busybox:1", serviceAccount="builder", nodeSelector={"pool": "build"},
               tolerations=[{"key": "dedicated", "value": "x"}, {"operator": "Exists"}],
               resources={"requests": {"memory": "1Gi"}, "limits": {"cpu": "2"}})
    assert (spec["containers"][0]["image"], spec["initContainers"][0]["image"]) == ("r/kaniko:1", "r/busybox:1")
    assert spec["serviceAccountName"] == "builder"
    assert spec["nodeSelector"] == {"pool": "build"}
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Equal", "value": "x"}, {"operator": "Exists"}]
    assert spec["containers"][0]["resources"] == {"requests": {"memory": "1Gi"}, "limits": {"cpu": "2"}}


def test_a_secret_is_mounted_and_nothing_else_is_in_the_pod() -> None:
    volumes = {volume["name"]: volume for volume in pod(dockerConfigSecret="login", certificates="ca")["volumes"]}
    assert volumes["logins"]["secret"] == {"secretName": "login", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]}
    assert volumes["certificates"]["configMap"] == {"name": "ca"}
    # logins of this machine, and the executor's environment, are in no object: they come with the build
    text = json.dumps(made(fromDockerConfig=True, env={"GIT_TOKEN": "s3cret"}))
    assert "s3cret" not in text
    assert '"medium": "Memory"' in text


def test_an_executor_with_a_busybox_needs_no_helper() -> None:
    spec = pod(helperImage="")
    assert "initContainers" not in spec
    assert spec["containers"][0]["command"][0] == "/busybox/busybox"
