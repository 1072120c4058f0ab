"""Server-side apply for one manager: what it says is so, what it said before and says no longer goes, the rest stays. Pure.

There is nobody else who could manage fields: conflicts and ``managedFields`` are left out.
"""

from __future__ import annotations

from typing import Any

from devloop.local.schema import Type, type_of
from devloop.model import Object


def apply(live: Object, before: Object, wanted: Object) -> Object:
    """`live` after `wanted` is applied, where `before` was applied last. All of the same kind; none is changed."""
    kind = type_of(wanted)
    merged: Object = _merge(kind, _prune(kind, live, before, wanted), wanted)
    return merged


def _prune(kind: Type, live: Any, before: Any, wanted: Any) -> Any:
    """`live` without what only `before` said."""
    if kind.what in ("struct", "map") and not kind.atomic and isinstance(live, dict) and isinstance(before, dict):
        kept = dict(live)
        for key in before:
            if key not in kept:
                continue
            inner = _inner(kind, key)
            if key in wanted:
                kept[key] = _prune(inner, kept[key], before[key], wanted[key])
            else:
                del kept[key]
                # a label or a port that somebody else has set stays; what was filled in for a struct goes with it
                if inner.what != "struct" and not inner.atomic and (rest := _prune(inner, live[key], before[key], type(before[key])())):
                    kept[key] = rest
        return kept
    if kind.what == "list" and kind.keys and isinstance(live, list) and isinstance(before, list):
        old, new = ({kind.key(item): item for item in items} for items in (before, wanted))
        items = kind.items or kind
        return [_prune(items, item, old[key], new[key]) if key in old and key in new else item
                for item in live if (key := kind.key(item)) not in old or key in new]
    return live


def _merge(kind: Type, live: Any, wanted: Any) -> Any:
    if kind.atomic or live is None:
        return wanted
    if kind.what in ("struct", "map") and isinstance(live, dict):
        return {**live, **{key: _merge(_inner(kind, key), live.get(key), value) for key, value in wanted.items()}}
    if kind.what == "list" and isinstance(live, list):
        old = {kind.key(item): item for item in live}
        new = {kind.key(item): item for item in wanted}
        items = kind.items or kind
        return [*(_merge(items, old.get(key), item) for key, item in new.items()), *(item for key, item in old.items() if key not in new)]
    return wanted


def _inner(kind: Type, key: str) -> Type:
    found = kind.fields.get(key) if kind.what == "struct" else kind.items
    return found or Type("any", True)

