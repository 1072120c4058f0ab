import pytest

from devloop.publish.names import path_of, renamed


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
