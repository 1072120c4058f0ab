"""Where an unknown key belongs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from devloop.config.models import File, Model
from devloop.config.shapes import fields
from devloop.config.suggest import ALIKE, likeness
from devloop.config.tree import join

_HOME = 0.1
"""How much more another place's key must be like the word than one of the place where it stands."""


def nearest_key(word: str, model: type[Model]) -> tuple[str, str]:
    """The place and the key that `word` in a map of `model` most likely stands for; the place is empty for that very map,
    relative to it below it, and from the top of the file elsewhere. Two empty texts where nothing comes near."""
    candidates = [(likeness(word, name) - (_HOME if place else 0), place, name)
                  for root in (model, File) for place, names in _places(root) for name in names if place or root is model]
    likest, place, name = max(candidates, key=lambda each: each[0])
    return (place, name) if likest >= ALIKE else ("", "")


@cache
def _places(model: type[Model]) -> list[tuple[str, list[str]]]:
    return list(_walk(model))


def _walk(root: type[Model]) -> Iterator[tuple[str, list[str]]]:
    """Each map from `root` down, by its path relative to it, with its keys; the nearest ones first."""
    level = [("", root)]
    while level:
        yield from ((place, list(fields(model))) for place, model in level)
        level = [(join(place, key) + ("[]" if entry.shape.items else ""), inner)
                 for place, model in level for key, entry in fields(model).items() if key != "profiles"
                 if (inner := entry.shape.model or (entry.shape.items.model if entry.shape.items else None))]
