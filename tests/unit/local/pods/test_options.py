from __future__ import annotations

from typing import Any

import pytest

from devloop.local.pods.options import create_options
from devloop.local.pods.references import Unmet
from devloop.local.pods.volumes import Mounts, mounts, sub_path, volumes
from devloop.model import Object

IMAGE = {"Id": "sha256:1", "Config": {"User": "app"}}
OLD, NEW = (1, 41), (1, 45)


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [], **spec}}


def options(container: Object, image: Object = IMAGE, **spec: Any) -> Object:
    return create_options(pod(**spec), {"name": "c", **container}, image=image, environment={"A": "1"}, mounts=Mounts(), sandbox="box",
                          labels={"l": "v"})


def test_a_plain_container_has_the_images_own_program_and_the_pods_network() -> None:
    found = options({})
    assert not {"Entrypoint", "Cmd", "User", "WorkingDir"} & set(found)
    assert (found["Image"], found["Env"], found["Labels"]) == ("sha256:1", ["A=1"], {"l": "v"})
    assert found["Healthcheck"] == {"Test": ["NONE"]}
    assert (found["HostConfig"]["NetworkMode"], found["HostConfig"]["IpcMode"]) == ("container:box", "container:box")


def test_command_takes_the_entrypoints_place_and_args_the_commands() -> None:
    found = options({"command": ["run", "$(A)"], "args": ["$$(A)", 2], "workingDir": "/w", "tty": True, "stdin": True})
    assert (found["Entrypoint"], found["Cmd"], found["WorkingDir"]) == (["run", "1"], ["$(A)", "2"], "/w")
    assert (found["Tty"], found["OpenStdin"]) == (True, True)


@pytest.mark.parametrize(("context", "user"), [
    ({"runAsUser": 5}, "5"), ({"runAsUser": 5, "runAsGroup": 6}, "5:6"), ({"runAsGroup": 6}, "app:6"), ({"runAsUser": 0}, "0"), ({}, None)])
def test_users_and_groups(context: Object, user: str | None) -> None:
    assert options({"securityContext": context}).get("User") == user


def test_a_containers_context_wins_over_the_pods() -> None:
    found = options({"securityContext": {"runAsUser": 7}},
                    securityContext={"runAsUser": 5, "runAsGroup": 6, "fsGroup": 8, "supplementalGroups": [9]})
    assert found["User"] == "7:6"
    assert found["HostConfig"]["GroupAdd"] == ["9", "8"]


@pytest.mark.parametrize(("context", "image", "told"), [
    ({"runAsUser": 0}, IMAGE, "container's runAsUser breaks non-root policy"),
    ({}, IMAGE, "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root"),
    ({}, {"Id": "x"}, "container has runAsNonRoot and image will run as root"),
    ({}, {"Id": "x", "Config": {"User": "0:5"}}, "container has runAsNonRoot and image will run as root")])
def test_root_is_refused(context: Object, image: Object, told: str) -> None:
    with pytest.raises(Unmet) as error:
        options({"securityContext": {"runAsNonRoot": True, **context}}, image)
    assert str(error.value) == f'{told} (pod: "p_n(u)", container: c)'


def test_who_is_not_root_is_not_refused() -> None:
    assert options({"securityContext": {"runAsNonRoot": True, "runAsUser": 5}})["User"] == "5"
    assert "User" not in options({"securityContext": {"runAsNonRoot": True}}, {"Id": "x", "Config": {"User": "1000"}})


def test_security_options() -> None:
    host = options({"securityContext": {
        "privileged": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"level": "s0"}}})["HostConfig"]
    assert (host["Privileged"], host["ReadonlyRootfs"], host["CapAdd"], host["CapDrop"]) == (True, True, ["NET_ADMIN"], ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined", "label=level:s0"]


@pytest.mark.parametrize(("spec", "mode"), [({"shareProcessNamespace": True}, "container:box"), ({"hostPID": True}, "host"), ({}, None)])
def test_processes_may_be_shared(spec: Object, mode: str | None) -> None:
    assert options({}, **spec)["HostConfig"].get("PidMode") == mode


def test_resources() -> None:
    host = options({"resources": {"limits": {"memory": "1Gi", "cpu": "1.5"}}})["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["CpuShares"]) == (1 << 30, 1 << 30, 1_500_000_000, 1536)
    assert options({"resources": {"requests": {"cpu": "1m"}}})["HostConfig"]["CpuShares"] == 2
    assert not {"Memory", "NanoCpus", "CpuShares"} & set(options({})["HostConfig"])


# --- mounts

VOLUMES = [{"name": "empty", "emptyDir": {}}, {"name": "config", "configMap": {"name": "c"}},
           {"name": "claim", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "host", "hostPath": {"path": "/h"}},
           {"name": "dir", "hostPath": {"path": "/d", "type": "Directory"}},
           {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Ki"}}]


def mounted(mount: Object, api: tuple[int, int] = OLD, **spec: Any) -> Mounts:
    container = {"name": "c", "volumeMounts": [{"mountPath": "/m", **mount}]}
    known = volumes(pod(volumes=VOLUMES, **spec), "shop")
    return mounts(container, known, {"POD": "p-0"}, lambda source: f"/engine/{source}", api)


@pytest.mark.parametrize(("mount", "source", "read_only"), [
    ({"name": "empty"}, "devloop-u-empty", False), ({"name": "empty", "readOnly": True}, "devloop-u-empty", True),
    ({"name": "config"}, "devloop-u-config", True), ({"name": "claim"}, "devloop-shop-n.data", False)])
def test_volumes_are_the_engines(mount: Object, source: str, read_only: bool) -> None:
    [found] = mounted(mount).mounts
    assert found == {"Type": "volume", "Source": source, "Target": "/m", "ReadOnly": read_only, "VolumeOptions": {"NoCopy": True}}


def test_a_part_of_a_volume_is_a_path_in_it_or_a_subpath_where_the_engine_has_that() -> None:
    part = {"name": "empty", "subPathExpr": "of/$(POD)"}
    assert mounted(part).mounts == [{"Type": "bind", "Source": "/engine/devloop-u-empty/of/p-0", "Target": "/m", "ReadOnly": False}]
    assert mounted(part, NEW).mounts[0]["VolumeOptions"] == {"NoCopy": True, "Subpath": "of/p-0"}


def test_host_paths_are_made_where_their_type_allows_it() -> None:
    assert mounted({"name": "host", "readOnly": True, "subPath": "x"}).binds == ["/h/x:/m:ro"]
    assert mounted({"name": "dir"}).mounts == [{"Type": "bind", "Source": "/d", "Target": "/m", "ReadOnly": False}]


@pytest.mark.parametrize("mount", [{"name": "nobody"}, {"name": "empty", "subPath": "../x"}, {"name": "empty", "subPath": "/x"},
                                   {"name": "empty", "subPathExpr": "$(NONE)"}])
def test_a_mount_of_what_is_not_in_the_pod_is_refused(mount: Object) -> None:
    with pytest.raises(Unmet):
        mounted(mount)


def test_paths_in_volumes_are_plain() -> None:
    assert sub_path({"name": "v", "subPath": "a//b/"}, {}) == "a/b"


def test_memory_is_a_tmpfs_of_its_size_and_group() -> None:
    ram = volumes(pod(volumes=VOLUMES, securityContext={"fsGroup": 5}), "shop")["ram"]
    assert ram.options == {"type": "tmpfs", "device": "tmpfs", "o": "mode=2777,gid=5,size=1024"}
    part = {"containers": [{"name": "c", "volumeMounts": [{"name": "ram", "mountPath": "/m", "subPath": "x"}]}]}
    assert not volumes(pod(volumes=VOLUMES, **part), "shop")["ram"].memory


def test_claims_of_the_default_namespace_have_the_shortest_name() -> None:
    found = volumes({**pod(volumes=VOLUMES), "metadata": {"namespace": "default", "uid": "u"}}, "shop")["claim"]
    assert (found.source, found.own) == ("devloop-shop-data", False)
