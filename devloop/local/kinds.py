"""The kinds that the local target has, and what a kind's name looks like in messages."""

from __future__ import annotations

from devloop.clients.kube import Resource
from devloop.model import Object
from devloop.pods import PODS

NAMESPACES = Resource("v1", "Namespace", "namespaces", False)
NODES = Resource("v1", "Node", "nodes", False)
SERVICES = Resource("v1", "Service", "services", True)
ENDPOINTS = Resource("v1", "Endpoints", "endpoints", True)
CONFIG_MAPS = Resource("v1", "ConfigMap", "configmaps", True)
SECRETS = Resource("v1", "Secret", "secrets", True)
CLAIMS = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True)
SERVICE_ACCOUNTS = Resource("v1", "ServiceAccount", "serviceaccounts", True)
EVENTS = Resource("v1", "Event", "events", True)
DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments", True)
REPLICA_SETS = Resource("apps/v1", "ReplicaSet", "replicasets", True)
STATEFUL_SETS = Resource("apps/v1", "StatefulSet", "statefulsets", True)
DAEMON_SETS = Resource("apps/v1", "DaemonSet", "daemonsets", True)
CONTROLLER_REVISIONS = Resource("apps/v1", "ControllerRevision", "controllerrevisions", True)
JOBS = Resource("batch/v1", "Job", "jobs", True)
CRON_JOBS = Resource("batch/v1", "CronJob", "cronjobs", True)
INGRESSES = Resource("networking.k8s.io/v1", "Ingress", "ingresses", True)

KINDS = (NAMESPACES, NODES, PODS, SERVICES, ENDPOINTS, CONFIG_MAPS, SECRETS, CLAIMS, SERVICE_ACCOUNTS, EVENTS, DEPLOYMENTS, REPLICA_SETS,
         STATEFUL_SETS, DAEMON_SETS, CONTROLLER_REVISIONS, JOBS, CRON_JOBS, INGRESSES)

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in KINDS}


def kind_of(obj: Object) -> Resource:
    """Raises KeyError for a kind that the local target does not have."""
    return _BY_NAME[obj.get("apiVersion", ""), obj.get("kind", "")]


def group(kind: Resource) -> str:
    return kind.api_version.rpartition("/")[0]


def qualified(kind: Resource) -> str:
    """As the API server names a kind in messages: ``deployments.apps``."""
    return f"{kind.plural}.{group(kind)}" if group(kind) else kind.plural
