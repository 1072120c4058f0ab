"""A build of the example in the cluster after a one-line change, pushed: devloop with a warm pod and with a cold one, beside the plain
sequence that one would write by hand (create a pod, wait for it, copy the context, let it run, wait for its end), in one run.

    KUBECONFIG=... python bench/kaniko.py [--rounds 5] [--image devloop-test-kaniko:1]

The executor is the tests' stand-in, or the one that --image names; the cluster's node must have it. The registry is a real one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import docker

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from devloop.build.builder import BuildJob
from devloop.build.kaniko.builder import KanikoBuilder
from devloop.build.kaniko.logins import OwnLogins
from devloop.build.kaniko.registry import Target
from devloop.cancel import Cancel
from devloop.clients.docker_config import DockerConfig
from devloop.clients.kube import Kube
from devloop.config.models import Artifact, Kaniko, Registry
from devloop.context import DigestCache, analyse
from devloop.model import ImageRef
from devloop.pods import Pods
from tests.cluster.kaniko import pods_registry

EXAMPLE = Path(__file__).parents[1] / "examples" / "hello" / "web"


def save(context: Path) -> None:
    with (context / "www" / "index.html").open("a") as page:
        page.write(f"<!-- {secrets.token_hex(8)} -->\n")


class Devloop:
    """Its builder, with a warm pod or with a new one each time."""

    def __init__(self, kube: Kube, namespace: str, image: str, registry: str, context: Path, *, warm: bool) -> None:
        self._pods = Pods(kube, lambda _: None)
        where, environ = Registry(repository=registry, insecure=True), dict(os.environ)
        logins = OwnLogins(DockerConfig.load({"HOME": str(context)}), environ, where)
        kaniko = Kaniko.model_validate({"image": image, "cache": {"enabled": False}})
        self._builder = KanikoBuilder(kube, self._pods, kaniko, Target(where, logins.published, environ), logins, project="bench",
                                      namespace=namespace, warm=warm)
        self._cache, self._context = DigestCache(), context

    def build(self) -> None:
        artifact = Artifact(image="hello-web")
        job = BuildJob(artifact, analyse(artifact, self._context, self._cache), ImageRef("hello-web", secrets.token_hex(8)), {})
        assert self._builder.build(job, lambda _: None, Cancel()).ref.digest

    def close(self) -> None:
        self._builder.close()
        self._pods.close()


class Plain:
    """kubectl: apply, wait, exec tar, wait; the digest is the termination message."""

    def __init__(self, namespace: str, image: str, registry: str, context: Path) -> None:
        self._namespace, self._image, self._registry, self._context = namespace, image, registry, context

    def build(self) -> None:
        name = f"plain-{secrets.token_hex(4)}"
        mounts = [{"name": "context", "mountPath": "/kaniko/buildcontext"}]
        args = ["--context=dir:///kaniko/buildcontext", f"--destination={self._registry}/hello-web:{name}", "--insecure",
                f"--insecure-registry={self._registry.partition('/')[0]}", "--digest-file=/dev/termination-log"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "volumes": [{"name": "context", "emptyDir": {}}],
            "initContainers": [{"name": "copy", "image": "busybox:1.36", "volumeMounts": mounts,
                                "command": ["sh", "-c", "until [ -e /tmp/complete ]; do sleep 1; done"]}],
            "containers": [{"name": "kaniko", "image": self._image, "imagePullPolicy": "IfNotPresent", "args": args,
                            "volumeMounts": mounts}]}}
        self._kubectl("apply", "-f", "-", given=json.dumps(pod).encode())
        while not self._kubectl("get", "pod", name, "-o", "jsonpath={.status.initContainerStatuses[0].state.running}"):
            time.sleep(0.2)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            tar.add(self._context, ".")
        self._kubectl("exec", "-i", name, "-c", "copy", "--", "sh", "-c", "tar -xzf - -C /kaniko/buildcontext && touch /tmp/complete",
                      given=packed.getvalue())
        while (phase := self._kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}")) not in (b"Succeeded", b"Failed"):
            time.sleep(0.2)
        assert phase == b"Succeeded", self._kubectl("logs", name)
        digest = self._kubectl("get", "pod", name, "-o", "jsonpath={.status.containerStatuses[0].state.terminated.message}")
        assert digest.startswith(b"sha256:")
        self._kubectl("delete", "pod", name, "--wait=false")

    def _kubectl(self, *arguments: str, given: bytes = b"") -> bytes:
        return subprocess.run(["kubectl", "-n", self._namespace, *arguments], input=given, capture_output=True, check=True).stdout


def timed(context: Path, build: Callable[[], None]) -> float:
    save(context)
    begun = time.perf_counter()
    build()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", default=os.environ.get("DEVLOOP_TEST_KANIKO_IMAGE", "devloop-test-kaniko:1"))
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    namespace = f"devloop-bench-{secrets.token_hex(4)}"
    found: dict[str, list[float]] = {"warm": [], "cold": [], "plain": []}
    with closing(Kube(kubeconfig=os.environ.get("KUBECONFIG", ""))) as kube, closing(docker.APIClient(version="auto")) as api, \
            tempfile.TemporaryDirectory() as directory, pods_registry(api, Path(directory) / "registry") as address:
        kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})
        try:
            context = Path(directory) / "web"
            shutil.copytree(EXAMPLE, context)
            dockerfile = context / "Dockerfile"
            dockerfile.write_text(dockerfile.read_text().replace("FROM busybox", f"FROM {address}/busybox"))
            plain = Plain(namespace, options.image, f"{address}/bench", context)
            warm, cold = (Devloop(kube, namespace, options.image, f"{address}/bench", context, warm=keep) for keep in (True, False))
            with closing(warm), closing(cold):
                warm.build()
                for _ in range(options.rounds):
                    for name, build in (("warm", warm.build), ("cold", cold.build), ("plain", plain.build)):
                        found[name].append(timed(context, build))
        finally:
            kube.request("DELETE", f"/api/v1/namespaces/{namespace}")
    report(found, as_json=options.json)


def report(found: dict[str, list[float]], *, as_json: bool) -> None:
    medians = {name: statistics.median(values) for name, values in found.items()}
    if as_json:
        sys.stdout.write(json.dumps(medians) + "\n")
        return
    plain, cold, warm = medians["plain"], medians["cold"], medians["warm"]
    sys.stdout.write(f"build and push after a one-line change: plain sequence {plain:.2f} s; devloop cold {cold:.2f} s (ratio "
                     f"{cold / plain:.2f}), warm {warm:.2f} s (ratio {warm / plain:.2f}, to cold {warm / cold:.2f})\n")


if __name__ == "__main__":
    main()
