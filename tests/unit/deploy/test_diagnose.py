"""Diagnoses of pods in states that a small test cluster does not get into; the others are planted in tests/cluster/test_rollout.py."""

from __future__ import annotations

from typing import Any

import pytest

from devloop.deploy.causes.diagnosis import AT_ONCE, NEVER, Diagnosis, Events, Missing
from devloop.deploy.causes.placement import ADMISSION_PATIENCE, SANDBOX_PATIENCE, SCHEDULER_PATIENCE, VOLUME_PATIENCE, not_created
from devloop.deploy.causes.pulls import SECOND_ATTEMPT
from devloop.deploy.causes.starts import RUNTIME_RETRY
from devloop.deploy.diagnose import NODE_PATIENCE, diagnose, stage

Json = dict[str, Any]

UP = {"startedAt": "2024-01-01T00:00:00Z"}


def pod(*, spec: Json | None = None, container: Json | None = None, status: Json | None = None, **state: Json) -> Json:
    """A pod with one container ``web`` in `state` (``waiting={...}``), which ended as `last` before and has restarted `restarts` times."""
    restarts, last = state.pop("restarts", 0), state.pop("last", None)
    web = {"name": "web", "restartCount": restarts, "ready": False, "state": state, "lastState": {"terminated": last} if last else {}}
    main = {"name": "web", "image": "ghcr.io/acme/web:1", **(container or {})}
    return {"metadata": {"name": "web-1", "namespace": "demo", "uid": "u1"},
            "spec": {"nodeName": "node1", "containers": [main], **(spec or {})},
            "status": {"phase": "Pending", "containerStatuses": [web] if state else [], **(status or {})}}


def event(reason: str, message: str, *, count: int = 1, kind: str = "Pod", name: str = "web-1", uid: str = "u1", field: str = "web",
          last: str = "2024-01-01T00:00:00Z", **more: Any) -> Json:
    return {"metadata": {"uid": f"{reason}{message}{last}"}, "type": more.pop("type", "Warning"), "reason": reason, "message": message,
            "count": count, "lastTimestamp": last,
            "involvedObject": {"kind": kind, "name": name, "uid": uid, "namespace": "demo", "fieldPath": f"spec.containers{{{field}}}"}}


def found(about: Json, *events: Json) -> Diagnosis:
    diagnosis = diagnose(about, Events(events))
    assert diagnosis
    return diagnosis


def unschedulable(text: str, **spec: Any) -> Json:
    return pod(spec={"nodeName": "", **spec}, status={"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}]})


# --- images

PULLS = {
    "denied by a private registry": (
        "Error response from daemon: Head \"https://ghcr.io/v2/acme/web/manifests/1\": denied", AT_ONCE, "ghcr.io refuses it"),
    "Docker Hub, which does not say which": (
        "pull access denied for acme/web, repository does not exist or may require 'docker login'", AT_ONCE, "refuses it"),
    "not found, by containerd": (
        "rpc error: code = NotFound desc = failed to pull and unpack image \"ghcr.io/acme/web:1\": failed to resolve reference: not found",
        AT_ONCE, "does not have it"),
    "not found, by newer kubelets": (
        "failed to pull and unpack image \"ghcr.io/acme/web:1\": failed to resolve image: ghcr.io/acme/web:1: not found", AT_ONCE,
        "ghcr.io does not have it: ghcr.io/acme/web:1: not found"),
    "denied, by containerd": (
        "failed to pull and unpack image \"ghcr.io/acme/web:1\": failed to resolve reference \"a\": failed to authorize: 401",
        AT_ONCE,
        "ghcr.io refuses it: failed to authorize"),
    "no TLS where it is expected, by containerd": (
        "failed to do request: Head \"https://ghcr.io/v2/acme/web/manifests/1\": tls: first record does not look like a TLS handshake",
        AT_ONCE, "the node does not trust ghcr.io: failed to do request"),
    "another processor": (
        "rpc error: code = NotFound desc = no match for platform in manifest: not found", AT_ONCE, "not made for this node's processor"),
    "an insecure registry": (
        "Error response from daemon: Get \"https://ghcr.io/v2/\": http: server gave HTTP response to HTTPS client", AT_ONCE,
        "the node does not trust ghcr.io"),
    "a name that is not known": ("dial tcp: lookup ghcr.io on 10.0.0.1:53: no such host", SECOND_ATTEMPT, "no such host"),
    "a server in trouble": ("received unexpected HTTP status: 503 Service Unavailable", SECOND_ATTEMPT, "503 Service Unavailable"),
}


@pytest.mark.parametrize("case", PULLS)
def test_the_registrys_answer_decides_whether_a_pull_is_tried_again(case: str) -> None:
    answer, patience, told = PULLS[case]
    diagnosis = found(pod(waiting={"reason": "ErrImagePull", "message": answer}))
    assert diagnosis.patience == patience
    assert told in diagnosis.message


def test_between_attempts_the_answer_is_in_the_events() -> None:
    waiting = pod(waiting={"reason": "ImagePullBackOff", "message": 'Back-off pulling image "ghcr.io/acme/web:1"'})
    denied = event("Failed", 'Failed to pull image "ghcr.io/acme/web:1": rpc error: code = Unknown desc = unauthorized')
    assert found(waiting).patience == SECOND_ATTEMPT
    assert found(waiting, event("Failed", "Error: ErrImagePull", last="2024-01-02"), denied).message == (
        "pod web-1 (container web) cannot start: image 'ghcr.io/acme/web:1' cannot be pulled: ghcr.io refuses it: unauthorized")


def test_newer_kubelets_repeat_the_answer_between_attempts() -> None:
    text = 'Back-off pulling image "ghcr.io/acme/web:1": ErrImagePull: rpc error: code = Unknown desc = unauthorized'
    assert found(pod(waiting={"reason": "ImagePullBackOff", "message": text})).message.endswith("ghcr.io refuses it: unauthorized")


def test_the_events_of_an_earlier_pod_of_that_name_do_not_count() -> None:
    other = event("Failed", "Failed to pull image: unauthorized", uid="before")
    assert found(pod(waiting={"reason": "ImagePullBackOff"}), other).patience == SECOND_ATTEMPT


def test_a_pull_secret_that_is_named_is_asked_about() -> None:
    private = pod(spec={"imagePullSecrets": [{"name": "credentials"}]}, waiting={"reason": "ErrImagePull", "message": "unauthorized"})
    assert found(private).hint == "Are the credentials for ghcr.io in the pull secret credentials right?"


# --- starts and crashes


def test_containerd_tells_a_missing_program_as_an_end() -> None:
    text = ('failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: '
            'unable to start container process: exec: "/app/run": stat /app/run: no such file or directory: unknown')
    ended = {"reason": "StartError", "exitCode": 128, "message": text}
    diagnosis = found(pod(restarts=1, waiting={"reason": "CrashLoopBackOff"}, last=ended))
    assert diagnosis.patience == AT_ONCE
    assert diagnosis.message == 'pod web-1 (container web) cannot start: exec: "/app/run": stat /app/run: no such file or directory'
    assert diagnosis.hint.startswith("The image's ENTRYPOINT or CMD names a program that is not in the image")


def test_containerd_tells_a_working_directory_that_cannot_be_as_an_end() -> None:
    text = ("failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
            "unable to start container process: error during container init: mkdir /etc/passwd: not a directory")
    diagnosis = found(pod(terminated={"reason": "StartError", "exitCode": 128, "message": text}))
    assert diagnosis.patience == AT_ONCE
    assert diagnosis.message == "pod web-1 (container web) cannot start: mkdir /etc/passwd: not a directory"


def test_what_the_runtime_could_not_do_is_tried_again() -> None:
    text = 'Conflict. The container name "/k8s_web_web-1" is already in use'
    assert found(pod(waiting={"reason": "CreateContainerError", "message": text})).patience == RUNTIME_RETRY


def test_containerd_tells_another_platform_at_the_start() -> None:
    text = "failed to create shim task: exec /app/run: exec format error: unknown"
    assert found(pod(waiting={"reason": "RunContainerError", "message": text})).brief == "exec format error"


def test_a_first_crash_is_not_the_end() -> None:
    diagnosis = found(pod(terminated={"exitCode": 1, "reason": "Error"}, status={"phase": "Running"}))
    assert (diagnosis.attempts, diagnosis.patience, diagnosis.previous) == (1, NEVER, False)


def test_a_container_that_runs_again_is_only_not_ready() -> None:
    assert diagnose(pod(restarts=1, running=UP, last={"exitCode": 1}, status={"phase": "Running"}), Events()) is None


@pytest.mark.parametrize(("code", "told"), [(139, "139 (SIGSEGV)"), (127, "127 (command not found)"), (126, "126 (command not executable)"),
                                             (255, "255"), (1, "1")])
def test_exit_codes_are_explained(code: int, told: str) -> None:
    diagnosis = found(pod(restarts=2, waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": code}))
    assert diagnosis.message == f"pod web-1 (container web) crashes with exit code {told} (3 times so far)"
    assert (diagnosis.attempts, diagnosis.previous, diagnosis.container) == (3, True, "web")


def test_a_kill_under_a_memory_limit_was_most_likely_for_memory() -> None:
    limited = {"resources": {"limits": {"memory": "16Mi"}}}
    crashed = {"restarts": 1, "waiting": {"reason": "CrashLoopBackOff"}, "last": {"exitCode": 137, "reason": "Error"}}
    probe = event("Killing", "Container web failed liveness probe, will be restarted", type="Normal")
    assert "was most likely killed for its use of memory" in found(pod(container=limited, **crashed)).message
    assert "exit code 137 (SIGKILL)" in found(pod(**crashed)).message
    assert "its liveness probe" in found(pod(container=limited, **crashed), probe).message


def test_no_memory_on_the_node_is_told_as_such() -> None:
    assert "its node has no memory left" in found(pod(terminated={"exitCode": 137, "reason": "OOMKilled"})).message


def test_a_post_start_hook_that_fails_is_quoted() -> None:
    hook = event("FailedPostStartHook", 'Exec lifecycle hook ([sh -c x]) for Container "web" failed')
    crashed = pod(waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 137})
    assert "its postStart hook fails: Exec lifecycle hook" in found(crashed, hook).message
    assert found(crashed, event("FailedPostStartHook", "PostStartHook failed")).message.endswith("its postStart hook fails")


@pytest.mark.parametrize("restart", ["Never", "OnFailure"])
def test_a_job_that_did_its_work_is_well(restart: str) -> None:
    done = pod(spec={"restartPolicy": restart}, restarts=1, terminated={"exitCode": 0, "reason": "Completed"}, last={"exitCode": 1})
    assert diagnose(done, Events()) is None


def test_an_init_container_that_did_its_work_is_well() -> None:
    starting = pod(spec={"initContainers": [{"name": "migrate"}]}, waiting={"reason": "PodInitializing"}, status={"initContainerStatuses": [
        {"name": "migrate", "state": {"terminated": {"exitCode": 0}}, "lastState": {"terminated": {"exitCode": 1}}, "restartCount": 1}]})
    assert diagnose(starting, Events()) is None


# --- sidecars


def with_sidecar(*, ready: bool = False, **state: Json) -> Json:
    sidecar = {"name": "proxy", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 80}}}
    return pod(spec={"initContainers": [sidecar]}, waiting={"reason": "PodInitializing"}, status={"initContainerStatuses": [
        {"name": "proxy", "restartCount": 1, "started": ready, "ready": ready, "state": state}]})


def test_a_sidecar_that_ends_crashes() -> None:
    assert "(init container proxy) ends by itself" in found(with_sidecar(terminated={"exitCode": 0})).message


def test_a_sidecar_that_does_not_start_keeps_the_others_waiting() -> None:
    waiting = with_sidecar(running=UP)
    assert found(waiting).message == ("pod web-1 (init container proxy) runs, but its startup probe (connect to :80) does not pass")


def test_a_sidecar_that_runs_is_not_waited_for() -> None:
    assert stage(with_sidecar(running=UP, ready=True)) == "PodInitializing"


def test_a_container_that_need_not_restart_may_end() -> None:
    once = pod(container={"restartPolicy": "OnFailure"}, terminated={"exitCode": 0, "reason": "Completed"})
    assert diagnose(once, Events()) is None


# --- probes

PROBES = {
    "GET :http/healthz": {"httpGet": {"port": "http", "path": "/healthz"}},
    "connect to :5432": {"tcpSocket": {"port": 5432}},
    "gRPC health of :9000": {"grpc": {"port": 9000}},
    "exec pg_isready -U app": {"exec": {"command": ["pg_isready", "-U", "app"]}},
}


@pytest.mark.parametrize("asks", PROBES)
def test_a_probe_is_told_with_what_it_asks_and_hears(asks: str) -> None:
    waiting = pod(container={"readinessProbe": PROBES[asks]}, running=UP, status={"phase": "Running"})
    failed = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 500\n")
    diagnosis = found(waiting, failed)
    assert diagnosis.message == (f"pod web-1 (container web) runs, but its readiness probe ({asks}) does not pass: "
                                 "HTTP probe failed with statuscode: 500")
    assert diagnosis.patience == NEVER
    assert found(waiting).brief == "running, readiness probe has not passed yet"


def test_a_probes_program_that_is_missing_is_told_without_who_passed_it_on() -> None:
    waiting = pod(container={"readinessProbe": {"exec": {"command": ["check"]}}}, running=UP, status={"phase": "Running"})
    text = 'unable to start container process: exec: "check": executable file not found in $PATH'
    for said in ("failed: ", "errored and resulted in unknown state: rpc error: code = Unknown desc = failed to exec in container: "):
        diagnosis = found(waiting, event("Unhealthy", f"Readiness probe {said}OCI runtime exec failed: exec failed: {text}"))
        assert diagnosis.message.endswith('does not pass: exec: "check": executable file not found in $PATH')
        assert diagnosis.patience == AT_ONCE


def test_before_it_has_started_the_startup_probe_is_told() -> None:
    slow = pod(container={"startupProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}}}, running=UP)
    slow["status"]["containerStatuses"][0]["started"] = False
    assert found(slow, event("Unhealthy", "Startup probe failed: dial tcp: refused")).message.startswith(
        "pod web-1 (container web) runs, but its startup probe (connect to :80) does not pass")


# --- nodes, volumes, network, admission

PLACES = {
    "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: yes}.": (SCHEDULER_PATIENCE, "reserved by taint gpu: yes"),
    "0/3 nodes are available: 3 node(s) had taint {node.kubernetes.io/disk-pressure: }, that the pod didn't tolerate.": (
        SCHEDULER_PATIENCE, "The node itself is in trouble (node.kubernetes.io/disk-pressure)"),
    "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.": (SCHEDULER_PATIENCE, "hostPort"),
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.": (SCHEDULER_PATIENCE, "see its affinity"),
    "0/1 nodes are available: 1 Too many pods.": (SCHEDULER_PATIENCE, "kubectl describe node"),
    "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.": (VOLUME_PATIENCE, "StorageClass"),
}


@pytest.mark.parametrize("text", PLACES)
def test_the_schedulers_reason_is_explained(text: str) -> None:
    patience, told = PLACES[text]
    diagnosis = found(unschedulable(text))
    assert diagnosis.patience == patience
    assert text.rstrip(".") in diagnosis.message
    assert told in diagnosis.hint


def test_what_was_thought_of_other_pods_giving_way_is_left_out() -> None:
    for more in (" preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
                 " no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."):
        told = found(unschedulable(f"0/1 nodes are available: 1 Insufficient cpu.{more}"))
        assert told.message == "pod web-1 gets no node: 0/1 nodes are available: 1 Insufficient cpu"


def test_what_is_scarce_is_named() -> None:
    assert found(unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")).resource == "nvidia.com/gpu"


def test_a_node_that_an_autoscaler_adds_is_waited_for() -> None:
    scaled = event("TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2 (max: 5)}]", type="Normal")
    assert found(unschedulable("0/1 nodes are available: 1 Insufficient cpu."), scaled).patience == NEVER


@pytest.mark.parametrize("who", ["secret ", ""], ids=["of a projected volume", "of a Secret's volume"])
def test_a_missing_key_of_a_projected_volume_names_the_source(who: str) -> None:
    sources = [{"secret": {"name": "other"}}, {"secret": {"name": "cert", "items": [{"key": "tls.crt"}]}}]
    volumes = [{"name": "all", "projected": {"sources": sources}}]
    text = 'MountVolume.SetUp failed for volume "all" : ' + who + "references non-existent secret key: tls.crt"
    assert found(pod(spec={"volumes": volumes}, waiting={"reason": "ContainerCreating"}), event("FailedMount", text)).missing == Missing(
        "Secret", "cert", "tls.crt")


def test_a_disk_and_a_network_are_waited_for_a_while() -> None:
    creating = pod(waiting={"reason": "ContainerCreating"})
    disk = event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) old')
    network = event("FailedCreatePodSandBox", 'failed to setup network for sandbox: plugin type="calico" failed')
    assert (found(creating, disk).patience, found(creating, network).patience) == (VOLUME_PATIENCE, SANDBOX_PATIENCE)
    assert "Multi-Attach error" in found(creating, disk).message
    assert 'plugin type="calico" failed' in found(creating, network).message


def test_a_summing_up_does_not_hide_the_cause() -> None:
    first = event("FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "gone" not found', last="2024-01-01T00:00:00Z")
    for why in ("timed out waiting for the condition", "context deadline exceeded"):
        later = event("FailedMount", f"Unable to attach or mount volumes: unmounted volumes=[v]: {why}", last="2024-01-01T00:02:00Z")
        assert found(pod(waiting={"reason": "ContainerCreating"}), first, later).missing == Missing("ConfigMap", "gone")


def test_events_of_the_setting_up_are_over_once_a_container_runs() -> None:
    flaky = event("FailedCreatePodSandBox", "network is not ready")
    assert diagnose(pod(running=UP, status={"phase": "Running"}), Events([flaky])) is None


def test_an_evicted_pod_tells_why() -> None:
    evicted = pod(status={"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."})
    assert "ended by its node (Evicted): The node was low on resource: ephemeral-storage." in found(evicted).message


def test_a_node_that_does_not_answer_is_told() -> None:
    lost = pod(running=UP, status={"phase": "Running", "conditions": [{"type": "Ready", "status": "Unknown"}]})
    assert (found(lost).patience, found(lost).message) == (NODE_PATIENCE, "pod web-1: its node node1 does not answer")


REFUSALS = {
    'pods "web-1" is forbidden: exceeded quota: small, requested: cpu=2, limited: cpu=2': (ADMISSION_PATIENCE, "resourcequota"),
    'pods "web-1" is forbidden: failed quota: small: must specify memory': (ADMISSION_PATIENCE, "resources.requests and limits"),
    'error looking up service account demo/robot: serviceaccount "robot" not found': (ADMISSION_PATIENCE, "ServiceAccount"),
    'admission webhook "policy.acme.io" denied the request: image not signed': (ADMISSION_PATIENCE, "the policy that refuses it"),
    'Internal error occurred: failed calling webhook "policy.acme.io": connection refused': (SANDBOX_PATIENCE, "does not answer"),
    'pods "web-1" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi': (ADMISSION_PATIENCE, "LimitRange"),
    'pods "web-1" is forbidden: violates PodSecurity "restricted:latest"': (ADMISSION_PATIENCE, "securityContext"),
}


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_of_pods_is_explained(text: str) -> None:
    patience, told = REFUSALS[text]
    diagnosis = not_created("deployment/web", text)
    assert diagnosis.patience == patience
    assert text in diagnosis.message
    assert told in diagnosis.hint


# --- what is well


@pytest.mark.parametrize(("about", "told"), [
    (pod(spec={"nodeName": ""}), "waiting for a node"),
    (pod(), "ContainerCreating"),
    (pod(waiting={"reason": "ContainerCreating"}), "ContainerCreating"),
    (pod(running=UP), "running, not ready yet"),
    (pod(spec={"readinessGates": [{"conditionType": "acme.io/lb"}]}, running=UP), "waiting for readiness gate acme.io/lb"),
    (pod(spec={"initContainers": [{"name": "migrate"}]}, waiting={"reason": "PodInitializing"},
         status={"initContainerStatuses": [{"name": "migrate", "state": {"running": UP}}]}), "init container migrate runs"),
])
def test_a_pod_that_only_needs_a_moment_says_how_far_it_is(about: Json, told: str) -> None:
    assert diagnose(about, Events()) is None
    assert stage(about) == told


def test_a_pod_that_goes_away_is_nobodys_trouble() -> None:
    leaving = pod(waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1})
    leaving["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    assert diagnose(leaving, Events()) is None
    assert stage(leaving) == "Terminating"
