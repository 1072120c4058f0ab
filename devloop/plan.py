"""What a batch of changes asks for. Pure: nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Dependent(Protocol):
    """Something made of files: an artifact's context, a set of manifests."""

    def depends_on(self, path: Path) -> bool: ...


@dataclass(frozen=True)
class Plan:
    """`rebuild`: artifacts (by image) to look at again; `render`: whether the manifests are to be rendered and applied.

    What is looked at again is built only if its content's digest is new.
    """

    rebuild: frozenset[str]
    render: bool

    @property
    def nothing(self) -> bool:
        return not self.rebuild and not self.render


def plan(changed: frozenset[Path] | None, artifacts: Mapping[str, Dependent], manifests: Dependent,
         requires: Mapping[str, Iterable[str]]) -> Plan:
    """`changed` None: everything. `requires` names, for an artifact, those that must be built before it."""
    if changed is None:
        return Plan(frozenset(artifacts), True)
    rebuild = {image for image, files in artifacts.items() if any(files.depends_on(path) for path in changed)}
    while more := {image for image, needs in requires.items() if image not in rebuild and not rebuild.isdisjoint(needs)}:
        rebuild |= more
    return Plan(frozenset(rebuild), any(manifests.depends_on(path) for path in changed))
