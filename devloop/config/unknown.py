"""Where an unknown key belongs."""

from __future__ import annotations

from functools import cache, lru_cache

from devloop.config.models import File, Model
from devloop.config.shapes import fields, places
from devloop.config.suggest import ALIKE, likeness

TOP = "the top level"
_HOME = 0.1
"""How much more another place's key must be like the word than one of the place where it stands."""


@lru_cache
def nearest_key(word: str, model: type[Model]) -> tuple[str, str]:
    """The place and the key that `word` in a map of `model` most likely stands for. The place is empty for that very map, a path
    relative to it below it, a path from the top of the file elsewhere. Two empty texts where nothing comes near."""
    near = [(place, name) for place, names in _places(model) for name in names]
    far = [(place or TOP, name) for place, names in _places(File) for name in names] if model is not File else []
    scored = [(likeness(word, name) - (_HOME if place else 0), place, name) for place, name in near + far]
    likest, place, name = max(scored, key=lambda each: each[0])
    return (place, name) if likest >= ALIKE else ("", "")


@cache
def _places(root: type[Model]) -> list[tuple[str, list[str]]]:
    return [(place, list(fields(model))) for place, model in places(root) if not place.startswith("profiles")]
