"""CronJobs: a Job whenever the schedule says so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from devloop.local.controllers.making import child, owned, timestamp
from devloop.local.defaults import defaulted
from devloop.local.kinds import CRON_JOBS, JOBS
from devloop.local.schedules import five_fields
from devloop.local.store import Store
from devloop.local.writes import born
from devloop.model import Object
from devloop.pods import condition

COMPONENT = "cronjob-controller"


class CronJobs:
    kind = CRON_JOBS
    owns = (JOBS,)

    def __init__(self, store: Store) -> None:
        self._store = store

    def sync(self, obj: Object) -> float | None:
        meta, spec, before = obj["metadata"], obj["spec"], obj.get("status") or {}
        jobs = owned(self._store, JOBS, obj)
        running = [job for job in jobs if not _over(job)]
        self._forget(jobs, "Complete", spec["successfulJobsHistoryLimit"])
        self._forget(jobs, "Failed", spec["failedJobsHistoryLimit"])
        status = {**before, "active": [_reference(job) for job in running]}
        wait = None
        if not spec["suspend"]:
            due, following = _times(spec, timestamp(before.get("lastScheduleTime") or meta["creationTimestamp"]))
            wait = max(0.01, following - time.time())
            if due:
                status["lastScheduleTime"] = datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                status["active"] = [_reference(job) for job in self._start(obj, running, due)]
        if not status["active"]:
            del status["active"]
        self._store.set_status(CRON_JOBS, meta["namespace"], meta["name"], status)
        return wait

    def _start(self, obj: Object, running: Sequence[Object], due: float) -> list[Object]:
        """Make the Job of a time, as far as those that still run let it; returns those that run then."""
        spec, name = obj["spec"], f"{obj['metadata']['name']}-{int(due) // 60}"
        late = time.time() - due > spec.get("startingDeadlineSeconds", float("inf"))
        if late or (running and spec["concurrencyPolicy"] == "Forbid"):
            return list(running)
        if spec["concurrencyPolicy"] == "Replace":
            for job in running:
                self._delete(job)
            running = []
        job = self._store.create(born(defaulted({"apiVersion": "batch/v1", "kind": "Job", **child(obj, name, spec["jobTemplate"])})))
        self._store.event(obj, "Normal", "SuccessfulCreate", f"Created job {name}", COMPONENT)
        return [*running, job]

    def _forget(self, jobs: Sequence[Object], ending: str, limit: int) -> None:
        ended = [job for job in jobs if condition(job, ending).get("status") == "True"]
        for job in ended[:max(0, len(ended) - limit)]:
            self._delete(job)

    def _delete(self, job: Object) -> None:
        meta = job["metadata"]
        self._store.delete(JOBS, meta["namespace"], meta["name"], uid=meta["uid"])


def _times(spec: Object, since: float) -> tuple[float, float]:
    """The last time that has come after `since` (0: none has), and the next one."""
    zone = ZoneInfo(spec["timeZone"]) if "timeZone" in spec else UTC
    times = CronSim(five_fields(spec["schedule"]), datetime.fromtimestamp(since, zone))
    due, now = 0.0, time.time()
    for moment in times:
        if moment.timestamp() > now:
            return due, moment.timestamp()
        due = moment.timestamp()
    return due, float("inf")


def _over(job: Object) -> bool:
    return any(condition(job, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def _reference(job: Object) -> Object:
    meta = job["metadata"]
    return {"apiVersion": "batch/v1", "kind": "Job", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
