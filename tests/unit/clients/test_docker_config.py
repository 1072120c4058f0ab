"""Which Engine the docker CLI would talk to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from devloop.clients.docker_config import DockerConfig, DockerEndpoint, Tls
from devloop.errors import UnreachableError


def endpoint(home: Path, **environ: str) -> DockerEndpoint:
    environ = {"HOME": str(home)} | environ
    return DockerConfig.load(environ).endpoint(environ)


def configure(home: Path, **content: Any) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps(content))


def context(home: Path, name: str, host: str, *, skip: bool = False, pems: tuple[str, ...] = ()) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / key
    meta.mkdir(parents=True)
    docker = {"Host": host, "SkipTLSVerify": skip}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
    tls = home / ".docker" / "contexts" / "tls" / key / "docker"
    tls.mkdir(parents=True)
    for pem in pems:
        (tls / f"{pem}.pem").write_text("")
    return tls


def test_without_any_setting_it_is_the_default_socket(tmp_path: Path) -> None:
    found = endpoint(tmp_path)
    assert (found.host, found.tls, found.local) == ("unix:///var/run/docker.sock", None, True)


def test_docker_host_wins_over_every_context(tmp_path: Path) -> None:
    configure(tmp_path, currentContext="a")
    context(tmp_path, "a", "unix:///a.sock")
    found = endpoint(tmp_path, DOCKER_HOST="tcp://127.0.0.1:2375", DOCKER_CONTEXT="a")
    assert str(found) == "tcp://127.0.0.1:2375 (from DOCKER_HOST)"
    assert not found.local


def test_docker_context_wins_over_the_current_one(tmp_path: Path) -> None:
    configure(tmp_path, currentContext="a")
    context(tmp_path, "a", "unix:///a.sock")
    context(tmp_path, "b", "unix:///b.sock")
    assert endpoint(tmp_path).host == "unix:///a.sock"
    found = endpoint(tmp_path, DOCKER_CONTEXT="b")
    assert str(found) == "unix:///b.sock (docker context 'b', from DOCKER_CONTEXT)"


def test_the_context_default_is_the_default_socket(tmp_path: Path) -> None:
    configure(tmp_path, currentContext="a")
    context(tmp_path, "a", "unix:///a.sock")
    assert endpoint(tmp_path, DOCKER_CONTEXT="default").host == "unix:///var/run/docker.sock"


def test_docker_config_names_another_directory(tmp_path: Path) -> None:
    context(tmp_path / "x", "a", "unix:///a.sock")
    assert endpoint(tmp_path, DOCKER_CONFIG=str(tmp_path / "x" / ".docker"), DOCKER_CONTEXT="a").host == "unix:///a.sock"


def test_a_contexts_certificates_are_used(tmp_path: Path) -> None:
    tls = context(tmp_path, "far", "tcp://far:2376", pems=("ca", "cert", "key"))
    assert endpoint(tmp_path, DOCKER_CONTEXT="far").tls == Tls(f"{tls}/ca.pem", f"{tls}/cert.pem", f"{tls}/key.pem")


def test_a_context_may_skip_verification(tmp_path: Path) -> None:
    context(tmp_path, "far", "tcp://far:2376", skip=True)
    assert endpoint(tmp_path, DOCKER_CONTEXT="far").tls == Tls(verify=False)


def test_the_environments_certificates_are_used(tmp_path: Path) -> None:
    files = [tmp_path / f"{pem}.pem" for pem in ("ca", "cert", "key")]
    for file in files:
        file.touch()
    given = {"DOCKER_HOST": "tcp://far:2376", "DOCKER_CERT_PATH": str(tmp_path)}
    assert endpoint(tmp_path, **given).tls is None
    assert endpoint(tmp_path, **given, DOCKER_TLS_VERIFY="1").tls == Tls(*map(str, files))


def test_a_context_that_is_not_there_is_named_with_who_names_it(tmp_path: Path) -> None:
    configure(tmp_path, currentContext="gone")
    with pytest.raises(UnreachableError, match=r"no docker context 'gone', which the current context of .*config\.json names"):
        endpoint(tmp_path)


def test_a_damaged_context_is_named(tmp_path: Path) -> None:
    context(tmp_path, "a", "unix:///a.sock")
    next(tmp_path.rglob("meta.json")).write_text('{"Endpoints": {}}')
    with pytest.raises(UnreachableError, match=r"context 'a' .* cannot be used"):
        endpoint(tmp_path, DOCKER_CONTEXT="a")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_configuration_is_named(tmp_path: Path, content: str) -> None:
    configure(tmp_path)
    (tmp_path / ".docker" / "config.json").write_text(content)
    with pytest.raises(UnreachableError, match=r"config\.json"):
        endpoint(tmp_path)


def test_proxies_are_those_of_the_engine_or_the_default_ones(tmp_path: Path) -> None:
    configure(tmp_path, proxies={"default": {"httpProxy": "http://d:1", "noProxy": "x"}, "tcp://far:1": {"httpsProxy": "http://f:1"}})
    config = DockerConfig.load({"HOME": str(tmp_path)})
    assert config.proxies("unix:///s") == {"HTTP_PROXY": "http://d:1", "http_proxy": "http://d:1", "NO_PROXY": "x", "no_proxy": "x"}
    assert config.proxies("tcp://far:1") == {"HTTPS_PROXY": "http://f:1", "https_proxy": "http://f:1"}


def test_plugins_are_found_in_extra_directories_first(tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    configure(tmp_path, cliPluginsExtraDirs=[str(extra)])
    for directory in (extra, tmp_path / ".docker" / "cli-plugins"):
        directory.mkdir()
        (directory / "docker-mine").touch(0o755)
    config = DockerConfig.load({"HOME": str(tmp_path)})
    assert config.plugin("docker-mine", {}) == str(extra / "docker-mine")
    (extra / "docker-mine").chmod(0o644)
    assert config.plugin("docker-mine", {}) == str(tmp_path / ".docker" / "cli-plugins" / "docker-mine")
    assert config.plugin("docker-other", {"PATH": str(extra)}) is None
