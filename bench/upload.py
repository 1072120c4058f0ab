"""devloop's upload through the cluster's API beside ``docker push``, to the same registry, in one run: a whole image, and a small change.

    KUBECONFIG=... python bench/upload.py [--rounds 3] [--megabytes 300]

The registry is minikube's addon as the tests deploy it. ``docker push`` goes to the node's port 5000, as on the node itself: the shortest
way there is. It compresses; devloop does not, and reads the whole image from the Engine (which writes it all to its disk first).
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
from pathlib import Path

import docker

sys.path.insert(0, str(Path(__file__).parents[1]))
from devloop.cancel import Cancel
from devloop.clients.docker import DockerEngine
from devloop.clients.kube import Kube
from devloop.model import BuiltImage, ImageRef
from devloop.publish.addon import RegistryAddonPublisher
from tests.cluster import addon

NAME = "devloop-bench"


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
    found: dict[str, dict[str, list[float]]] = {what: {"docker push": [], "devloop": []} for what in ("a whole image", "a change of 1 MB")}
    made: list[ImageRef] = []
    with closing(docker.APIClient(version="auto", timeout=600)) as api, addon.deployed(kube, api):
        publisher = RegistryAddonPublisher(engine, kube)

        def uploaded(ref: ImageRef) -> None:
            publisher.publish(BuiltImage(NAME, ref, engine.image_id(ref) or ""), lambda _: None, Cancel())

        ways: dict[str, Callable[[ImageRef], None]] = {"docker push": lambda ref: pushed(api, ref), "devloop": uploaded}
        try:
            for way in ways.values():      # connections made, the base image there
                made.append(build(api, "busybox:1.36", "true"))
                way(made[-1])
            for _ in range(options.rounds):
                for tool, way in ways.items():
                    base = build(api, "busybox:1.36", whole)
                    changed = build(api, str(base), change)
                    made += [base, changed]
                    found["a whole image"][tool].append(timed(lambda base=base, way=way: way(base)))
                    found["a change of 1 MB"][tool].append(timed(lambda changed=changed, way=way: way(changed)))
        finally:
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
        theirs, ours = tools["docker push"], tools["devloop"]
        rate = f" ({megabytes / theirs:.0f} and {megabytes / ours:.0f} MB/s)" if what == "a whole image" else ""
        sys.stdout.write(f"{what}: docker push {theirs:.2f} s, devloop {ours:.2f} s{rate}, ratio {ours / theirs:.2f}\n")


if __name__ == "__main__":
    main()
