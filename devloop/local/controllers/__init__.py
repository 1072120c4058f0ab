"""What makes pods of workloads, as Kubernetes' controllers do."""

from __future__ import annotations

from devloop.local.controllers.claims import Claims, Scheduling
from devloop.local.controllers.cronjobs import CronJobs
from devloop.local.controllers.daemonsets import DaemonSets
from devloop.local.controllers.deployments import Deployments, Expect
from devloop.local.controllers.garbage import Garbage, Namespaces
from devloop.local.controllers.jobs import Jobs
from devloop.local.controllers.manager import Manager
from devloop.local.controllers.replicasets import ReplicaSets
from devloop.local.controllers.statefulsets import StatefulSets
from devloop.local.store import Store


def controllers(store: Store, expect: Expect) -> Manager:
    """All of them, at work until the manager's `close`. `expect` hears which pods may come next."""
    deployments, scheduling, namespaces = Deployments(store, expect), Scheduling(store), Namespaces(store)
    return Manager(store, [deployments, ReplicaSets(store), StatefulSets(store), DaemonSets(store), Jobs(store), CronJobs(store),
                           Claims(store), scheduling, namespaces], [deployments, scheduling, namespaces, Garbage(store)])
