"""What a user is told of a build that failed in the cluster: the cause, and what to do. The lines are a real executor's."""

from __future__ import annotations

import pytest

from devloop.build.kaniko import pod as pods
from devloop.build.kaniko.diagnosis import Talk, executor_failure, late, made_out, pod_failure
from devloop.config.models import Kaniko
from devloop.deploy.causes.diagnosis import Diagnosis, Missing
from devloop.model import ImageRef
from tests.unit.build.conftest import MakeJob

from .conftest import Hear

TARGET = ImageRef("172.17.0.1:5556/acme/hello-web", "1")
DOCKERFILE = "FROM 172.17.0.1:5555/busybox:1.36\nRUN make\nCOPY data /x\nADD https://e.org/x /x\n"
FROM = "I Retrieving image manifest 172.17.0.1:5555/busybox:1.36\n"
RUN = FROM + "I Building stage '172.17.0.1:5555/busybox:1.36' [idx: '0', base-idx: '-1']\nI RUN make\n"
AFTER = "error building image: unable to complete operation after 0 attempts, last error: "
EXIT = "error building image: error building stage: failed to execute command: waiting for process to exit: "
CHECK = 'error checking push permissions: checking push permission for "172.17.0.1:5556/acme/hello-web:1": '


@pytest.mark.parametrize(("text", "code", "killed", "message", "hint"), [
    (RUN + "oops\n" + EXIT + "exit status 7", 7, 0, "web/Dockerfile:2: RUN make ended with exit code 7", ""),
    (RUN + EXIT + "exit status 127", 127, 0, "web/Dockerfile:2: RUN make ended with exit code 127", "A command is missing"),
    (RUN + "curl: (6) Could not resolve host: example.org\n" + EXIT + "exit status 6", 6, 0, "RUN make ended with exit code 6",
     "build.kaniko.env (HTTP_PROXY"),
    (RUN + "cc1: No space left on device\n" + EXIT + "exit status 1", 1, 0, "RUN make ended with exit code 1", "ephemeral-storage"),
    (RUN + "error building image: error building stage: failed to take snapshot: write /kaniko/1: no space left on device", 1, 0,
     "RUN make failed: ", "ephemeral-storage"),
    (RUN + "/bin/sh: /bin/make: exec format error\n" + EXIT + "exit status 126", 126, 0, "exit code 126", "build.kaniko.nodeSelector"),
    (RUN + EXIT + "signal: killed", 255, 0, "RUN make failed: it was ended by signal killed", ""),
    (RUN + EXIT + "signal: killed", 255, 1, "RUN make failed: it was killed for its use of memory (OOMKilled): it needs more",
     "build.kaniko.resources.limits.memory"),
    (RUN, 137, 2, "RUN make failed: it was killed for its use of memory", "limits.memory"),
    (FROM + AFTER + "GET http://172.17.0.1:5555/v2/busybox/manifests/1.36: MANIFEST_UNKNOWN: manifest unknown; map[Tag:1.36]", 1, 0,
     "web/Dockerfile:1: FROM 172.17.0.1:5555/busybox:1.36 failed: GET http://172.17.0.1:55", "Is there an image with this name and tag?"),
    (FROM + AFTER + "GET http://172.17.0.1:5555/v2/busybox/manifests/1.36: UNAUTHORIZED: authentication required", 1, 0,
     "FROM 172.17.0.1:5555/busybox:1.36 failed", "fromDockerConfig: true"),
    (FROM + AFTER + 'Get "https://172.17.0.1:5555/v2/": dial tcp 172.17.0.1:5555: connect: connection refused', 1, 0,
     "connection refused", "does not reach 172.17.0.1:5555"),
    (FROM + AFTER + 'Get "https://172.17.0.1:5555/v2/": tls: failed to verify: x509: certificate signed by unknown authority', 1, 0,
     "x509", "build.kaniko.certificates"),
    (FROM + AFTER + 'Get "https://registry.example/v2/": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused', 1, 0,
     "proxyconnect", "HTTPS_PROXY"),
    (CHECK + "POST http://172.17.0.1:5556/v2/acme/hello-web/blobs/uploads/: UNAUTHORIZED: authentication required", 1, 0,
     "hello-web: Kaniko cannot push 172.17.0.1:5556/acme/hello-web to 172.17.0.1:5556", "docker login 172.17.0.1:5556"),
    (CHECK + 'creating push check transport for r.invalid failed: Get "https://r.invalid/v2/": dial tcp: lookup x: no such host', 1, 0,
     "cannot push", "does not reach r.invalid"),
    (RUN + "error building image: error building stage: failed to get files used from context: failed to get fileinfo for "
     "/kaniko/devloop/context/data: lstat /kaniko/devloop/context/data: no such file or directory", 1, 0,
     "web/Dockerfile:3: COPY data /x failed: ", "Sources are paths below web"),
    (RUN + "I ADD https://e.org/x /x\nerror building image: error building stage: failed to execute command: downloading remote source "
     "file: invalid response status 403", 1, 0, "web/Dockerfile:4: ADD https://e.org/x /x failed: ", "Is the address right"),
    (CHECK + "resolving authorization for 172.17.0.1:5556 failed: parsing config file (/kaniko/.docker/config.json): invalid character 'x'",
     1, 0, "hello-web: the logins that the executor was given cannot be read: ", "kubectl create secret docker-registry login "),
    ("error building image: parsing dockerfile: dockerfile parse error on line 2: unknown instruction: MAKE", 1, 0,
     "web/Dockerfile:2 failed: unknown instruction: MAKE", ""),
    ("Error: unknown flag: --nope", 1, 0, "does not know the flag --nope", "build.kaniko.args"),
    ("", 1, 0, "the executor ended with exit code 1", ""),
])
def test_the_executors_failures(job: MakeJob, hear: Hear, text: str, code: int, killed: int, message: str, hint: str) -> None:
    made = job(DOCKERFILE)
    kaniko = Kaniko.model_validate({"resources": {"limits": {"memory": "64Mi"}}, "dockerConfigSecret": "login"})
    error = executor_failure(made, kaniko, TARGET, hear(made, text)[0], code=code, killed=killed)

    assert error.message.startswith("hello-web: ")
    assert message in error.message
    assert hint in error.hint
    assert "/kaniko/devloop" not in error.message


@pytest.mark.parametrize(("found", "hint"), [
    (Diagnosis("node", "Unschedulable", "pod x gets no node: 0/1 nodes: Insufficient memory", "in the manifest", resource="memory"),
     "build.kaniko.resources.requests.memory"),
    (Diagnosis("node", "Unschedulable", "pod x gets no node: 1 node(s) had untolerated taint {a: b}", "add a toleration"), "tolerations"),
    (Diagnosis("image", "ErrImagePull", "pod x (init container helper) cannot start: image 'b' is not there"), "build.kaniko.helperImage"),
    (Diagnosis("image", "ErrImagePull", "pod x (container executor) cannot start: image 'k' cannot be pulled"), "build.kaniko.image"),
    (Diagnosis("setup", "FailedMount", "Secret 'login' does not exist", missing=Missing("Secret", "login")),
     "kubectl create secret docker-registry login"),
    (Diagnosis("setup", "FailedMount", "ConfigMap 'ca' does not exist", missing=Missing("ConfigMap", "ca")), "build.kaniko.certificates"),
    (Diagnosis("crash", "OOMKilled", "pod x was killed for its use of memory (OOMKilled)"), "limits.memory"),
    (Diagnosis("disk", "its disk is full", "its build pod has no room left: archive has not arrived whole"), "requests.ephemeral-storage"),
    (Diagnosis("failed", "Evicted", "pod x was ended by its node (Evicted)"), "requests (memory, ephemeral-storage)"),
    (Diagnosis("create", "FailedCreate", "job/x cannot create its pods: exceeded quota"), "resourcequota"),
    (Diagnosis("create", "FailedCreate", "job/x cannot create its pods: violates PodSecurity"), "'baseline'"),
    (Diagnosis("create", "FailedCreate", 'job/x cannot create its pods: serviceaccount "x" not found'), "build.kaniko.serviceAccount"),
])
def test_the_pods_failures_come_with_the_key_to_change(job: MakeJob, found: Diagnosis, hint: str) -> None:
    error = pod_failure(job(DOCKERFILE), Kaniko(), found, Talk("", (), ""))

    assert error.message == f"hello-web: {found.message}"
    assert hint in error.hint
    assert "manifest" not in error.hint


def test_a_secret_of_another_type_is_told_as_that(job: MakeJob) -> None:
    kaniko = Kaniko.model_validate({"dockerConfigSecret": "login"})
    made = pods.job(kaniko, session="abc", project="hello", artifact="web")
    made["metadata"]["namespace"] = "team"
    found = made_out(Diagnosis("setup", "FailedMount", "pod x cannot start", missing=Missing("Secret", "login", ".dockerconfigjson")), made)

    error = pod_failure(job(DOCKERFILE), kaniko, found, Talk("", (), ""))
    assert error.message == ("hello-web: Secret 'login' in namespace team is not of type kubernetes.io/dockerconfigjson: it has no key "
                             "'.dockerconfigjson'")
    assert "kubectl create secret docker-registry login" in error.hint


def test_a_pod_that_is_lost_in_mid_build_names_the_instruction(job: MakeJob, hear: Hear) -> None:
    made = job(DOCKERFILE)
    error = pod_failure(made, Kaniko(), Diagnosis("failed", "Evicted", "pod x was ended by its node (Evicted)"), hear(made, RUN)[0])

    assert error.message == "hello-web: web/Dockerfile:2: RUN make failed: pod x was ended by its node (Evicted)"


def test_one_that_takes_too_long_names_the_instruction(job: MakeJob, hear: Hear) -> None:
    made = job(DOCKERFILE)
    error = late(made, Kaniko(), hear(made, RUN)[0])

    assert "web/Dockerfile:2: RUN make failed: it took longer than build.kaniko.timeout, 20m" in error.message
