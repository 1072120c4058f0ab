"""A devloop.yaml in a directory of its own, loaded as the command line does it: by its name in the current directory."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from devloop.config import Loaded, load
from devloop.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web").mkdir()
    return tmp_path


@pytest.fixture
def read(project: Path) -> Callable[..., Loaded]:
    """Loads the text as devloop.yaml."""

    def read(text: str, environ: Mapping[str, str] | None = None, profiles: Sequence[str] = ()) -> Loaded:
        Path("devloop.yaml").write_text(text, encoding="utf-8")
        return load(Path("devloop.yaml"), environ=environ or {}, profiles=profiles)

    return read


@pytest.fixture
def refusal(read: Callable[..., Loaded]) -> Callable[..., ConfigError]:
    """The error that the text meets as devloop.yaml."""

    def refusal(text: str, environ: Mapping[str, str] | None = None, profiles: Sequence[str] = ()) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            read(text, environ, profiles)
        return caught.value

    return refusal
