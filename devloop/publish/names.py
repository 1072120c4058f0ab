"""What an image is called in the registry that it is published to."""

from __future__ import annotations

from devloop.model import ImageRef


def renamed(image: str, repository: str) -> str:
    """``hello-web`` in ``ghcr.io/acme``: ``ghcr.io/acme/hello-web``. The image's own registry gives way; an image that is in `repository`
    already keeps its name. Docker Hub has no nested names: ``docker.io/acme`` and ``team/web`` make ``docker.io/acme/team-web``."""
    if not repository:
        return image
    ref = ImageRef(image)
    target = ImageRef(f"{repository}/x")
    if ref.canonical.startswith(target.canonical.removesuffix("x")):
        return image
    path = image[len(ref.registry) + 1 :] if ref.registry else image
    if target.canonical.startswith("docker.io/"):
        path = path.replace("/", "-")
    return f"{repository}/{path}"


def path_of(image: str) -> str:
    """The repository's path as the registry's API knows it: without the host, with Docker Hub's ``library/``."""
    return ImageRef(image).canonical.partition("/")[2]
