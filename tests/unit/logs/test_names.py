"""Sources are called as shortly as can be, and no two alike."""

from __future__ import annotations

from typing import Any

from devloop.logs.names import all_containers, sources, workload
from devloop.model import Object


def pod(name: str, *containers: str, owner: str = "", revision: str = "", created: int = 0, namespace: str = "default",
        **more: Any) -> Object:
    kind, _, owner_name = owner.partition("/")
    labels = {"pod-template-hash" if kind == "ReplicaSet" else "controller-revision-hash": revision} if revision else {}
    meta: dict[str, Any] = {"uid": name, "name": name, "namespace": namespace, "labels": labels,
                            "creationTimestamp": f"2026-11-21T13:00:{created:02}Z"}
    if owner:
        meta["ownerReferences"] = [{"kind": kind, "name": owner_name, "controller": True}]
    return {"metadata": meta | more.pop("metadata", {}), "spec": {"containers": [{"name": c} for c in containers or ("main",)]} | more,
            "status": {"phase": "Running"}}


def web(name: str, revision: str = "7d9f", *containers: str, **more: Any) -> Object:
    return pod(f"web-{revision}-{name}", *containers, owner=f"ReplicaSet/web-{revision}", revision=revision, **more)


def labels(*pods: Object) -> list[str]:
    named = sources({p["metadata"]["uid"]: p for p in pods})
    return [named[p["metadata"]["uid"], c.name].label for p in pods for c in all_containers(p)]


def test_the_only_container_of_the_only_pod_is_called_like_its_workload() -> None:
    assert labels(web("x7k2p")) == ["web"]
    assert workload(web("x7k2p")) == "deployment/web"


def test_several_containers_are_told_apart() -> None:
    assert labels(web("x7k2p", "7d9f", "web", "proxy")) == ["web/web", "web/proxy"]
    assert labels(web("x7k2p", initContainers=[{"name": "migrate"}], ephemeralContainers=[{"name": "shell"}])) == [
        "web/migrate", "web", "web/shell"]


def test_replicas_are_told_apart() -> None:
    assert labels(web("x7k2p"), web("9zzk1")) == ["web-x7k2p", "web-9zzk1"]
    assert labels(pod("db-0", owner="StatefulSet/db"), pod("db-1", owner="StatefulSet/db")) == ["db-0", "db-1"]


def test_a_pod_that_is_being_replaced_is_old() -> None:
    assert labels(web("x7k2p", created=1), web("9zzk1", "8e00", created=2)) == ["web old", "web"]
    killed = web("x7k2p", created=1, metadata={"deletionTimestamp": "2026-11-21T13:00:02Z"})
    assert labels(killed, web("9zzk1", created=2)) == ["web old", "web"]
    assert labels(killed) == ["web"]


def test_a_finished_pod_does_not_make_a_replica_of_the_next() -> None:
    done = pod("job-a", owner="Job/job")
    done["status"]["phase"] = "Failed"
    assert labels(done, pod("job-b", owner="Job/job")) == ["job-a", "job"]


def test_the_same_name_twice_is_told_in_full() -> None:
    assert labels(web("x7k2p"), pod("web-0", owner="StatefulSet/web")) == ["default/deployment/web", "default/statefulset/web"]


def test_a_bare_pod_is_called_by_its_name() -> None:
    assert labels(pod("once")) == ["once"]
