"""Volumes of pods on the Engine alone, seen from inside; and what is left in the Engine, by whom and for how long."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from devloop.clients.docker import DockerEngine
from devloop.clients.engine_containers import EngineContainers
from devloop.errors import UsageError
from devloop.local.pods import owner
from tests.cluster.localpods import Local, container, session, things

pytestmark = pytest.mark.cluster


def mounted(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "mountPath": f"/{name}"} for name in names]


def test_empty_volumes_are_anybodys_and_may_be_memory(local: Local) -> None:
    script = "stat -c %a /disk /memory; id -u; touch /disk/x /memory/x; grep ' /memory ' /proc/mounts"
    main = container("main", script, volumeMounts=mounted("disk", "memory"), securityContext={"runAsUser": 99})
    printed = local.printed("empty", main, volumes=[
        {"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
    disk, memory, user, mount = printed.splitlines()
    assert (disk, memory, user) == ("777", "777", "99")
    assert mount.startswith("tmpfs /memory tmpfs rw")
    assert "size=1024k" in mount


def test_files_of_objects_have_their_paths_modes_and_contents(local: Local) -> None:
    local.config_map("files", **{"app.conf": "a=1", "other": "b"})
    local.secret("keys", token="s3cret")
    volumes = [
        {"name": "plain", "configMap": {"name": "files"}},
        {"name": "items", "configMap": {"name": "files", "defaultMode": 0o640, "items": [
            {"key": "app.conf", "path": "deep/er/conf"}, {"key": "other", "path": "other", "mode": 0o400}]}},
        {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "absent", "secret": {"secretName": "nobody", "optional": True}},
        {"name": "all", "projected": {"sources": [
            {"configMap": {"name": "files", "items": [{"key": "other", "path": "from/config"}]}}, {"secret": {"name": "keys"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                                       {"path": "limit", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory"}}]}}]}}]
    script = ("cat /plain/app.conf; echo; ls /plain; stat -Lc %a /plain/other /items/deep/er/conf /items/other /secret/token; "
              "cat /secret/token; echo; ls -A /absent | wc -l; cat /all/from/config /all/token; echo; cat /all/labels; echo; "
              "cat /all/limit; echo; touch /plain/new 2>&1")
    local.pod("files", container("main", script, volumeMounts=mounted("plain", "items", "secret", "absent", "all"),
                                 resources={"limits": {"memory": "64Mi"}}), volumes=volumes, restartPolicy="Never",
              metadata={"labels": {"app": "web", "tier": "front"}})
    local.phase("files", "Failed")
    assert local.log("files").splitlines() == [
        "a=1", "app.conf", "other", "644", "640", "400", "400", "s3cret", "2", "bs3cret", 'app="web"', 'tier="front"', "67108864",
        "touch: /plain/new: Read-only file system"]


def test_files_change_when_their_object_does(local: Local) -> None:
    first = local.config_map("changing", page="one", old="x")
    local.pod("watching", container("main", "was=$(stat -c %i /changing/page); until grep -q two /changing/page; do sleep 0.05; done; "
                                            "cat /changing/page; cat /changing/new; [ $(stat -c %i /changing/page) = $was ] && echo kept; "
                                            "readlink /changing/page; exec sleep 1000", volumeMounts=mounted("changing")),
              volumes=[{"name": "changing", "configMap": {"name": "changing"}}])
    local.ready("watching")
    local.store.update({**first, "data": {"page": "two\n", "new": "three\n"},
                        "metadata": {k: v for k, v in first["metadata"].items() if k != "resourceVersion"}})
    assert local.says("watching", "..data/page\n") == "two\nthree\nkept\n..data/page\n"
    local.delete("watching", grace=0)


def test_parts_of_volumes_are_mounted_alone(local: Local) -> None:
    local.config_map("parts", **{"nginx.conf": "configured\n"})
    mounts = [{"name": "config", "mountPath": "/etc/app/app.conf", "subPath": "nginx.conf"},
              {"name": "data", "mountPath": "/mine", "subPath": "a/b"},
              {"name": "data", "mountPath": "/whole"},
              {"name": "memory", "mountPath": "/memory", "subPath": "x"},
              {"name": "data", "mountPath": "/named", "subPathExpr": "pods/$(POD)"}]
    main = container("main", "cat /etc/app/app.conf; echo mine > /mine/f; echo named > /named/f; touch /memory/y; "
                             "cat /whole/a/b/f /whole/pods/parts/f; ls /etc/app",
                     volumeMounts=mounts, securityContext={"readOnlyRootFilesystem": True, "runAsUser": 99},
                     env=[{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
    assert local.printed("parts", main, volumes=[
        {"name": "config", "configMap": {"name": "parts"}}, {"name": "data", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory"}}]) == "configured\nmine\nnamed\napp.conf\n"


def test_host_paths_are_the_machines_own(local: Local, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
               {"name": "new", "hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}}]
    main = container("main", "cat /host/file; echo hi > /new/x", volumeMounts=mounted("host", "new"))
    assert local.printed("host", main, volumes=volumes) == "from the host\n"
    assert (tmp_path / "new" / "x").read_text() == "hi\n"
    local.pod("nowhere", container("main", volumeMounts=mounted("host")), volumes=[
        {"name": "host", "hostPath": {"path": str(tmp_path / "file"), "type": "Directory"}}])
    assert local.told("nowhere", "FailedMount").endswith(f"hostPath type check failed: {tmp_path}/file is not a directory")
    local.delete("nowhere", grace=0)


def test_a_claims_files_survive_the_session_until_they_are_purged(engine: DockerEngine) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    with session(engine) as first:
        first.claim("data")
        first.printed("writer", container("main", "echo kept > /data/f; stat -c %a /data; chmod 700 /data", volumeMounts=mounted("data")),
                      volumes=volumes)
        assert first.log("writer") == "777\n"
        project = first.project
    assert things(engine, project) == [f"devloop-{project}-data"]
    with session(engine, project) as second:
        second.pod("reader", container("main", "cat /data/f; stat -c %a /data", volumeMounts=mounted("data")), volumes=volumes,
                   restartPolicy="Never")
        assert "persistentvolumeclaim \"data\" not found" in second.told("reader", "FailedMount")
        second.claim("data")
        second.phase("reader", "Succeeded")
        assert second.log("reader") == "kept\n700\n"
    owner.purge(EngineContainers(engine), project, volumes=False)
    assert things(engine, project) == [f"devloop-{project}-data"]
    owner.purge(EngineContainers(engine), project, volumes=True)
    assert things(engine, project) == []


# --- whose things they are

_SESSION = """
import sys
from devloop.clients.docker import DockerEngine
from tests.cluster.localpods import container, session
with session(DockerEngine(), sys.argv[1]) as local:
    local.pod("left", container("main", volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", "emptyDir": {}}])
    local.ready("left")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_session_has_left_is_removed_and_a_living_ones_is_not(engine: DockerEngine) -> None:
    project, api = "test-killed", EngineContainers(engine)
    with subprocess.Popen([sys.executable, "-c", _SESSION, project], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        try:
            assert other.stdout.readline() == b"ready\n"
            with pytest.raises(UsageError, match=f"runs on this Engine already: devloop, process {other.pid} on"):
                owner.take_over(api, project)
            before = things(engine, project)
            assert any("left" in name for name in before)
        finally:
            other.send_signal(signal.SIGKILL)
    other.wait()
    assert things(engine, project) == before
    assert owner.take_over(api, project) > 0
    assert things(engine, project) == []


def test_a_session_that_lets_go_leaves_its_pods_running(engine: DockerEngine) -> None:
    with session(engine) as local:
        local.pod("staying", container("main", "trap exit TERM; while :; do sleep 0.1; done"))
        local.ready("staying")
        local.kubelet.detach()
        api = EngineContainers(engine)
        [left] = api.labelled([f"{owner.PROJECT}={local.project}", "devloop.dev/local=container"])
        shown = api.inspect(left["Id"])
        assert (shown["State"]["Running"], shown["HostConfig"]["RestartPolicy"]["Name"]) == (True, "unless-stopped")
        owner.purge(api, local.project, volumes=False)
        assert things(engine, local.project) == []
