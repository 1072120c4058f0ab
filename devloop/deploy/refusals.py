"""What it means when the API server refuses an object, and what to do about it."""

from __future__ import annotations

import re

from devloop.deploy.objects import Target
from devloop.deploy.work import Work
from devloop.errors import ApiError, DeployError
from devloop.model import Manifest, Object

_MANAGERS = {"kubectl-client-side-apply": "kubectl apply", "kubectl-create": "kubectl create", "kubectl-edit": "kubectl edit",
             "kubectl-patch": "kubectl patch", "kubectl-set": "kubectl set", "kubectl-scale": "kubectl scale",
             "before-first-apply": "whoever made it"}


def causes(error: ApiError) -> list[Object]:
    """Kubernetes' list of what is wrong, each with ``field``, ``message`` and ``reason``."""
    return list((error.body.get("details") or {}).get("causes") or ())


def refusal(target: Target, error: ApiError) -> DeployError:
    """The error to show for an object that was not accepted."""
    conflicts = [c for c in causes(error) if c.get("reason") == "FieldManagerConflict"]
    if conflicts:
        return _conflict(target, conflicts)
    text = _plain(error.message)
    return DeployError(f"Kubernetes refuses {target.place}: {text}", hint=_hint(target, error, text), details=_details(error))


def _conflict(target: Target, conflicts: list[Object]) -> DeployError:
    found: dict[str, list[str]] = {}
    for cause in conflicts:
        match = re.search(r'"([^"]+)"', cause.get("message", ""))
        found.setdefault(match[1] if match else "another manager", []).append(cause.get("field", "?"))
    told = "; ".join(f"{_who(manager)} has set {', '.join(fields)}" for manager, fields in found.items())
    hint = "To let devloop take these fields over: --force."
    if any(field == ".spec.replicas" for fields in found.values() for field in fields):
        hint += " If something else scales the workload, remove replicas from the manifest instead."
    return DeployError(f"{target.place} has fields that somebody else manages: {told}", hint=hint)


def _who(manager: str) -> str:
    return f"'{manager}' ({_MANAGERS[manager]})" if manager in _MANAGERS else f"'{manager}'"


def _plain(text: str) -> str:
    """Without the words that only say which internal step failed."""
    return re.sub(r"^failed to create (?:typed patch object|manager for existing fields)(?: \([^)]*\))?: ", "", text)


def _details(error: ApiError) -> list[str]:
    """One line per invalid field, where there are several."""
    lines = [f"{c.get('field', '')}: {c.get('message', '')}" for c in causes(error)]
    return lines if len(lines) > 1 else []


_HINTS = (
    (r"exceeded quota",
     "'kubectl describe quota{there}' shows what is used: ask for less, delete something, or raise the quota."),
    (r"must specify (?:limits|requests)|(?:maximum|minimum) .* usage per",
     "'kubectl describe quota,limitrange{there}' shows the rule."),
    (r'admission webhook "[^"]+" denied',
     "This is a rule of the cluster, not of devloop: change the manifest, or ask who runs that webhook."),
    (r"failed calling webhook",
     "A webhook of the cluster does not answer; does its pod run? See 'kubectl get validatingwebhookconfigurations' (or mutating…)."),
    (r"is being terminated",
     "The namespace is being deleted: wait until it is gone, then deploy again."),
    (r'namespaces? "[^"]+" not found',
     "Add a Namespace to the manifests. Or create it: kubectl create namespace {namespace}"),
    (r'User "[^"]*" cannot',
     "Your account lacks the right: 'kubectl auth can-i --list{there}' shows what it may do."),
    (r"field not declared in schema|unknown field",
     "Is it misspelt, or in the wrong place? 'kubectl explain {kind}' shows the fields."),
    (r"duplicate entries for key",
     "Remove one of the entries with the same key."),
    (r"expected (?:numeric|string|map|list|bool)",
     "'kubectl explain {kind}' shows the types. A number or true/false that is meant as text needs quotes."),
    (r"already allocated",
     "Another Service has it. 'kubectl get services -A' shows which."),
)


def _hint(target: Target, error: ApiError, text: str) -> str:
    namespace = target.ref.namespace
    for pattern, hint in _HINTS:
        if re.search(pattern, text):
            return hint.format(there=f" -n {namespace}" if namespace else "", namespace=namespace, kind=target.ref.kind.lower())
    return error.hint or ("Correct the manifest." if error.status in (400, 422) else "")


def kind_is_missing(work: Work, manifest: Manifest, error: ApiError) -> DeployError:
    """For a kind that the cluster lacks; names the API versions that have a kind of that name."""
    versions = _versions_with(work, manifest.ref.kind)
    hint = f"It has one in {' and '.join(versions)}: correct the manifest's apiVersion." if versions else error.hint
    return DeployError(f"{manifest.ref} ({manifest.source}:{manifest.line}): {error.message}", hint=hint)


def _versions_with(work: Work, kind: str) -> list[str]:
    groups = work.request("GET", "/apis").get("groups") or ()      # one after the other: this runs in one of the pool's threads
    versions = ["v1", *(v["groupVersion"] for g in groups for v in g["versions"])]

    def has(version: str) -> bool:
        listed = work.find(f"/apis/{version}" if "/" in version else f"/api/{version}") or {}
        return any(r["kind"] == kind and "/" not in r["name"] for r in listed.get("resources") or ())

    return [version for version in versions if has(version)]
