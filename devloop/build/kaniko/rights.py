"""What a build takes of the cluster's rights: docs/kaniko.md has them as a Role."""

from __future__ import annotations

from devloop.deploy.rights import Right

_NEEDED = (("create", "jobs", "batch"), ("delete", "jobs", "batch"),
           ("patch", "jobs", "batch"),      # for a warm pod's deadline; without it, one lives no longer than a build may take
           ("list", "pods", ""), ("watch", "pods", ""),
           ("create", "pods/exec", ""), ("get", "pods/exec", ""),      # SPDY's, and websockets'
           ("list", "events", ""), ("watch", "events", ""))            # why a pod does not start


def needed(namespace: str) -> list[Right]:
    """In the namespace of the builds."""
    return [Right(verb, resource, group, namespace) for verb, resource, group in _NEEDED]
