"""Pods on the Engine alone: each test sees in real containers what a cluster would show."""

from __future__ import annotations

import json

import pytest

from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.docker_containers import Container, execute
from devloop.clients.engine_containers import EngineContainers
from devloop.deploy.causes.diagnosis import Events
from devloop.deploy.diagnose import diagnose
from devloop.local.kinds import EVENTS
from devloop.model import Object
from tests.cluster.localpods import IMAGE, Local, container

pytestmark = pytest.mark.cluster


def diagnosed(local: Local, pod: Object) -> str:
    found = diagnose(pod, Events(local.store.list(EVENTS, "default")))
    assert found
    return found.message


# --- containers


def test_containers_of_a_pod_meet_on_localhost_and_share_volumes_and_ipc(local: Local) -> None:
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    local.pod("together", container("server", "echo from the volume > /shared/page; exec httpd -f -p 127.0.0.1:8080 -h /shared", **mount),
              container("client", "until wget -qO- http://localhost:8080/page 2>/dev/null; do sleep 0.05; done; hostname", **mount),
              restartPolicy="OnFailure", volumes=[{"name": "shared", "emptyDir": {}}])
    local.ended("together", "client")
    assert local.log("together", "client").splitlines() == ["from the volume", "together"]
    pod = local.live("together")
    assert pod["status"]["phase"] == "Running"
    local.delete("together")
    local.gone("together")


def test_init_containers_run_one_after_the_other_and_sidecars_before_the_rest(local: Local) -> None:
    volume = {"volumeMounts": [{"name": "steps", "mountPath": "/steps"}]}
    local.pod("ordered", container("main", "echo main >> /steps/all; cat /steps/all", **volume), restartPolicy="Never",
              volumes=[{"name": "steps", "emptyDir": {}}],
              initContainers=[container("first", "sleep 0.2; echo first >> /steps/all", **volume),
                              container("helper", "echo helper >> /steps/all; exec sleep 1000", restartPolicy="Always", **volume,
                                        startupProbe={"exec": {"command": ["grep", "-q", "helper", "/steps/all"]}, "timeoutSeconds": 20}),
                              container("second", "echo second >> /steps/all", **volume)])
    pod = local.phase("ordered", "Succeeded")
    assert local.log("ordered").split() == ["first", "helper", "second", "main"]
    local.container_when("ordered", "helper", lambda c: c.terminated)
    assert [s["ready"] for s in pod["status"]["initContainerStatuses"]][::2] == [True, True]


def test_an_init_container_that_fails_keeps_the_rest_from_starting(local: Local) -> None:
    local.pod("stuck", initContainers=[container("setup", "echo no >&2; exit 4")])
    pod = local.pod_when("stuck", lambda pod: (pod.get("status") or {}).get("initContainerStatuses", [{}])[0].get("restartCount", 0) >= 1)
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    local.delete("stuck", grace=0)
    local.pod("failed", restartPolicy="Never", initContainers=[container("setup", "exit 4")])
    assert local.phase("failed", "Failed")["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4


def test_environment_has_values_from_everywhere(local: Local) -> None:
    local.config_map("settings", COLOUR="blue", SIZE="large")
    local.secret("login", PASSWORD="hunter2")
    env = [{"name": "PLAIN", "value": "one"}, {"name": "BUILT", "value": "$(PLAIN)-two $$(PLAIN) $(NOBODY)"},
           {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
           {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
           {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
           {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
           {"name": "PAINT", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOUR"}}},
           {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "PASSWORD"}}},
           {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "x", "optional": True}}}]
    printed = local.printed("env", {
        **container("main", "hostname -i; env"), "env": env, "resources": {"limits": {"memory": "64Mi"}},
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "login"}}]},
        metadata={"labels": {"tier": "front"}})
    own, *lines = printed.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert found["BUILT"] == "one-two $(PLAIN) $(NOBODY)"
    assert {key: found.get(key) for key in ("POD", "TIER", "IP", "MEMORY", "PAINT", "WORD", "CFG_SIZE", "PASSWORD", "HOSTNAME")} == {
        "POD": "env", "TIER": "front", "IP": own.split()[0], "MEMORY": "64", "PAINT": "blue", "WORD": "hunter2", "CFG_SIZE": "large",
        "PASSWORD": "hunter2", "HOSTNAME": "env"}
    assert "ABSENT" not in found


def test_command_and_args_are_expanded_and_run_in_the_working_directory(local: Local) -> None:
    main = {"name": "main", "image": IMAGE, "command": ["sh", "-c", 'pwd; echo "$0 $1"'], "args": ["$(WHO)", "$$(WHO)"],
            "env": [{"name": "WHO", "value": "me"}], "workingDir": "/etc"}
    assert local.printed("args", main) == "/etc\nme $(WHO)\n"


def test_what_the_manifest_says_about_security_holds_in_the_container(local: Local) -> None:
    script = ("id -u; id -g; id -G; touch /file 2>&1; grep -E '^(NoNewPrivs|CapBnd)' /proc/1/status; touch /data/x; stat -c %g /data/x")
    volume = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    printed = local.printed("secure", container("main", script, **volume, securityContext={
        "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
        securityContext={"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567], "runAsNonRoot": True},
        volumes=[{"name": "data", "emptyDir": {}}])
    user, group, groups, refused, capabilities, escalation, owner = printed.splitlines()
    assert (user, group, owner) == ("1234", "2345", "3456")
    assert {"3456", "4567"} <= set(groups.split())
    assert "Read-only" in refused
    assert (capabilities.split()[1], escalation.split()[1]) == ("0000000000000001", "1")


def test_an_image_that_runs_as_root_is_refused_where_the_manifest_forbids_it(local: Local) -> None:
    local.pod("rooted", container(securityContext={"runAsNonRoot": True}))
    told = local.container_when("rooted", "main", lambda c: c.waiting.get("reason") == "CreateContainerConfigError").waiting["message"]
    assert told.startswith("container has runAsNonRoot and image will run as root (pod: ")
    assert "asks for runAsNonRoot" in diagnosed(local, local.live("rooted"))
    local.delete("rooted", grace=0)


def test_limits_are_the_containers_own(local: Local, engine: DockerEngine) -> None:
    local.pod("limited", container(resources={"limits": {"memory": "32Mi", "cpu": "250m"}, "requests": {"cpu": "100m"}}))
    pod = local.ready("limited")
    assert pod["status"]["qosClass"] == "Burstable"
    identifier = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
    host = EngineContainers(engine).inspect(identifier)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["CpuShares"]) == (32 << 20, 32 << 20, 250_000_000, 102)
    local.delete("limited", grace=0)


def test_a_host_port_leads_to_the_container(local: Local, engine: DockerEngine) -> None:
    local.pod("published", container(script="exec httpd -f -p 80 -h /etc", ports=[{"containerPort": 80, "hostPort": 28643}]))
    local.ready("published")
    found = [each for each in EngineContainers(engine).labelled(["devloop.dev/local=sandbox"]) if any(
        port.get("PublicPort") == 28643 and port["PrivatePort"] == 80 for port in each["Ports"])]
    assert len(found) == 1
    local.delete("published", grace=0)


# --- ends


def test_a_pod_that_runs_to_its_end_keeps_its_log_and_no_sandbox(local: Local, engine: DockerEngine) -> None:
    assert local.printed("job", container("main", "echo done")) == "done\n"
    pod = local.live("job")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["containerID"][:9]) == (0, "Completed", "docker://")
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    local.delete("job")
    local.gone("job")


def test_a_container_that_fails_is_started_again_and_then_held_back(local: Local) -> None:
    local.pod("crashing", container("main", "echo one line; exit 3"))
    held = local.container_when("crashing", "main", lambda c: c.waiting.get("reason") == "CrashLoopBackOff" and c.restarts == 1)
    uid = local.live("crashing")["metadata"]["uid"]
    assert held.waiting["message"] == f"back-off 10s restarting failed container=main pod=crashing_default({uid})"
    assert (held.last_terminated["exitCode"], held.last_terminated["reason"]) == (3, "Error")
    assert "crashes with exit code 3 (2 times so far)" in diagnosed(local, local.live("crashing"))
    assert local.log("crashing", previous=True) == local.log("crashing") == "one line\n"
    assert "Back-off restarting failed container" in local.told("crashing", "BackOff")
    local.delete("crashing", grace=0)
    local.gone("crashing")


def test_the_restart_policy_decides_who_is_started_again(local: Local) -> None:
    local.pod("never", container("main", "exit 5"), restartPolicy="Never")
    assert local.phase("never", "Failed")["status"]["containerStatuses"][0]["restartCount"] == 0
    volumes = {"volumes": [{"name": "v", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    local.pod("twice", container("main", "test -e /v/seen && exit 0; touch /v/seen; exit 1", **mount), restartPolicy="OnFailure", **volumes)
    assert local.phase("twice", "Succeeded")["status"]["containerStatuses"][0]["restartCount"] == 1


def test_what_a_container_says_at_its_end_is_in_its_status(local: Local) -> None:
    local.pod("last", container("default", "echo farewell > /dev/termination-log"),
              container("own", "echo from a file of its own > /tmp/why", terminationMessagePath="/tmp/why"),
              container("log", "echo from the log; exit 1", terminationMessagePolicy="FallbackToLogsOnError"), restartPolicy="Never")
    local.phase("last", "Failed")
    said = {name: local.ended("last", name).get("message", "").strip() for name in ("default", "own", "log")}
    assert said == {"default": "farewell", "own": "from a file of its own", "log": "from the log"}


def test_a_container_that_uses_too_much_memory_is_told_so(local: Local) -> None:
    local.pod("greedy", container("main", "x=a; while :; do x=$x$x; done", resources={"limits": {"memory": "16Mi"}}), restartPolicy="Never")
    local.phase("greedy", "Failed")
    assert (local.ended("greedy")["exitCode"], local.ended("greedy")["reason"]) == (137, "OOMKilled")
    assert "needs more memory than its limit of 16Mi" in diagnosed(local, local.live("greedy"))


def test_a_deleted_pod_has_its_hook_and_its_grace_before_it_goes(local: Local) -> None:
    script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    local.claim("diary")
    mount = {"volumeMounts": [{"name": "diary", "mountPath": "/diary"}]}
    volumes = [{"name": "diary", "persistentVolumeClaim": {"claimName": "diary"}}]
    local.pod("graceful", container("main", script.replace("echo told", "echo told >> /diary/all"), **mount, lifecycle={
        "preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /diary/all"]}}}), volumes=volumes, terminationGracePeriodSeconds=60)
    local.ready("graceful")
    local.says("graceful", "up\n")      # until its trap is set nothing tells it anything
    local.delete("graceful")
    local.gone("graceful")
    assert local.told("graceful", "Killing") == "Stopping container main"
    assert local.printed("reader", container("main", "cat /diary/all", **mount), volumes=volumes) == "hook\ntold\n"


def test_who_does_not_end_in_time_is_ended(local: Local) -> None:
    local.pod("stubborn", container("main", "trap '' TERM; while :; do sleep 1; done"), terminationGracePeriodSeconds=600)
    local.ready("stubborn")
    local.delete("stubborn")
    local.delete("stubborn", grace=0)      # never mind
    local.gone("stubborn")


def test_a_pod_past_its_deadline_fails(local: Local) -> None:
    local.pod("late", container("main"), activeDeadlineSeconds=1, restartPolicy="Never")
    assert local.phase("late", "Failed")["status"]["reason"] == "DeadlineExceeded"


# --- hooks and probes


def test_a_post_start_hook_runs_before_the_container_counts_as_running(local: Local) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.3; echo hook > /tmp/hook"]}}}
    local.pod("hooked", container("main", "until test -e /tmp/hook; do sleep 0.05; done; cat /tmp/hook; exec sleep 1000", lifecycle=hook))
    local.ready("hooked")
    assert local.says("hooked", "hook\n") == "hook\n"
    local.delete("hooked", grace=0)
    local.pod("unhooked", container("main", lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo no good; exit 7"]}}}))
    assert local.told("unhooked", "FailedPostStartHook") == "PostStartHook failed: no good"
    local.container_when("unhooked", "main", lambda c: c.restarts >= 1)
    local.delete("unhooked", grace=0)


def test_a_pod_is_ready_when_its_probes_pass(local: Local) -> None:
    gate = "until test -e /tmp/go; do sleep 0.02; done; exec httpd -f -p 8080 -h /etc"
    probe = {"periodSeconds": 1, "failureThreshold": 300, "timeoutSeconds": 5}
    local.pod("probed", container("http", gate, ports=[{"name": "web", "containerPort": 8080}],
                                  readinessProbe={"httpGet": {"path": "/passwd", "port": "web"}, **probe},
                                  livenessProbe={"exec": {"command": ["true"]}, **probe}),
              container("tcp", "sleep 1; exec httpd -f -p 9090", startupProbe={"tcpSocket": {"port": 9090}, **probe}))
    pod = local.pod_when("probed", lambda pod: pod.get("status", {}).get("phase") == "Running")
    assert not next(s for s in pod["status"]["containerStatuses"] if s["name"] == "http")["ready"]
    assert "connection refused" in local.told("probed", "Unhealthy", "Readiness probe failed")
    identifier = next(s for s in pod["status"]["containerStatuses"] if s["name"] == "http")["containerID"].removeprefix("docker://")
    execute(local.engine, Container(identifier, "http", True, {}), ["touch", "/tmp/go"], Cancel())
    pod = local.ready("probed")
    assert [(s["started"], s["ready"]) for s in pod["status"]["containerStatuses"]] == [(True, True), (True, True)]
    local.delete("probed", grace=0)


def test_a_container_whose_liveness_probe_fails_is_started_anew(local: Local) -> None:
    probe = {"exec": {"command": ["sh", "-c", "echo unwell; test ! -e /tmp/ill"]}, "periodSeconds": 1, "failureThreshold": 1}
    local.pod("ill", container("main", "sleep 1; touch /tmp/ill; exec sleep 1000", livenessProbe={**probe, "timeoutSeconds": 20}))
    again = local.container_when("ill", "main", lambda c: c.restarts >= 1 and c.last_terminated)
    assert again.last_terminated["exitCode"] == 137
    assert local.told("ill", "Unhealthy") == "Liveness probe failed: unwell"
    assert local.told("ill", "Killing") == "Container main failed liveness probe, will be restarted"
    local.delete("ill", grace=0)


def test_what_a_failing_probe_was_told_is_diagnosed(local: Local) -> None:
    probe = {"httpGet": {"path": "/none", "port": 8080}, "timeoutSeconds": 20}
    local.pod("unready", container("main", "exec httpd -f -p 8080 -h /etc", readinessProbe=probe))
    local.told("unready", "Unhealthy", "HTTP probe failed with statuscode: 404")
    assert "readiness probe (GET :8080/none) does not pass: " in diagnosed(local, local.live("unready"))
    local.delete("unready", grace=0)


# --- what is missing


def test_a_pod_waits_for_what_its_environment_names_and_goes_on_when_it_is_there(local: Local) -> None:
    local.pod("waiting", container("main", "echo $X; exec sleep 1000", env=[
        {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}]))
    waits = local.container_when("waiting", "main", lambda c: c.waiting.get("reason") == "CreateContainerConfigError")
    assert waits.waiting["message"] == 'configmap "later" not found'
    assert "ConfigMap 'later' does not exist in namespace default" in diagnosed(local, local.live("waiting"))
    late = local.config_map("later", y="2")
    local.told("waiting", "Failed", "Error: couldn't find key x in ConfigMap default/later")
    local.store.update({**late, "data": {"x": "1"}, "metadata": {k: v for k, v in late["metadata"].items() if k != "resourceVersion"}})
    local.ready("waiting")
    assert local.says("waiting", "\n") == "1\n"
    local.delete("waiting", grace=0)


def test_a_pod_waits_for_what_its_volumes_name(local: Local) -> None:
    mount = {"volumeMounts": [{"name": "certs", "mountPath": "/certs"}]}
    local.pod("mounting", container("main", "cat /certs/key; echo; exec sleep 1000", **mount),
              volumes=[{"name": "certs", "secret": {"secretName": "certificate"}}])
    assert local.told("mounting", "FailedMount") == 'MountVolume.SetUp failed for volume "certs" : secret "certificate" not found'
    assert "Secret 'certificate' does not exist" in diagnosed(local, local.live("mounting"))
    local.secret("certificate", key="value")
    local.ready("mounting")
    assert local.says("mounting", "\n") == "value\n"
    local.delete("mounting", grace=0)


def test_images_that_cannot_be_had_are_told_as_a_kubelet_does(local: Local) -> None:
    local.pod("forbidden", {"name": "main", "image": "nowhere/to/be:found", "imagePullPolicy": "Never"})
    local.pod("unknown", {"name": "main", "image": "127.0.0.1:9/none:1"})
    local.pod("invalid", {"name": "main", "image": "Not A Name"})
    waits = local.container_when("forbidden", "main", lambda c: c.waiting.get("reason") == "ErrImageNeverPull").waiting
    assert waits["message"] == 'Container image "nowhere/to/be:found" is not present with pull policy of Never'
    local.container_when("unknown", "main", lambda c: c.waiting.get("reason") == "ImagePullBackOff")
    assert "cannot be pulled" in diagnosed(local, local.live("unknown"))
    assert local.told("unknown", "Failed", "Failed to pull image").startswith('Failed to pull image "127.0.0.1:9/none:1": rpc error')
    local.container_when("invalid", "main", lambda c: c.waiting.get("reason") == "InvalidImageName")
    for name in ("forbidden", "unknown", "invalid"):
        local.delete(name, grace=0)
        local.gone(name)


def test_a_program_that_is_not_in_the_image_is_told(local: Local) -> None:
    local.pod("typo", {"name": "main", "image": IMAGE, "command": ["no-such-program"]})
    local.container_when("typo", "main", lambda c: c.restarts >= 1 and c.last_terminated)
    assert local.live("typo")["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "ContainerCannotRun"
    assert "no-such-program" in diagnosed(local, local.live("typo"))
    local.delete("typo", grace=0)


# --- what happens to them


def test_a_pods_image_may_change_while_it_runs(local: Local, engine: DockerEngine) -> None:
    local.pod("patched", container("main"), restartPolicy="OnFailure")
    pod = local.ready("patched")
    [first] = pod["status"]["containerStatuses"]
    identifier = engine.image_id(IMAGE)
    changed = {**pod["spec"], "containers": [{**container("main"), "image": identifier}]}
    local.store.update({**pod, "spec": changed, "metadata": {k: v for k, v in pod["metadata"].items() if k != "resourceVersion"}})
    again = local.container_when("patched", "main", lambda c: c.running and c.restarts == 1)
    assert again.status["image"] == identifier
    assert again.status["containerID"] != first["containerID"]
    assert local.told("patched", "Killing") == "Container main definition changed, will be restarted"
    local.delete("patched", grace=0)


def test_a_pod_whose_sandbox_has_gone_gets_another(local: Local, engine: DockerEngine) -> None:
    local.pod("moved", container("main"))
    pod = local.ready("moved")
    api = EngineContainers(engine)
    [sandbox] = api.labelled([f"devloop.dev/pod={pod['metadata']['uid']}", "devloop.dev/local=sandbox"])
    api.remove(sandbox["Id"])
    api.kill(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://"), "SIGKILL")
    local.told("moved", "SandboxChanged")
    local.pod_when("moved", lambda pod: pod["status"]["containerStatuses"][0]["state"].get("running"))
    local.delete("moved", grace=0)
    local.gone("moved")


# --- logs


def test_a_log_is_followed_to_the_containers_end(local: Local) -> None:
    local.pod("talking", container("main", "echo out; echo err >&2; sleep 0.5; echo end"), restartPolicy="Never")
    local.container_when("talking", "main", lambda c: c.running or c.terminated)
    assert sorted(local.log("talking", follow=True).split()) == ["end", "err", "out"]
    assert local.log("talking", tail=1) == "end\n"
    stamp, _, text = local.log("talking", tail=1, timestamps=True).partition(" ")
    assert (stamp[-1], text) == ("Z", "end\n")


def test_statuses_are_json(local: Local) -> None:
    local.pod("plain")
    pod = local.ready("plain")
    assert json.loads(json.dumps(pod)) == pod
    assert {c["type"] for c in pod["status"]["conditions"]} == {"Initialized", "Ready", "ContainersReady", "PodScheduled"}
    local.delete("plain", grace=0)
