"""What ``fieldRef`` and ``resourceFieldRef`` name of a pod."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from devloop.local.quantities import quantity
from devloop.model import Object

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


@dataclass(frozen=True)
class Facts:
    """What is known of a pod only where it runs. `capacity`: the machine's processors and bytes of memory."""

    ip: str
    host_ip: str
    capacity: Callable[[], tuple[int, int]]


def field(pod: Object, path: str, facts: Facts) -> str:
    """The value of a ``fieldPath``. Raises ValueError, in the kubelet's words, for one that pods do not have."""
    meta, spec = pod["metadata"], pod["spec"]
    if keyed := _KEYED.fullmatch(path):
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(meta.get(path.partition(".")[2], ""))
        case "metadata.labels" | "metadata.annotations":
            values = meta.get(path.partition(".")[2]) or {}
            return "\n".join(f"{key}={json.dumps(str(value), ensure_ascii=False)}" for key, value in sorted(values.items()))
        case "spec.nodeName":
            return str(spec.get("nodeName", ""))
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", "default"))
        case "status.hostIP" | "status.hostIPs":
            return facts.host_ip
        case "status.podIP" | "status.podIPs":
            return facts.ip
    raise ValueError(f"unsupported fieldPath: {path}")


def needs_address(container: Object) -> bool:
    """Whether the container's environment has the pod's address, which only its sandbox knows."""
    return any((((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath") or "").startswith("status.podIP")
               for entry in container.get("env") or ())


def resource_field(pod: Object, reference: Object, container: Object, facts: Facts) -> str:
    """The value of a ``resourceFieldRef``: of the container it names, else of `container`. What has no limit has the machine's."""
    named = reference.get("containerName")
    spec = pod["spec"]
    of = next((c for c in (*spec["containers"], *(spec.get("initContainers") or ())) if c["name"] == named), container)
    resource = reference["resource"]
    kind, _, what = resource.partition(".")
    amounts = (of.get("resources") or {}).get(kind) or {}
    if what not in ("cpu", "memory") and what not in amounts and kind in ("limits", "requests"):
        return "0"
    if kind not in ("limits", "requests"):
        raise ValueError(f"unsupported container resource : {resource}")
    if what in amounts:
        amount = quantity(amounts[what])
    elif kind == "requests":
        amount = quantity(((of.get("resources") or {}).get("limits") or {}).get(what, 0))
    else:
        amount = quantity(facts.capacity()[0 if what == "cpu" else 1])
    divisor = quantity(reference.get("divisor") or 1) or quantity(1)
    return str(math.ceil(amount / divisor))
