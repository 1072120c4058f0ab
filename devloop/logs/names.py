"""What the tailed containers are called: as short as can be while no two are called the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from devloop.model import Object
from devloop.pods import Container, containers, finished, terminating


@dataclass(frozen=True)
class Source:
    """Which container, and what its lines are called (`workload`, `label`), which may change when other pods come and go."""

    namespace: str
    pod: str
    container: str
    workload: str
    label: str


def all_containers(pod: Object) -> Iterator[Container]:
    """Init, main and ephemeral ones."""
    yield from containers(pod)
    known = {s["name"]: s for s in (pod.get("status") or {}).get("ephemeralContainerStatuses") or ()}
    for container in (pod.get("spec") or {}).get("ephemeralContainers") or ():
        yield Container(container["name"], "main", container, known.get(container["name"], {}))


def sources(pods: Mapping[str, Object]) -> dict[tuple[str, str], Source]:
    """By pod uid and container name.

    ``web``: the only container of Deployment web's only pod; ``web/proxy``: one of several, or an init container; ``web-x7k2p``:
    one of several replicas; ``web old``: a pod that a newer one is replacing.
    """
    groups: dict[tuple[str, str], list[Object]] = defaultdict(list)
    for pod in pods.values():
        groups[pod["metadata"]["namespace"], workload(pod)].append(pod)
    names = Counter(name.partition("/")[2] for _, name in groups)
    found = {}
    for (namespace, name), members in groups.items():
        short = name.partition("/")[2]
        base = short if names[short] == 1 else f"{namespace}/{name}"
        for pod, pod_label in _labels(base, members):
            only = len(pod["spec"]["containers"]) == 1
            for container in all_containers(pod):
                plain = only and container.name == pod["spec"]["containers"][0]["name"]
                found[pod["metadata"]["uid"], container.name] = Source(
                    namespace, pod["metadata"]["name"], container.name, name, pod_label if plain else f"{pod_label}/{container.name}")
    return found


def workload(pod: Object) -> str:
    """What made the pod, as kubectl names it: ``deployment/web``; ``pod/NAME`` where nothing did."""
    meta = pod["metadata"]
    owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if owner is None:
        return f"pod/{meta['name']}"
    template = (meta.get("labels") or {}).get("pod-template-hash")
    if owner["kind"] == "ReplicaSet" and template:
        return f"deployment/{owner['name'].removesuffix('-' + template)}"
    return f"{owner['kind'].lower()}/{owner['name']}"


def _labels(base: str, members: list[Object]) -> Iterable[tuple[Object, str]]:
    """Each pod of one workload with its name."""
    newest = max(members, key=lambda pod: (not terminating(pod), pod["metadata"].get("creationTimestamp") or ""))
    current = [p for p in members if p is newest or (_revision(p) == _revision(newest) and not terminating(p))]
    running = [p for p in current if not finished(p)]
    for pod in members:
        if pod not in current:
            yield pod, f"{base} old"
        elif len(current) > 1 and (pod not in running or len(running) > 1):
            yield pod, f"{base}-{pod['metadata']['name'].rpartition('-')[2]}"
        else:
            yield pod, base


def _revision(pod: Object) -> str:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("pod-template-hash") or labels.get("controller-revision-hash") or ""
