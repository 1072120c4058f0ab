"""devloop.yaml as types: the one source of its keys, defaults and descriptions (the JSON schema is generated from them)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = r"^(\d+(\.\d+)?(ms|s|m|h))+$"


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``10m``, ``1h30m`` or ``500ms``. Raises ValueError for anything else."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"expected a duration such as 30s, 10m or 1h30m, found '{text}'")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        parse_duration(value)
    return value


Duration = Annotated[str, BeforeValidator(_duration), Field(pattern=_DURATION)]
"""A Go duration as text; `parse_duration` gives its seconds."""


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, strict=True)


class DockerBuild(Model):
    """How an artifact's Dockerfile is built; the names are docker build's."""

    dockerfile: str = Field("", description="The Dockerfile, relative to the context; it may lie outside of it. "
                            "Default: Dockerfile, or Containerfile where there is no Dockerfile.")
    target: str = Field("", description="The stage to build. Default: the last one.")
    build_args: dict[str, str] = Field({}, description="Values for the Dockerfile's ARGs.")
    labels: dict[str, str] = Field({}, description="Labels for the image.")
    platform: str = Field("", description="The platform to build for, such as linux/amd64. Default: the Engine's own.")
    cache_from: list[str] = Field([], description="Images whose layers may serve as cache.")
    network: str = Field("", description="The network for RUN instructions: host, none, default or a network's name.")


class Requirement(Model):
    """Another artifact that must be built first; its reference is handed over as a build argument."""

    image: str = Field(description="The other artifact's image.")
    alias: str = Field("", description="The build argument that receives its reference. Default: the image's last path "
                       "component in upper case, other characters than letters and digits as '_' (hello-base: HELLO_BASE).")


def _requirement(value: Any) -> Any:
    return {"image": value} if isinstance(value, str) else value


class Artifact(Model):
    """One image to build."""

    image: str = Field(description="The image's name as it stands in the manifests, without tag.", min_length=1)
    context: str = Field(".", description="The build context, relative to devloop.yaml.")
    docker: DockerBuild = Field(DockerBuild(), description="How the Dockerfile is built.")
    requires: list[Annotated[Requirement, BeforeValidator(_requirement, json_schema_input_type=Requirement | str)]] = Field(
        [], description="Artifacts that must be built first, by image; their references are handed over as build arguments.")


class TemplateTag(Model):
    """A tag of one's own making."""

    template: str = Field(description="The tag; {{BRANCH}}, {{GIT_SHA}}, {{DATE}}, {{DIGEST}} and {{ENV.NAME}} are replaced. "
                          "The content's digest is added where the template lacks it.")


class Build(Model):
    """What to build and how."""

    artifacts: list[Artifact] = Field([], description="The images to build.")
    tag: Literal["inputDigest", "gitCommit", "dateTime"] | TemplateTag = Field(
        "inputDigest", description="How images are tagged. Deployed references are always unique to the content.")
    engine: Literal["auto", "classic", "buildkit"] = Field(
        "auto", description="The Docker builder: auto uses BuildKit (docker buildx) for Dockerfiles that need it.")
    concurrency: int = Field(0, ge=0, description="How many artifacts build at once; 0: as many as there are processors.")


class ImagePaths(Model):
    """Where further kinds hold images."""

    kind: str = Field(description="The kind, with its group where that is not unique: Rollout.argoproj.io.")
    paths: list[str] = Field(description="JSON paths to image fields: .spec.template.spec.containers[*].image", min_length=1)


class Deploy(Model):
    """What to deploy and where."""

    manifests: list[str] = Field(["k8s/*.yaml"], description="Kubernetes manifests: files, globs or directories, relative to devloop.yaml.")
    namespace: str = Field("", description="The namespace for objects that name none. Default: the context's.")
    kube_context: str = Field("", description="The kubeconfig context. Default: the current one, if it is a local cluster.")
    rollout_timeout: Duration = Field("10m", description="How long a rollout may take before it counts as failed.")
    image_paths: list[ImagePaths] = Field([], description="Image fields of kinds that devloop does not know, such as custom resources.")


class PortForward(Model):
    """A port of this machine that leads into the cluster."""

    resource: str = Field(description="Where to: service/NAME, deployment/NAME, statefulset/NAME or pod/NAME.",
                          pattern=r"^[A-Za-z]+/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    port: Annotated[int, Field(ge=1, le=65535)] | str = Field(description="The resource's port, by number or name.")
    local_port: int = Field(0, ge=0, le=65535, description="The port on this machine. Default: the same number, or a free one.")
    address: str = Field("127.0.0.1", description="The address to listen on.")
    namespace: str = Field("", description="The resource's namespace. Default: the one deployed to.")
    strict: bool = Field(False, description="Fail when the local port is taken, instead of using the next free one.")


class Logs(Model):
    """Which logs are shown."""

    since: str = Field("start", description="Where to begin: start (a container's first line), now, or a duration such as 5m.",
                       pattern=r"^(start|now|(\d+(\.\d+)?(ms|s|m|h))+)$")
    exclude: list[str] = Field([], description="Containers not to show: CONTAINER, or POD/CONTAINER; * and ? are wildcards.")


class Config(Model):
    """devloop.yaml."""

    api_version: Literal["devloop/v1"] = Field(description="The version of this file's format.")
    name: str = Field(description="The project's name; it labels what devloop deploys.", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    build: Build = Field(Build(), description="What to build and how.")
    deploy: Deploy = Field(Deploy(), description="What to deploy and where.")
    port_forward: list[PortForward] = Field([], description="Ports of this machine that lead into the cluster.")
    logs: Logs = Field(Logs(), description="Which logs are shown.")
