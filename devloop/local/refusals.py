"""What an API server answers when it refuses, in its own words: `ApiError`s with a ``Status`` as their body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devloop.clients.kube import Resource
from devloop.errors import ApiError
from devloop.local.kinds import group, qualified
from devloop.model import Object


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong, as in ``details.causes`` of a Status: `reason` is Kubernetes' own (``FieldValueRequired`` …)."""

    field: str
    reason: str
    message: str


def refused(status: int, reason: str, message: str, details: Object | None = None) -> ApiError:
    body: Object = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
                    "code": status}
    if details:
        body["details"] = details
    return ApiError(message, status=status, reason=reason, body=body)


def not_found(kind: Resource, name: str) -> ApiError:
    return refused(404, "NotFound", f'{qualified(kind)} "{name}" not found', _details(kind, name, kind.plural))


def already_exists(kind: Resource, name: str) -> ApiError:
    return refused(409, "AlreadyExists", f'{qualified(kind)} "{name}" already exists', _details(kind, name, kind.plural))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(kind: Resource, name: str, why: str = MODIFIED) -> ApiError:
    return refused(409, "Conflict", f'Operation cannot be fulfilled on {qualified(kind)} "{name}": {why}',
                   _details(kind, name, kind.plural))


def invalid(kind: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """`causes`: one or more."""
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    what = f"{kind.kind}.{group(kind)}" if group(kind) else kind.kind
    listed = [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    return refused(422, "Invalid", f'{what} "{name}" is invalid: {text}', {**_details(kind, name, kind.kind), "causes": listed})


def _details(kind: Resource, name: str, called: str) -> Object:
    return {"name": name, **({"group": group(kind)} if group(kind) else {}), "kind": called}
