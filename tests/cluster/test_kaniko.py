"""Builds in real pods, pushed to a real registry, by an executor's image that stands in for Kaniko's (or by Kaniko's own)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from harness import PATIENCE
from project import eventually

from devloop.build.builder import BuildJob
from devloop.build.kaniko.agent import HOME, KEEPER
from devloop.build.kaniko.builder import KanikoBuilder
from devloop.build.kaniko.logins import OwnLogins
from devloop.build.kaniko.pod import SLACK, WARM
from devloop.build.kaniko.registry import Target
from devloop.cancel import Cancel
from devloop.clients.docker_config import DockerConfig
from devloop.clients.kube import Kube
from devloop.clients.registry import Registry as RegistryClient
from devloop.config.models import Artifact, Kaniko, Registry
from devloop.context import DigestCache, analyse
from devloop.errors import BuildError, Cancelled
from devloop.events import Event, StepOutput, StepProgress
from devloop.model import BuiltImage, ImageRef, Object
from devloop.pods import Pods
from devloop.publish.pushed import PushedPublisher
from tests.cluster.cut import CuttableProxy
from tests.cluster.kaniko import node_address, pods_registry
from tests.cluster.registries import PASSWORD, USER, certificate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def reachable(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """A registry's address, for pods and for us, with busybox:1.36 in it."""
    with closing(docker.APIClient(version="auto")) as api, pods_registry(api, tmp_path_factory.mktemp("registry")) as address:
        yield address


class Builds:
    """A builder as a session has it, and the context that it builds."""

    def __init__(self, kube: Kube, namespace: str, path: Path, registry: Registry, kaniko: dict[str, Any], *, warm: bool,
                 environ: dict[str, str]) -> None:
        self.kube, self.namespace, self.path = kube, namespace, path
        self.events: list[Event] = []
        self._more = threading.Condition()
        self.pods = Pods(kube, self._hear)
        logins = OwnLogins(DockerConfig.load(environ), environ, registry)
        self.builder = KanikoBuilder(kube, self.pods, Kaniko.model_validate(kaniko), Target(registry, logins.published, environ), logins,
                                     project="test", namespace=namespace, warm=warm)

    def close(self) -> None:
        self.builder.close()
        self.pods.close()

    def job(self, dockerfile: str, /, tag: str = "", **docker_options: Any) -> BuildJob:
        (self.path / "Dockerfile").write_text(dockerfile)
        artifact = Artifact.model_validate({"image": "acme/web", "docker": docker_options})
        context = analyse(artifact, self.path, DigestCache())
        return BuildJob(artifact, context, ImageRef("acme/web", tag or secrets.token_hex(8)), artifact.docker.build_args)

    def build(self, dockerfile: str, /, tag: str = "", cancel: Cancel | None = None, **docker_options: Any) -> BuiltImage:
        return self.builder.build(self.job(dockerfile, tag, **docker_options), self._hear, cancel or Cancel())

    def refused(self, dockerfile: str, /, **docker_options: Any) -> BuildError:
        with pytest.raises(BuildError) as caught:
            self.build(dockerfile, **docker_options)
        return caught.value

    @property
    def lines(self) -> list[str]:
        return [event.line for event in self.events if isinstance(event, StepOutput)]

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> None:
        """Until a line of output matches."""
        with self._more:
            assert self._more.wait_for(lambda: any(re.search(pattern, line) for line in self.lines), timeout), self.lines

    def sent(self) -> tuple[int, int, int]:
        """Of the last context: files, of how many, and bytes."""
        last = [line for line in self.lines if line.startswith("context: ")][-1]
        found = re.fullmatch(r"context: (\d+) of (\d+) files sent, ([\d.]+) (B|kB|MB)", last)
        assert found
        return int(found[1]), int(found[2]), int(float(found[3]) * {"B": 1, "kB": 1000, "MB": 1000000}[found[4]])

    def there(self) -> list[Object]:
        """The build pods that nobody has told to end."""
        items = self.kube.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector="devloop.dev/builder")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def kept(self) -> list[Object]:
        """Those of them whose Job is there: when it has gone, it may take a while until the garbage collector tells its pod to end."""
        jobs = self.kube.get(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", labelSelector="devloop.dev/builder")["items"]
        names = {job["metadata"]["name"] for job in jobs}
        return [pod for pod in self.there() if pod["metadata"]["labels"]["job-name"] in names]

    def _hear(self, event: Event) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()


Start = Callable[..., Builds]


@pytest.fixture
def start(kube: Kube, namespace: str, tmp_path: Path, reachable: str, kaniko_image: str) -> Iterator[Start]:
    """A builder, with a context of two files; keywords are build.kaniko's keys."""
    started: list[Builds] = []

    def start(*, warm: bool = False, registry: str = "", insecure: bool = True, through: Kube | None = None, **kaniko: Any) -> Builds:
        path = tmp_path / f"context-{len(started)}"
        path.mkdir()
        (path / "small").write_text("one\n")
        (path / "big").write_bytes(os.urandom(300_000))
        target = Registry(repository=registry or f"{reachable}/{namespace}", pull_repository="nodes.example:5000", insecure=insecure)
        started.append(Builds(through or kube, namespace, path, target,
                              {"image": kaniko_image, "insecureRegistries": [reachable], "cache": {"enabled": False}, **kaniko}, warm=warm,
                              environ={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def base(reachable: str) -> str:
    """The first line of a Dockerfile."""
    return f"FROM {reachable}/busybox:1.36\n"


def in_registry(image: BuiltImage) -> Any:
    """The config of the image that the registry has under that digest."""
    with closing(RegistryClient(image.ref.registry, {}, insecure=True)) as client:
        path = image.ref.repository.partition("/")[2]
        assert client.digest(path, image.ref.tag, Cancel()) == image.ref.digest
        stored = client.manifest(path, image.ref.digest, Cancel())
        assert stored
        return json.loads(client.request("GET", f"/v2/{path}/blobs/{stored.config}", Cancel()).body)


# --- what is built


def test_what_is_built_is_pushed_and_found_again(start: Start, base: str, reachable: str, namespace: str) -> None:
    builds = start()
    dockerfile = (base.replace("\n", " AS web\n") + 'ARG WHO\nRUN echo "hello $WHO" && cat /small; true\nCOPY small /small\n'
                  "FROM web AS late\nRUN exit 1\n")
    image = builds.build(dockerfile, "v1", target="web", buildArgs={"WHO": "you 'there'"}, labels={"team": "a b"})

    assert str(image.ref).startswith(f"{reachable}/{namespace}/acme/web:v1@sha256:")
    config = in_registry(image)["config"]
    assert config["Labels"]["team"] == "a b"
    assert "hello you 'there'" in builds.lines
    assert "Step 3/6 : RUN echo \"hello $WHO\" && cat /small; true" in builds.lines
    steps = [event for event in builds.events if isinstance(event, StepProgress) and event.unit == "steps"]
    assert [(step.current, step.total) for step in steps][:4] == [(n, 6) for n in range(1, 5)]
    assert not [line for line in builds.lines if "\x1b" in line or "level" in line or "time=" in line]
    assert builds.builder.find(ImageRef("acme/web", "v1"), "v1") == (image.ref, "")
    assert builds.builder.find(ImageRef("acme/web", "v2"), "v2") is None
    publisher = PushedPublisher(Registry(repository=f"{reachable}/{namespace}", pull_repository="nodes.example:5000"), "")
    assert publisher.publish(image, lambda _: None, Cancel()).ref == \
        ImageRef("nodes.example:5000/acme/web", "v1", image.ref.digest)

    eventually(lambda: not builds.there())
    another = start()
    assert another.builder.find(ImageRef("acme/web", "v1"), "v1") == (image.ref, "")      # in the registry
    assert not another.there()


def test_a_warm_pod_gets_only_what_changed_and_keeps_nothing_of_the_last_build(start: Start, base: str) -> None:
    builds = start(warm=True)
    builds.build(base + "RUN mkdir /left && echo x > /left/x && echo x >> /etc/passwd; rm -rf /workspace\nCOPY . /app\n")
    first = builds.there()
    assert builds.sent() == (builds.sent()[0], builds.sent()[0], builds.sent()[2])
    assert builds.sent()[2] > 300_000

    (builds.path / "small").write_text("two\n")
    same = base + "RUN mkdir /left && echo x > /left/x && echo x >> /etc/passwd; rm -rf /workspace\nCOPY . /app\n"
    builds.build(same)
    files, of, sent = builds.sent()
    assert (files, of > files) == (1, True)
    assert sent < 1000
    (builds.path / "big").unlink()
    builds.build(base + "COPY . /app\nRUN ls /left; ls /app; cat /app/small; grep -c x$ /etc/passwd; true\n")

    assert "ls: /left: No such file or directory" in builds.lines
    assert builds.lines[builds.lines.index("small"):][:3] == ["small", "two", "0"]
    assert [pod["metadata"]["uid"] for pod in builds.there()] == [pod["metadata"]["uid"] for pod in first]


def test_odd_names_links_and_modes_arrive(start: Start, base: str) -> None:
    builds = start(warm=True)
    odd = builds.path / "odd"
    odd.mkdir()
    for name in ("two words", "new\nline", "quote'", "-rf", "ünï", "*"):
        (odd / name).write_text(name)
    (odd / os.fsdecode(b"\xff")).write_text("no text")
    (odd / "empty").mkdir(mode=0o700)
    (odd / "run").write_text("#!/bin/sh\necho it runs\n")
    (odd / "run").chmod(0o755)
    (odd / "link to run").symlink_to("run")
    (odd / "dangling").symlink_to("/no'where")
    look = "RUN '/odd/link to run' && stat -c '%a %N' /odd/empty /odd/dangling && ls /odd | wc -l\n"
    builds.build(base + "COPY odd /odd\n" + look)
    assert builds.lines[builds.lines.index("it runs"):][:3] == ["it runs", "700 /odd/empty", "777 '/odd/dangling' -> '/no'where'"]

    (odd / "*").unlink()
    (odd / "-rf").rename(odd / "--help")
    (odd / "empty").chmod(0o755)
    builds.build(base + "COPY odd /odd\n" + look)
    assert builds.sent()[0] == 1
    assert "755 /odd/empty" in builds.lines


@pytest.mark.parametrize(("files", "dockerfile", "expected"), [
    ({".dockerignore": "Dockerfile\n"}, "", ".dockerignore big small"),
    ({}, "../Elsewhere", "Dockerfile big small"),
    ({".dockerignore": "small\n", "Dockerfile.dockerignore": "Dockerfile.dockerignore\n"}, "", ".dockerignore Dockerfile big small"),
], ids=["ignored", "elsewhere", "its own rules"])
def test_the_image_has_the_contexts_files_and_no_others(start: Start, base: str, files: dict[str, str], dockerfile: str,
                                                         expected: str) -> None:
    builds = start()
    text = base + "COPY <<EOF /more\nmore\nEOF\nCOPY . /app\nRUN --mount=type=cache,target=/cache echo has: $(ls -A /app)\n"
    for name, content in files.items():
        (builds.path / name).write_text(content)
    (builds.path / "../Elsewhere").write_text(text)
    builds.build(text, dockerfile=dockerfile)

    assert f"has: {expected}" in builds.lines


def test_after_a_failed_build_the_warm_pod_is_as_new(start: Start, base: str) -> None:
    builds = start(warm=True)
    error = builds.refused(base + "COPY small /\nRUN echo bad > /bad; (sleep 1000 &); echo 'no luck' >&2; exit 7\n")
    assert error.message.endswith("Dockerfile:3: RUN echo bad > /bad; (sleep 1000 &); echo 'no luck' >&2; exit 7 ended with exit code 7")
    assert error.details == ("no luck",)

    before = builds.there()
    builds.build(base + "RUN ls /bad /small; ps\n")
    assert {"ls: /bad: No such file or directory", "ls: /small: No such file or directory"} <= set(builds.lines)
    assert not [line for line in builds.lines if "sleep 1000" in line and not line.startswith("Step") and "cmd" not in line]
    assert [pod["metadata"]["uid"] for pod in builds.there()] == [pod["metadata"]["uid"] for pod in before]


def test_layers_come_from_the_cache_repository(start: Start, base: str, reachable: str, namespace: str) -> None:
    cache = {"enabled": True, "repository": f"{reachable}/{namespace}/layers", "copyLayers": True}
    for _ in range(2):
        start(cache=cache).build(base + "RUN echo made > /made\nCOPY small /small\n")
    builds = start(cache=cache)
    builds.build(base + "RUN echo made > /made\nCOPY small /small\n")
    assert "Using caching version of cmd: RUN echo made > /made" in builds.lines


def test_the_executors_environment_and_the_proxies_for_run(start: Start, base: str) -> None:
    builds = start(env={"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "172.16.0.0/12", "SECRET": "s3cret"})
    builds.build(base + "RUN echo \"proxy=$HTTP_PROXY no=$NO_PROXY secret=$SECRET\"\n")
    assert "proxy=http://proxy.example:3128 no=172.16.0.0/12 secret=" in builds.lines


# --- what fails


@pytest.mark.parametrize(("kaniko", "cause", "hint"), [
    ({"nodeSelector": {"pool": "none"}}, "gets no node: 0/1 nodes are available", "build.kaniko.nodeSelector"),
    ({"resources": {"requests": {"memory": "4000Gi"}}}, "Insufficient memory", "build.kaniko.resources.requests.memory"),
    ({"image": "127.0.0.1:9/kaniko:1"}, "image '127.0.0.1:9/kaniko:1' cannot be pulled", "build.kaniko.image"),
    ({"helperImage": "127.0.0.1:9/busybox:1"}, "image '127.0.0.1:9/busybox:1' cannot be pulled", "build.kaniko.helperImage"),
    ({"dockerConfigSecret": "nowhere"}, "Secret 'nowhere' does not exist", "kubectl create secret docker-registry nowhere"),
    ({"certificates": "nowhere"}, "ConfigMap 'nowhere' does not exist", "build.kaniko.certificates"),
    ({"serviceAccount": "nobody"}, "nobody", "build.kaniko.serviceAccount"),
])
def test_a_pod_that_cannot_start_is_told_by_cause(start: Start, base: str, kaniko: dict[str, Any], cause: str, hint: str) -> None:
    builds = start(**kaniko)
    error = builds.refused(base)

    assert error.message.startswith("acme/web: ")
    assert cause in error.message
    assert hint in error.hint
    eventually(lambda: not builds.there())


@pytest.mark.parametrize(("content", "cause"), [
    ({"password": "x"}, "Secret 'mine' in namespace {} is not of type kubernetes.io/dockerconfigjson"),
    ({".dockerconfigjson": "x{"}, "the logins that the executor was given cannot be read: "),
], ids=["another type", "no JSON"])
def test_a_secret_that_has_no_logins_is_told_by_cause(start: Start, base: str, kube: Kube, namespace: str, content: dict[str, str],
                                                      cause: str) -> None:
    kube.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body={"metadata": {"name": "mine"}, "stringData": content})
    error = start(dockerConfigSecret="mine").refused(base)

    assert cause.format(namespace) in error.message
    assert "kubectl create secret docker-registry mine" in error.hint


def test_a_namespace_that_is_not_there_is_told_so(start: Start, base: str) -> None:
    error = start(namespace="nowhere").refused(base)

    assert error.message == "acme/web: there is no namespace 'nowhere' to build in"
    assert error.hint == "build.kaniko.namespace names it. Make it: kubectl create namespace nowhere"


@pytest.mark.parametrize("may_patch", [True, False])
def test_the_rights_that_the_document_names_are_enough(start: Start, base: str, kube: Kube, namespace: str, powerless: str, may_patch: bool
                                                       ) -> None:
    text = (Path(__file__).parents[2] / "docs" / "kaniko.md").read_text()
    role = yaml.safe_load(next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "kind: Role" in block))
    for rule in role["rules"] if not may_patch else ():
        rule["verbs"] = [verb for verb in rule["verbs"] if verb != "patch"]
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    kube.request("POST", f"{rbac}/roles", body=role)
    kube.request("POST", f"{rbac}/rolebindings", body={
        "metadata": {"name": "builds"}, "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]}})
    with closing(Kube(kubeconfig=powerless)) as limited:
        builds = start(through=limited, warm=True, timeout="5m")
        builds.build(base + "COPY small /\n")
        job, = kube.get(f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"]
        assert job["spec"]["activeDeadlineSeconds"] == (WARM if may_patch else 5 * 60 + SLACK)
        builds.close()


def test_a_quota_is_told_by_cause(start: Start, base: str, kube: Kube, namespace: str) -> None:
    quotas = f"/api/v1/namespaces/{namespace}/resourcequotas"
    kube.request("POST", quotas, body={"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}})
    eventually(lambda: kube.get(f"{quotas}/none").get("status", {}).get("used"))      # until its controller has counted, it limits nothing
    error = start().refused(base)

    assert "exceeded quota" in error.message
    assert "kubectl describe resourcequota" in error.hint


def test_a_build_that_needs_too_much_memory_is_told_so(start: Start, base: str) -> None:
    builds = start(resources={"limits": {"memory": "100Mi"}})
    error = builds.refused(base + "RUN tail -c 400m /dev/zero\n")

    assert "OOMKilled" in error.message
    assert "100Mi" in error.message
    assert "build.kaniko.resources.limits.memory" in error.hint


def test_a_pod_that_its_node_evicts_is_told_so(start: Start, base: str) -> None:
    builds = start(resources={"limits": {"ephemeral-storage": "5Mi"}}, timeout="5m")      # a kubelet looks at disks every minute or so
    error = builds.refused(base + "RUN dd if=/dev/zero of=/much bs=1M count=40; sleep 1000\n")

    assert "was ended by its node (Evicted)" in error.message
    assert "ephemeral-storage" in error.hint


def keeper(pod: Object) -> str:
    """The id that the first process of a build pod has on this machine, which is its node."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):      # it has ended meanwhile
            environ, command = ((process / name).read_bytes().split(b"\0") for name in ("environ", "cmdline"))
            if f"HOSTNAME={pod['metadata']['name']}".encode() in environ and KEEPER.encode() in command:
                return process.name
    raise AssertionError(f"{pod['metadata']['name']} does not run here")


@pytest.mark.parametrize("place", ["in", "context"])
def test_a_warm_pod_whose_disk_is_full_is_replaced(start: Start, base: str, place: str) -> None:
    builds = start(warm=True)
    builds.build(base + "COPY small /\n")
    pod, = builds.there()
    mount = [f"{HOME}/busybox", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", f"{HOME}/{place}"]
    if subprocess.run(["nsenter", "-m", "-t", keeper(pod), *mount], capture_output=True, check=False).returncode:
        pytest.skip("missing: the right to mount")
    (builds.path / "big").write_bytes(os.urandom(400_000))
    builds.build(base + "COPY . /app\n")
    another, = builds.kept()
    assert another["metadata"]["uid"] != pod["metadata"]["uid"]
    eventually(lambda: len(builds.there()) == 1)


def test_a_build_that_takes_too_long_is_ended(start: Start, base: str) -> None:
    builds = start(timeout="60s")      # the pod's start is in it, which a busy machine takes its time for
    error = builds.refused(base + "RUN echo begun; sleep 1000\n")

    assert "RUN echo begun; sleep 1000 failed: it took longer than build.kaniko.timeout, 60s" in error.message
    eventually(lambda: not builds.there())


@pytest.mark.parametrize(("dockerfile", "cause", "hint"), [
    ("FROM {registry}/busybox:none\n", "Dockerfile:1: FROM {registry}/busybox:none failed: ", "Is there an image with this name and tag?"),
    ("FROM 127.0.0.1:9/busybox:1\n", "connection refused", "does not reach 127.0.0.1:9"),
])
def test_a_base_image_that_is_not_there(start: Start, reachable: str, dockerfile: str, cause: str, hint: str) -> None:
    error = start().refused(dockerfile.format(registry=reachable))

    assert cause.format(registry=reachable) in error.message
    assert hint in error.hint


def test_what_kaniko_cannot_do_is_refused_before_anything_starts(start: Start, base: str) -> None:
    builds = start()
    with pytest.raises(BuildError, match="network of the build's pod"):
        builds.builder.check(builds.job(base, network="host"))
    with pytest.raises(BuildError, match=r"build\.kaniko\.cache\.repository"):
        builds.builder.check(builds.job(base, cacheFrom=["x"]))


# --- logins


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory, kubeconfig: str) -> Iterator[str]:
    """As `reachable`, but who has no password gets nothing."""
    with closing(docker.APIClient(version="auto")) as api, \
            pods_registry(api, tmp_path_factory.mktemp("private"), passwords=True) as address:
        yield address


def logged_in(home: Path, address: str) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}, "other.example": {"auth": auth}}}))


def test_a_push_that_is_denied_is_told_so(start: Start, base: str, private: str) -> None:
    error = start(registry=f"{private}/acme").refused(base)

    assert f"Kaniko cannot push {private}/acme/acme/web to {private}" in error.message
    assert f"docker login {private}" in error.hint


def test_this_machines_login_reaches_the_executor_and_no_object(start: Start, private: str, tmp_path: Path, kube: Kube, namespace: str
                                                                ) -> None:
    logged_in(tmp_path, private)
    builds = start(registry=f"{private}/acme", fromDockerConfig=True, insecureRegistries=[private], warm=True)
    builds.build(f"FROM {private}/busybox:1.36\nRUN cat /kaniko/.docker/config.json\n")

    assert not [line for line in builds.lines if "other.example" in line]      # only what this build needs
    objects = json.dumps([kube.get(f"/{group}/namespaces/{namespace}/{kind}") for group, kind in (
        ("api/v1", "pods"), ("apis/batch/v1", "jobs"), ("api/v1", "secrets"), ("api/v1", "configmaps"), ("api/v1", "events"))])
    secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert secret not in objects
    assert base64.b64encode(secret.encode()).decode() not in objects
    assert PASSWORD not in objects


def test_a_secret_of_the_cluster_is_the_login(start: Start, private: str, kube: Kube, namespace: str) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    content = base64.b64encode(json.dumps({"auths": {private: {"auth": auth}}}).encode()).decode()
    kube.request("POST", f"/api/v1/namespaces/{namespace}/secrets", body={
        "metadata": {"name": "login"}, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": content}})
    builds = start(registry=f"{private}/acme", dockerConfigSecret="login", insecureRegistries=[private])

    assert builds.build(f"FROM {private}/busybox:1.36\nCOPY small /\n").ref.digest


def test_a_registry_with_its_own_authority_is_trusted_by_a_configmap(start: Start, base: str, kube: Kube, namespace: str, tmp_path: Path,
                                                                      docker_api: docker.APIClient) -> None:
    made = certificate(tmp_path / "tls", node_address(docker_api))
    with pods_registry(docker_api, tmp_path / "registry", tls=made) as address:
        error = start(registry=f"{address}/acme", insecure=False).refused(base)
        assert "x509" in error.message
        assert "build.kaniko.certificates" in error.hint

        kube.request("POST", f"/api/v1/namespaces/{namespace}/configmaps",
                     body={"metadata": {"name": "company-ca"}, "data": {"ca.crt": made[0].read_text()}})
        assert start(registry=f"{address}/acme", insecure=False, certificates="company-ca").build(base + "COPY small /\n").ref.digest


# --- what goes wrong on the way


def test_a_pod_that_is_deleted_is_replaced_without_a_word(start: Start, base: str, kube: Kube) -> None:
    builds = start(warm=True)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(builds.build, base + "RUN echo begun; sleep 10\nCOPY small /\n")      # longer than its node takes to end it
        builds.wait_for("^begun$")
        pod = builds.there()[0]["metadata"]
        kube.request("DELETE", f"/api/v1/namespaces/{builds.namespace}/pods/{pod['name']}")
        image = building.result()
    assert image.ref.digest
    another = builds.kept()[0]["metadata"]      # not the one that its Job may have made in its place before it was deleted, too
    assert another["uid"] != pod["uid"]

    pod = another      # and between two builds
    kube.request("DELETE", f"/api/v1/namespaces/{builds.namespace}/pods/{pod['name']}")
    assert builds.build(base + "COPY small /there\n").ref.digest


@contextmanager
def through(kubeconfig: str, home: Path, proxy: type[CuttableProxy]) -> Iterator[tuple[Kube, Any]]:
    """The cluster through a proxy of this class."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].rpartition("/")[2].partition(":")
    with proxy(host, int(port)) as opened:
        config["clusters"][0]["cluster"] |= {"server": f"https://127.0.0.1:{opened.port}", "tls-server-name": host}
        (home / "kubeconfig").write_text(yaml.safe_dump(config))
        kube = Kube(kubeconfig=str(home / "kubeconfig"))
        yield kube, opened
        kube.close()


class CutOnce(CuttableProxy):
    """Cuts everything in the middle of the upload, once."""

    def __init__(self, host: str, target: int) -> None:
        super().__init__(host, target)
        self.sent: Counter[Any] = Counter()      # by connection: asking whether a slow pod runs adds up to as much as an upload
        self.cuts = 0
        self._port = target

    def passing(self, data: bytes, sink: Any) -> None:
        if sink.getpeername()[1] != self._port:
            return
        self.sent[sink] += len(data)
        if self.sent[sink] >= 200_000 and not self.cuts:
            self.cuts += 1
            self.cut()


def test_an_upload_that_is_cut_is_sent_again_and_never_built_from(start: Start, base: str, kubeconfig: str, tmp_path: Path) -> None:
    with through(kubeconfig, tmp_path, CutOnce) as (kube, proxy):
        builds = start(through=kube)
        digest = hashlib.sha256((builds.path / "big").read_bytes()).hexdigest()
        builds.build(base + "COPY . /app\nRUN sha256sum /app/big\n")
        builds.close()
        assert proxy.cuts == 1
        assert max(proxy.sent.values()) > 300_000      # all of it, on one of its own
    assert f"{digest}  /app/big" in builds.lines


def test_two_build_in_one_namespace(start: Start, base: str) -> None:
    one, other = start(), start()
    (other.path / "small").write_text("another\n")
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda builds: builds.build(base + "COPY small /\nRUN cat /small\n"), (one, other)))
    assert images[0].ref.digest != images[1].ref.digest
    assert ("one" in one.lines, "another" in other.lines, "another" in one.lines) == (True, True, False)


def test_a_build_that_is_called_off_ends_at_once(start: Start, base: str, docker_processes: Callable[[], list[str]]) -> None:
    builds, cancel = start(warm=True), Cancel()
    mark = f"1{secrets.randbelow(10**8):08}"
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(builds.build, base + f"RUN echo begun; sleep {mark}\n", "", cancel)
        builds.wait_for("^begun$")
        cancel.cancel("a newer save")
        with pytest.raises(Cancelled):
            building.result(timeout=20)
    eventually(lambda: not [line for line in docker_processes() if mark in line])
    assert builds.build(base + "COPY small /\n").ref.digest      # in the same pod
    builds.close()
    eventually(lambda: not builds.there())
