"""Which login goes with which image, and where it came from."""

import json
from pathlib import Path

import pytest

from devloop.cancel import Cancel
from devloop.clients.docker_config import DockerConfig
from devloop.clients.registry_errors import EnvironmentUser
from devloop.config.models import Registry
from devloop.model import ImageRef, PublishedImage
from devloop.publish.logins import Logins

CI = {"DEVLOOP_REGISTRY_USER": "ci", "DEVLOOP_REGISTRY_PASSWORD": "s3cret"}


def logins(directory: Path, registry: Registry, environ: dict[str, str], **given: bool) -> Logins:
    auths = {"ghcr.io": {"auth": "Ym9iOnB3"}, "https://index.docker.io/v1/": {"auth": "Ym9iOnB3"}}      # bob's
    (directory / "config.json").write_text(json.dumps({"auths": auths}))
    return Logins(DockerConfig.load({"DOCKER_CONFIG": str(directory)}), environ, registry, **given)


def test_the_environments_login_comes_first_and_is_known_for_that(tmp_path):
    known = logins(tmp_path, Registry(), CI).of("ghcr.io", Cancel())

    assert known == {"username": "ci", "password": "s3cret", "serveraddress": "ghcr.io"}
    assert isinstance(known["username"], EnvironmentUser)


@pytest.mark.parametrize(("environ", "given"), [({}, {}), (CI, {"from_environment": False})])
def test_else_it_is_dockers(tmp_path, environ, given):
    known = logins(tmp_path, Registry(), environ, **given).of("ghcr.io", Cancel())

    assert known["username"] == "bob"
    assert not isinstance(known["username"], EnvironmentUser)


@pytest.mark.parametrize(("registry", "pulled", "server"), [
    (Registry(repository="ghcr.io/acme"), "ghcr.io/acme/web", "ghcr.io"),
    (Registry(repository="ghcr.io/acme", pull_repository="mirror:5000/acme"), "mirror:5000/acme/web", "ghcr.io"),
    (Registry(), "web", "https://index.docker.io/v1/"),
    (Registry(), "localhost:5000/web", ""),      # minikube's addon
    (Registry(), "reg:5000/web", ""),            # a registry that the cluster announces
], ids=["as pushed", "pulled by another name", "Docker Hub", "addon", "announced"])
def test_an_image_that_went_another_way_than_the_configs_has_no_login(tmp_path, registry, pulled, server):
    known = logins(tmp_path, registry, {}).for_artifact(PublishedImage("web", ImageRef(pulled, "1")), Cancel())

    assert (known or {}).get("serveraddress", "") == server
