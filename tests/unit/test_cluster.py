"""Which cluster a kubeconfig leads to, and whether it may be touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devloop.clients.kube import Kube
from devloop.cluster import Cluster, guard, identify
from devloop.errors import UsageError

Identify = Callable[..., Cluster]


@pytest.fixture
def identified(tmp_path: Path) -> Identify:
    """Identifies the cluster of a kubeconfig with one context. Plain HTTP, so that no certificates are needed."""
    def identified(host: str, *, cluster: str = "c", context: str = "ctx", **entry: Any) -> Cluster:
        config = {"apiVersion": "v1", "kind": "Config", "current-context": context, "users": [{"name": "u", "user": {}}],
                  "clusters": [{"name": cluster, "cluster": {"server": f"http://{host}:6443", **entry}}],
                  "contexts": [{"name": context, "context": {"cluster": cluster, "user": "u"}}]}
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        kube = Kube(kubeconfig=str(file))
        kube.close()
        return identify(kube)

    return identified


MINIKUBE = [{"name": "cluster_info", "extension": {"provider": "minikube.sigs.k8s.io", "version": "v1.36.0"}}]


@pytest.mark.parametrize(("host", "cluster", "kind", "name"), [
    ("127.0.0.1", "kind-dev", "kind", "dev"),
    ("127.0.0.1", "dev@kind", "kind", "dev"),
    ("172.18.0.2", "kind-dev", "kind", "dev"),
    ("dev-control-plane", "kind-dev", "kind", "dev"),
    ("0.0.0.0", "k3d-dev", "k3d", "dev"),
    ("host.docker.internal", "k3d-dev", "k3d", "dev"),
    ("k3d-dev-serverlb", "k3d-dev", "k3d", "dev"),
    ("kubernetes.docker.internal", "docker-desktop", "docker-desktop", "docker-desktop"),
    ("localhost", "docker-for-desktop-cluster", "docker-desktop", "docker-for-desktop-cluster"),
    ("127.0.0.1", "rancher-desktop", "rancher-desktop", "rancher-desktop"),
    ("127.0.0.1", "colima", "colima", "colima"),
    ("127.0.0.1", "colima-work", "colima", "work"),
    ("127.0.0.1", "orbstack", "orbstack", "orbstack"),
    ("k8s.orb.local", "orbstack", "orbstack", "orbstack"),
    ("192.168.64.5", "microk8s-cluster", "microk8s", "microk8s-cluster"),
    ("127.0.0.1", "whatever", "loopback", "whatever"),
    ("127.9.9.9", "whatever", "loopback", "whatever"),
    ("[::1]", "whatever", "loopback", "whatever"),
    ("[::ffff:127.0.0.1]", "whatever", "loopback", "whatever"),
    ("LOCALHOST", "whatever", "loopback", "whatever"),
    ("api.localhost", "whatever", "loopback", "whatever"),
])
def test_local_clusters_are_known(identified: Identify, host: str, cluster: str, kind: str, name: str) -> None:
    found = identified(host, cluster=cluster)
    assert (found.kind, found.name, found.local) == (kind, name, True)
    assert (found.context, found.server) == ("ctx", f"http://{host}:6443")


def test_minikube_is_known_by_the_marks_it_leaves_whatever_its_profile_is_called(identified: Identify) -> None:
    found = identified("192.168.49.2", cluster="work", extensions=MINIKUBE)
    assert (found.kind, found.name, found.local) == ("minikube", "work", True)
    found = identified("192.168.39.7", cluster="minikube", **{"certificate-authority": "/home/me/.minikube/ca.crt"})
    assert (found.kind, found.name, found.local) == ("minikube", "minikube", True)
    found = identified("192.168.39.7", cluster="minikube", **{"certificate-authority": "C:\\Users\\me\\.minikube\\ca.crt"})
    assert found.kind == "minikube"


@pytest.mark.parametrize(("host", "cluster"), [
    ("203.0.113.7.nip.io", "kind-prod"), ("8.8.8.8", "kind-prod"), ("prod.example.com", "k3d-prod"), ("8.8.8.8", "docker-desktop"),
    ("10.0.0.5", "docker-desktop"), ("10.0.0.5", "colima"), ("192.168.1.5", "minikube"), ("10.0.0.5", "prod"),
    ("localhost.example.com", "c"), ("127.0.0.1.nip.io", "c"), ("[2001:4860:4860::8888]", "c"), ("other-control-plane", "kind-prod")])
def test_a_name_alone_makes_no_cluster_local(identified: Identify, host: str, cluster: str) -> None:
    found = identified(host, cluster=cluster, context=cluster)
    assert (found.kind, found.local) == ("remote", False)


def test_minikubes_marks_at_a_public_address_are_not_believed(identified: Identify) -> None:
    assert not identified("8.8.8.8", cluster="minikube", extensions=MINIKUBE).local


def test_the_contexts_name_does_not_matter_the_clusters_does(identified: Identify) -> None:
    assert identified("127.0.0.1", cluster="kind-dev", context="prod").kind == "kind"
    assert identified("127.0.0.1", cluster="c", context="kind-dev").kind == "loopback"


def test_loopback_behind_a_proxy_is_another_machines(identified: Identify) -> None:
    found = identified("127.0.0.1", **{"proxy-url": "http://me:secret@bastion:3128"})
    assert (found.kind, found.local) == ("remote", False)
    assert "http://bastion:3128" in found.reason
    assert "secret" not in found.reason


def test_loopback_with_anothers_certificate_is_a_tunnel(identified: Identify) -> None:
    found = identified("127.0.0.1", **{"tls-server-name": "api.prod.example.com"})
    assert (found.kind, found.local) == ("remote", False)
    assert "api.prod.example.com" in found.reason
    assert identified("127.0.0.1", **{"tls-server-name": "localhost"}).local


def cluster(**more: Any) -> Cluster:
    return Cluster(**{"kind": "remote", "name": "", "local": False, "reason": "it is elsewhere", "context": "prod",
                      "server": "https://8.8.8.8", **more})


def test_a_remote_cluster_is_refused_with_the_way_to_allow_it() -> None:
    with pytest.raises(UsageError) as caught:
        guard(cluster(), command="dev", named_in_config=False, named_by_flag=False)
    assert all(word in caught.value.message for word in ("devloop dev", "'prod'", "https://8.8.8.8", "it is elsewhere"))
    assert "devloop dev --kube-context prod" in caught.value.hint
    assert "deploy: {kubeContext: prod}" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_cluster_is_allowed_where_it_is_local_or_named_or_around_us() -> None:
    def reason(found: Cluster, *, config: bool = False, flag: bool = False) -> str:
        return guard(found, command="dev", named_in_config=config, named_by_flag=flag)

    assert reason(cluster(kind="kind", local=True, reason="a local kind cluster")) == "a local kind cluster"
    assert reason(cluster(kind="in-cluster", reason="devloop runs in this cluster")) == "devloop runs in this cluster"
    assert "devloop.yaml" in reason(cluster(), config=True)
    assert "--kube-context" in reason(cluster(), flag=True)
