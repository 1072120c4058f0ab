"""devloop's upload through the cluster's API beside ``docker push``, to the same registry, in one run: a whole image, a small change, and
what is there already.

    KUBECONFIG=... python bench/upload.py [--rounds 3] [--megabytes 300]

The registry is minikube's addon as the tests deploy it. ``docker push`` goes to the node's port 5000, as on the node itself: the shortest
way there is. By devloop the Engine pushes, too, but to devloop, and from there on it goes the long way; the third column is for Engines
elsewhere, such as Docker Desktop's: their export of the image is read, and sent as it is, while both pushes compress.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import statistics
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import docker

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.model import BuiltImage, ImageRef
from devloop.pods import ready
from devloop.publish.addon import RegistryAddonPublisher
from tests.cluster import addon

NAME = "devloop-bench"
TOOLS = ("docker push", "devloop", "devloop, exported")
WHAT = ("a whole image", "a change of 1 MB", "no change")


def build(api: docker.APIClient, base: str, run: str) -> ImageRef:
    ref = ImageRef(f"localhost:5000/{NAME}", secrets.token_hex(6))
    dockerfile = f"FROM {base}\nRUN {run}\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(dockerfile)
        tar.addfile(info, io.BytesIO(dockerfile))
    for message in api.build(fileobj=io.BytesIO(context.getvalue()), custom_context=True, tag=str(ref), rm=True, nocache=True, decode=True):
        if "error" in message:
            raise SystemExit(message["error"])
    return ref


def timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def pushed(api: docker.APIClient, ref: ImageRef) -> None:
    for message in api.push(ref.repository, ref.tag, stream=True, decode=True):
        if "error" in message:
            raise SystemExit(message["error"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    kube, engine = Kube(kubeconfig=os.environ.get("KUBECONFIG", "")), DockerEngine()
    whole, change = f"head -c {options.megabytes}000000 /dev/urandom > /big", "head -c 1000000 /dev/urandom > /app"
    found: dict[str, dict[str, list[float]]] = {what: {tool: [] for tool in TOOLS} for what in WHAT}
    made: list[ImageRef] = []
    with closing(docker.APIClient(version="auto", timeout=600)) as api, addon.deployed(kube, api):
        publishers = [RegistryAddonPublisher(engine, kube, near=near) for near in (True, False)]

        def uploaded(publisher: RegistryAddonPublisher, ref: ImageRef) -> None:
            publisher.publish(BuiltImage(NAME, ref, engine.image_id(ref) or ""), lambda _: None, Cancel())

        ways: dict[str, Callable[[ImageRef], None]] = dict(zip(TOOLS, (partial(pushed, api), *(partial(uploaded, p) for p in publishers)),
                                                               strict=True))
        try:
            while not all(ready(pod) for pod in addon.pods(kube)):
                time.sleep(0.1)
            for way in ways.values():      # connections made, the base image there
                made.append(build(api, "busybox:1.36", "true"))
                way(made[-1])
            for _ in range(options.rounds):
                for tool, way in ways.items():
                    base = build(api, "busybox:1.36", whole)
                    changed = build(api, str(base), change)
                    made += [base, changed]
                    for what, ref in zip(WHAT, (base, changed, changed), strict=True):
                        found[what][tool].append(timed(lambda ref=ref, way=way: way(ref)))
        finally:
            for publisher in publishers:
                publisher.close()
            for ref in reversed(made):
                api.remove_image(str(ref), force=True)
    engine.close()
    kube.close()
    report(found, options.megabytes, as_json=options.json)


def report(found: dict[str, dict[str, list[float]]], megabytes: int, *, as_json: bool) -> None:
    medians = {what: {tool: statistics.median(values) for tool, values in tools.items()} for what, tools in found.items()}
    if as_json:
        sys.stdout.write(json.dumps(medians) + "\n")
        return
    for what, tools in medians.items():
        theirs = tools["docker push"]
        shown = (f"{tool} {seconds:.2f} s" + (f" ({megabytes / seconds:.0f} MB/s)" if what == "a whole image" else "")
                 + (f", ratio {seconds / theirs:.2f}" if tool != "docker push" else "") for tool, seconds in tools.items())
        sys.stdout.write(f"{what}: {'; '.join(shown)}\n")


if __name__ == "__main__":
    main()
