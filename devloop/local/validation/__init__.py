"""What an API server refuses in an object that has the right fields and types. Pure, and in its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from devloop.local.kinds import kind_of
from devloop.local.refusals import Cause
from devloop.local.refusals import invalid as refused
from devloop.local.schedules import five_fields
from devloop.local.selectors import selects
from devloop.local.validation.changes import changes
from devloop.local.validation.pods import pod_spec
from devloop.local.validation.services import ingress, service
from devloop.local.validation.words import Causes, forbidden, invalid, not_negative, obeys, one_of, required, unsupported
from devloop.model import Object


def validate(obj: Object, before: Object | None = None) -> None:
    """`obj`: with its defaults; `before`: as it is now, where it is there. Raises `ApiError` (422) with all that is wrong."""
    if wrong := [*_wrong(obj), *(changes(before, obj) if before else ())]:
        raise refused(kind_of(obj), obj["metadata"].get("name", ""), wrong)


def _wrong(obj: Object) -> Iterator[Cause]:
    meta = obj["metadata"]
    if not meta.get("name"):
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from obeys("label" if obj["kind"] in ("Namespace", "Service") else "subdomain", "metadata.name", meta["name"])
    yield from _labels(meta, "metadata")
    if check := _CHECKS.get(obj["kind"]):
        yield from check(obj)


def _labels(meta: Object, at: str) -> Causes:
    for key, value in (meta.get("labels") or {}).items():
        yield from obeys("key", f"{at}.labels", key.rpartition("/")[2])
        yield from obeys("value", f"{at}.labels", value)
    for key in meta.get("annotations") or {}:
        yield from obeys("key", f"{at}.annotations", key.rpartition("/")[2])


def _template(obj: Object, at: str = "spec.template", *, policies: tuple[str, ...] = ("Always",)) -> Causes:
    template = obj["spec"]["template"]
    yield from _labels(template["metadata"], f"{at}.metadata")
    claims = {claim["metadata"]["name"] for claim in obj["spec"].get("volumeClaimTemplates") or ()}
    yield from pod_spec(template["spec"], f"{at}.spec", claims)
    policy = template["spec"]["restartPolicy"]
    if policies == ("Always",) and policy != "Always":
        yield unsupported(f"{at}.spec.restartPolicy", policy, policies)


def _selected(obj: Object) -> Causes:
    """The selector of what makes pods, and the labels that it must match."""
    spec, labels = obj["spec"], obj["spec"]["template"]["metadata"].get("labels")
    selector = spec.get("selector")
    if selector is None:
        yield required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {obj['kind'].lower()}")
        return
    if selector is None or not selects(selector)(labels or {}):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")


def _deployment(obj: Object) -> Causes:
    spec, strategy = obj["spec"], obj["spec"]["strategy"]
    yield from not_negative("spec.replicas", spec["replicas"])
    yield from _selected(obj)
    yield from _template(obj)
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield unsupported("spec.strategy", {"Type": strategy["type"], "RollingUpdate": None}, ("Recreate", "RollingUpdate"))
    elif strategy["type"] == "Recreate" and "rollingUpdate" in strategy:
        yield forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif strategy["type"] == "RollingUpdate":
        yield from _rolling(strategy["rollingUpdate"], "spec.strategy.rollingUpdate")
    if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
        yield invalid("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], "must be greater than minReadySeconds")


def _rolling(rolling: Object, at: str) -> Causes:
    for key in ("maxUnavailable", "maxSurge"):
        value: Any = rolling[key]
        if isinstance(value, str):
            yield from obeys("percent", f"{at}.{key}", value)
        else:
            yield from not_negative(f"{at}.{key}", value)
    unavailable = str(rolling["maxUnavailable"])
    if unavailable.endswith("%") and unavailable[:-1].isdigit() and int(unavailable[:-1]) > 100:
        yield invalid(f"{at}.maxUnavailable", unavailable, "must not be greater than 100%")
    if all(str(rolling[key]).rstrip("%") == "0" for key in ("maxUnavailable", "maxSurge")):
        yield invalid(f"{at}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")


def _replicated(obj: Object) -> Causes:
    yield from not_negative("spec.replicas", obj["spec"].get("replicas"))
    if "updateStrategy" in obj["spec"]:
        yield from one_of("spec.updateStrategy.type", obj["spec"]["updateStrategy"]["type"], "RollingUpdate", "OnDelete")
    yield from _selected(obj)
    yield from _template(obj)


def _job(obj: Object) -> Causes:
    spec = obj["spec"]
    for key in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        yield from not_negative(f"spec.{key}", spec.get(key))
    yield from _job_template(obj, "spec.template")


def _job_template(obj: Object, at: str) -> Causes:
    yield from _template(obj, at, policies=("OnFailure", "Never"))
    if obj["spec"]["template"]["spec"]["restartPolicy"] == "Always":
        yield required(f"{at}.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _cron_job(obj: Object) -> Causes:
    spec = obj["spec"]
    yield from _schedule(spec)
    yield from one_of("spec.concurrencyPolicy", spec["concurrencyPolicy"], "Allow", "Forbid", "Replace")
    if "jobTemplate" in spec:
        yield from _job_template(spec["jobTemplate"], "spec.jobTemplate.spec.template")
    else:
        yield required("spec.jobTemplate")


def _schedule(spec: Object) -> Causes:
    from cronsim import CronSim, CronSimError

    schedule, zone = spec.get("schedule", ""), spec.get("timeZone", "UTC")
    fields = schedule.split()
    if not schedule:
        yield required("spec.schedule")
    elif len(fields) != 5 and not schedule.startswith("@"):
        yield invalid("spec.schedule", schedule, f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    else:
        try:
            CronSim(five_fields(schedule), datetime(2000, 1, 1, tzinfo=ZoneInfo(zone)))
        except CronSimError as error:
            yield invalid("spec.schedule", schedule, str(error))
        except (ZoneInfoNotFoundError, ValueError):
            yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")


def _claim(obj: Object) -> Causes:
    spec = obj["spec"]
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield required("spec.resources[storage]")


def _data(obj: Object) -> Causes:
    for field in ("data", "binaryData"):
        for key in obj.get(field) or {}:
            yield from obeys("config key", f"{field}[{key}]", key)


def _pod(obj: Object) -> Causes:
    yield from pod_spec(obj["spec"], "spec")


_CHECKS: Mapping[str, Callable[[Object], Causes]] = {
    "Pod": _pod, "Deployment": _deployment, "ReplicaSet": _replicated, "StatefulSet": _replicated, "DaemonSet": _replicated, "Job": _job,
    "CronJob": _cron_job, "PersistentVolumeClaim": _claim, "ConfigMap": _data, "Secret": _data, "Service": service, "Ingress": ingress,
}
