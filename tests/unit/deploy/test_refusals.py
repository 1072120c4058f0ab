"""What a refusal of the API server is said to mean. The errors are as Kubernetes 1.20 to 1.33 words them."""

from __future__ import annotations

import pytest

from devloop.clients.kube import Resource
from devloop.deploy.objects import Target
from devloop.deploy.refusals import refusal
from devloop.errors import ApiError, DeployError
from devloop.model import Manifest, ObjectRef


def told(text: str, status: int = 403, causes: list[dict[str, str]] | None = None, hint: str = "") -> DeployError:
    target = Target(Manifest({}, "k8s/web.yaml", 3), ObjectRef("apps/v1", "Deployment", "ns", "web"),
                    Resource("apps/v1", "Deployment", "deployments", True), {})
    return refusal(target, ApiError(text, status=status, reason="", body={"details": {"causes": causes or []}}, hint=hint))


@pytest.mark.parametrize(("text", "hint"), [
    ('pods "web" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1', "kubectl describe quota -n ns"),
    ('pods "web" is forbidden: failed quota: q: must specify limits.cpu', "kubectl describe quota,limitrange -n ns"),
    ('pods "web" is forbidden: maximum cpu usage per Container is 1, but limit is 2', "kubectl describe quota,limitrange -n ns"),
    ('admission webhook "v.example.org" denied the request: no', "rule of the cluster"),
    ('Internal error occurred: failed calling webhook "v.example.org": Post "https://…": dial tcp: refused', "does its pod run?"),
    ('configmaps "a" is forbidden: unable to create new content in namespace ns because it is being terminated', "wait until it is gone"),
    ('namespaces "ns" not found', "kubectl create namespace ns"),
    ('deployments.apps "web" is forbidden: User "me" cannot patch resource "deployments"', "kubectl auth can-i --list -n ns"),
    ('failed to create typed patch object (ns/web; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema', "misspelt"),
    ('failed to create typed patch object: .spec.env: duplicate entries for key [name="A"]', "Remove one of the entries"),
    ('failed to create typed patch object: .spec.replicas: expected numeric (int or float), got string', "kubectl explain deployment"),
    ('Service "web" is invalid: spec.ports[0].nodePort: provided port is already allocated', "kubectl get services -A"),
])
def test_every_known_refusal_says_where_why_and_what_to_do(text: str, hint: str) -> None:
    error = told(text)
    assert error.message.startswith("Kubernetes refuses deployment/web (k8s/web.yaml:3): ")
    assert "failed to create typed patch object" not in error.message
    assert hint in error.hint


def test_what_is_not_known_keeps_its_words_and_its_hint() -> None:
    assert told("something else", hint="Try that.").hint == "Try that."
    assert told("something else", 422).hint == "Correct the manifest."
    assert "something else" in told("something else").message


def test_several_invalid_fields_are_listed() -> None:
    causes = [{"field": "spec.a", "message": "no", "reason": "FieldValueInvalid"}, {"field": "spec.b", "message": "neither", "reason": "x"}]
    assert told("is invalid", 422, causes).details == ("spec.a: no", "spec.b: neither")
    assert told("is invalid", 422, causes[:1]).details == ()


def test_conflicts_name_fields_and_managers_and_the_way_out() -> None:
    def conflict(field: str, manager: str) -> dict[str, str]:
        message = f'conflict with "{manager}" using apps/v1 at 2024-01-01T00:00:00Z'
        return {"reason": "FieldManagerConflict", "message": message, "field": field}

    error = told("Apply failed", 409, [conflict(".spec.replicas", "kubectl-scale"), conflict(".a", "argocd"), conflict(".b", "argocd")])
    assert error.message == ("deployment/web (k8s/web.yaml:3) has fields that somebody else manages: "
                             "'kubectl-scale' (kubectl scale) has set .spec.replicas; 'argocd' has set .a, .b")
    assert "--force" in error.hint
    assert "remove replicas" in error.hint
    assert "remove replicas" not in told("Apply failed", 409, [conflict(".a", "argocd")]).hint
