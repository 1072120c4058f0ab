"""What an image is called where it is published."""

from __future__ import annotations

from devloop.config.models import Publish
from devloop.model import ImageRef, PublishedImage

ADDON = "localhost:5000"      # minikube's registry addon, as the nodes see it


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


def foreseen(artifact: str, ref: ImageRef, publish: Publish) -> PublishedImage:
    """What would be written into the manifests, as far as devloop.yaml alone tells: neither a digest, which the registry gives, nor the
    way that ``auto`` finds in the cluster."""
    registry = publish.registry
    if publish.mode == "registry" or (publish.mode == "auto" and registry.repository):
        return PublishedImage(artifact, ImageRef(renamed(artifact, registry.pull_repository or registry.repository), ref.tag))
    if publish.mode == "minikube-registry":
        return PublishedImage(artifact, ImageRef(renamed(artifact, ADDON), ref.tag))
    return PublishedImage(artifact, ref, local_only=True)
