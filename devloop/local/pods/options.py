"""A container of a pod as the Engine's ``POST /containers/create`` wants it. Nothing is done here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from devloop.local.pods.expansion import expand
from devloop.local.pods.references import Unmet
from devloop.local.pods.volumes import Mounts
from devloop.local.quantities import quantity
from devloop.model import Object

LEAST_SHARES = 2


def security(pod: Object, container: Object) -> Object:
    """The container's securityContext over the pod's."""
    return {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}


def create_options(pod: Object, container: Object, *, image: Object, environment: Mapping[str, str], mounts: Mounts, sandbox: str,
                   labels: Mapping[str, str]) -> Object:
    """`image`: as inspected; `sandbox`: the id of the pod's. Raises `Unmet` where it would run as root and may not."""
    context = security(pod, container)
    command = [expand(str(word), environment) for word in container.get("command") or ()]
    args = [expand(str(word), environment) for word in container.get("args") or ()]
    config: Object = {
        "Image": image["Id"], "Labels": dict(labels), "Env": [f"{name}={value}" for name, value in environment.items()],
        "Tty": bool(container.get("tty")), "OpenStdin": bool(container.get("stdin")), "StdinOnce": bool(container.get("stdinOnce")),
        "Healthcheck": {"Test": ["NONE"]},      # the pod's probes are what counts
        "HostConfig": _host(pod, container, context, mounts, sandbox),
    }
    if command:
        config["Entrypoint"] = command
    if args:
        config["Cmd"] = args
    if container.get("workingDir"):
        config["WorkingDir"] = container["workingDir"]
    if user := _user(pod, container, context, image):
        config["User"] = user
    return config


def _host(pod: Object, container: Object, context: Object, mounts: Mounts, sandbox: str) -> Object:
    spec = pod["spec"]
    host: Object = {"NetworkMode": f"container:{sandbox}", "IpcMode": f"container:{sandbox}", "Mounts": mounts.mounts,
                    "Binds": mounts.binds, "Privileged": bool(context.get("privileged")),
                    "ReadonlyRootfs": bool(context.get("readOnlyRootFilesystem"))}
    if spec.get("hostPID"):
        host["PidMode"] = "host"
    elif spec.get("shareProcessNamespace"):
        host["PidMode"] = f"container:{sandbox}"
    groups = [*(context.get("supplementalGroups") or ()), *([context["fsGroup"]] if "fsGroup" in context else ())]
    if groups:
        host["GroupAdd"] = [str(gid) for gid in groups]
    capabilities = context.get("capabilities") or {}
    if capabilities.get("add"):
        host["CapAdd"] = list(capabilities["add"])
    if capabilities.get("drop"):
        host["CapDrop"] = list(capabilities["drop"])
    if options := _security_options(context):
        host["SecurityOpt"] = options
    return host | _resources(container)


def _security_options(context: Object) -> list[str]:
    options = []
    if context.get("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges")
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        options.append("seccomp=unconfined")
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        options.append("apparmor=unconfined")
    labels = context.get("seLinuxOptions") or {}
    return options + [f"label={part}:{labels[part]}" for part in ("user", "role", "type", "level") if labels.get(part)]


def _resources(container: Object) -> dict[str, Any]:
    resources = container.get("resources") or {}
    limits = resources.get("limits") or {}
    requests = {**limits, **(resources.get("requests") or {})}
    result: dict[str, Any] = {}
    if "memory" in limits:
        result["Memory"] = result["MemorySwap"] = int(quantity(limits["memory"]))    # no swap on top of it
    if "cpu" in limits:
        result["NanoCpus"] = int(quantity(limits["cpu"]) * Decimal(10) ** 9)
    if "cpu" in requests:
        result["CpuShares"] = max(LEAST_SHARES, int(quantity(requests["cpu"]) * 1024))
    return result


def _user(pod: Object, container: Object, context: Object, image: Object) -> str:
    """``UID[:GID]``; empty for the image's own. Raises `Unmet`."""
    own = str((image.get("Config") or {}).get("User") or "")
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    if context.get("runAsNonRoot"):
        _not_root(pod, container, user, own.partition(":")[0])
    if group is None:
        return "" if user is None else str(user)
    return f"{own.partition(':')[0] or 0 if user is None else user}:{group}"


def _not_root(pod: Object, container: Object, user: Any, own: str) -> None:
    meta = pod["metadata"]
    who = f'(pod: "{meta["name"]}_{meta["namespace"]}({meta["uid"]})", container: {container["name"]})'
    if user is not None:
        if int(user) == 0:
            raise Unmet(f"container's runAsUser breaks non-root policy {who}")
    elif own and not re.fullmatch(r"\d+", own):
        raise Unmet(f"container has runAsNonRoot and image has non-numeric user ({own}), cannot verify user is non-root {who}")
    elif not own or int(own) == 0:
        raise Unmet(f"container has runAsNonRoot and image will run as root {who}")
