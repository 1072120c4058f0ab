from pathlib import Path

import pytest

from devloop.plan import Plan, plan


class Below:
    """Depends on all files below a directory."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)

    def depends_on(self, path: Path) -> bool:
        return self.directory in (path, *path.parents)


ARTIFACTS = {"base": Below("/p/base"), "web": Below("/p/web"), "api": Below("/p/api")}
MANIFESTS = Below("/p/k8s")
REQUIRES = {"web": ["base"], "api": ["web"]}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (None, Plan(frozenset({"base", "web", "api"}), True)),
        ({"/p/README.md"}, Plan(frozenset(), False)),
        ({"/p/k8s/web.yaml"}, Plan(frozenset(), True)),
        ({"/p/api/main.py"}, Plan(frozenset({"api"}), False)),
        ({"/p/web/main.py"}, Plan(frozenset({"web", "api"}), False)),
        ({"/p/base/Dockerfile", "/p/k8s"}, Plan(frozenset({"base", "web", "api"}), True)),
    ],
)
def test_changes_ask_for_what_depends_on_them(changed: set[str] | None, expected: Plan) -> None:
    paths = None if changed is None else frozenset(map(Path, changed))
    assert plan(paths, ARTIFACTS, MANIFESTS, REQUIRES) == expected


def test_nothing_is_nothing() -> None:
    assert plan(frozenset(), ARTIFACTS, MANIFESTS, REQUIRES).nothing
