import pytest

from devloop.config.models import Publish
from devloop.model import ImageRef
from devloop.publish.names import foreseen, path_of, renamed


@pytest.mark.parametrize(("image", "repository", "expected"), [
    ("hello-web", "ghcr.io/acme", "ghcr.io/acme/hello-web"),
    ("team/hello-web", "ghcr.io/acme", "ghcr.io/acme/team/hello-web"),
    ("hello-web", "localhost:5000", "localhost:5000/hello-web"),
    ("hello-web", "", "hello-web"),
    ("quay.io/team/hello-web", "ghcr.io/acme", "ghcr.io/acme/team/hello-web"),
    ("localhost:5000/hello-web", "ghcr.io/acme", "ghcr.io/acme/hello-web"),
    ("ghcr.io/acme/hello-web", "ghcr.io/acme", "ghcr.io/acme/hello-web"),
    ("ghcr.io/acme-two/hello-web", "ghcr.io/acme", "ghcr.io/acme/acme-two/hello-web"),
    ("hello-web", "acme", "acme/hello-web"),
    ("team/hello-web", "docker.io/acme", "docker.io/acme/team-hello-web"),
    ("acme/hello-web", "docker.io/acme", "acme/hello-web"),
])
def test_images_get_their_name_in_the_registry(image, repository, expected):
    assert renamed(image, repository) == expected


@pytest.mark.parametrize(("image", "path"), [
    ("ghcr.io/acme/hello-web", "acme/hello-web"), ("localhost:5000/a/b/c", "a/b/c"), ("busybox", "library/busybox"),
    ("acme/web", "acme/web"),
])
def test_the_registrys_api_knows_an_image_by_its_path(image, path):
    assert path_of(image) == path


@pytest.mark.parametrize(("publish", "expected", "local_only"), [
    ({}, "hello-web:1", True),
    ({"mode": "kind"}, "hello-web:1", True),
    ({"mode": "kind", "registry": {"repository": "ghcr.io/acme"}}, "hello-web:1", True),
    ({"registry": {"repository": "ghcr.io/acme"}}, "ghcr.io/acme/hello-web:1", False),
    ({"mode": "registry", "registry": {"repository": "localhost:5001", "pullRepository": "reg:5000"}}, "reg:5000/hello-web:1", False),
    ({"mode": "minikube-registry"}, "localhost:5000/hello-web:1", False),
])
def test_what_devloop_yaml_alone_tells_is_foreseen(publish, expected, local_only):
    foretold = foreseen("hello-web", ImageRef("hello-web", "1"), Publish.model_validate(publish))
    assert (str(foretold.ref), foretold.local_only) == (expected, local_only)
