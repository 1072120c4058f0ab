"""From a save to the new page being served: the example on the cluster and on the Docker Engine alone, a save of each in turn.

    KUBECONFIG=... python bench/served.py [--rounds 9]

Both sessions are ``devloop dev``; a save changes one file of the image, so each round is a whole build, deploy and rollout. The page is
asked for through devloop's forward, as a browser that reloads does.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from project import Project

TARGETS: dict[str, tuple[str, ...]] = {"on the cluster": (), "on the Docker Engine": ("--local",)}
PATIENCE = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def served(project: Project) -> float:
    """Seconds from the save to the page that has it."""
    token = secrets.token_hex(8)
    begun = time.perf_counter()
    project.write("web/www/index.html", f"<h1>{token}</h1>\n")
    while token not in project.page():
        if time.perf_counter() - begun > PATIENCE:
            raise SystemExit(f"not served within {PATIENCE:.0f} s")
        time.sleep(0.005)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    found: dict[str, list[float]] = {target: [] for target in TARGETS}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = {}
        for number, (target, flags) in enumerate(TARGETS.items()):
            name = f"bench-{secrets.token_hex(4)}"
            project = Project.create(directory / f"{number}", name, os.environ["KUBECONFIG"], name, free_port())
            session = stack.enter_context(project.start("dev", *flags))
            session.live(1)
            session.port("service/hello")
            running[target] = project, session
        for _ in range(options.rounds):
            for target, (project, session) in running.items():
                found[target].append(served(project))
                session.settled()
        for _, session in running.values():
            session.interrupt()
            session.ended()
    report({target: statistics.median(seconds) for target, seconds in found.items()}, as_json=options.json)


def report(medians: dict[str, float], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(medians) + "\n")
        return
    cluster, engine = medians.values()
    sys.stdout.write(f"save to served: {cluster:.2f} s on the cluster, {engine:.2f} s on the Docker Engine, ratio {engine / cluster:.2f}\n")


if __name__ == "__main__":
    main()
