"""devloop.yaml as types: the one source of its keys, defaults and descriptions (the JSON schema is generated from them)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from devloop.model import ImageRef

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
NAMESPACE = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"       # an RFC 1123 label, or empty
NAMESPACE_WORDS = "a namespace: lower-case letters, digits and '-', 63 characters at most"
_DURATION = r"^(\d+(\.\d+)?(ms|s|m|h))+$"


@dataclass(frozen=True)
class Expected:
    """Marks a type: what error messages say is expected there, where the type alone does not say it well."""

    words: str


@dataclass(frozen=True)
class AsWritten:
    """Marks text that may be written as any YAML scalar (``PORT: 8080``) and is taken as it stands in the file."""


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as ``10m``, ``1h30m`` or ``500ms``. Raises ValueError for anything else."""
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"expected a duration such as 30s, 10m or 1h30m, found '{text}'")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))


def _image(text: str) -> str:
    ref = ImageRef.parse(text)
    if ref.tag or ref.digest:
        raise ValueError(f"expected an image without tag or digest, found '{text}': write '{ref.repository}', devloop sets the tag")
    return text


def _registry_path(text: str) -> str:
    if text:
        try:
            ImageRef.parse(f"{text}/image")
        except ValueError:
            raise ValueError(f"expected a registry's host and path such as ghcr.io/acme, without tag and '/' at the end, "
                             f"found '{text}'") from None
    return text


def _any_image(text: str) -> str:
    ImageRef.parse(text)
    return text


def _any_image_or_none(text: str) -> str:
    return text and _any_image(text)


Duration = Annotated[str, Field(pattern=_DURATION), Expected("a duration such as 30s, 10m or 1h30m")]
"""A Go duration as text; `parse_duration` gives its seconds."""

Image = Annotated[str, Field(min_length=1), AfterValidator(_image), Expected("an image such as hello-web")]
AnyImage = Annotated[str, Field(min_length=1), AfterValidator(_any_image), Expected("an image such as ghcr.io/acme/kaniko:v1.28.3")]
Values = dict[str, Annotated[str, AsWritten(), WithJsonSchema({"type": ["string", "number", "boolean"]})]]
RegistryPath = Annotated[str, AfterValidator(_registry_path), Expected("a registry's host and path such as ghcr.io/acme")]
Filled = Annotated[str, Field(min_length=1), Expected("text that is not empty")]
SecretName = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)?$"), Expected("a secret's name")]
NamespaceName = Annotated[str, Field(pattern=NAMESPACE), Expected(NAMESPACE_WORDS)]
PortName = Annotated[str, Field(pattern=r"^[a-z0-9-]*[a-z][a-z0-9-]*$", max_length=63)]


class Model(BaseModel):
    """A map of devloop.yaml. `identity`: the keys by which profiles know an item of a list again. `short`: the key that plain text
    in the map's place stands for."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, strict=True)
    identity: ClassVar[tuple[str, ...]] = ()
    short: ClassVar[str] = ""

    @classmethod
    def written_short(cls, value: Any) -> Any:
        """Text as the map that it stands for."""
        return {cls.short: value} if isinstance(value, str) else value


class DockerBuild(Model):
    """How an artifact's Dockerfile is built; the names are docker build's."""

    dockerfile: str = Field("", description="The Dockerfile, relative to the context; it may lie outside of it. "
                            "Default: Dockerfile, or Containerfile where there is no Dockerfile.")
    target: str = Field("", description="The stage to build. Default: the last one.")
    build_args: Values = Field({}, description="Values for the Dockerfile's ARGs.")
    labels: Values = Field({}, description="Labels for the image.")
    platform: str = Field("", description="The platform to build for, such as linux/amd64. Default: the Engine's own.")
    cache_from: list[str] = Field([], description="Images whose layers may serve as cache.")
    network: str = Field("", description="The network for RUN instructions: host, none, default or a network's name.")


class Requirement(Model):
    """Another artifact that must be built first; its reference is handed over as a build argument."""

    identity = ("image",)
    short = "image"

    image: str = Field(description="The other artifact's image.")
    alias: str = Field("", description="The build argument that receives its reference. Default: the image's last path "
                       "component in upper case, other characters than letters and digits as '_' (hello-base: HELLO_BASE).")


BuilderName = Literal["docker", "kaniko", "auto"]


class Artifact(Model):
    """One image to build."""

    identity = ("image",)

    image: Image = Field(description="The image's name as it stands in the manifests, without tag.")
    context: str = Field(".", description="The build context, relative to devloop.yaml.")
    builder: Literal["", "docker", "kaniko", "auto"] = Field("", description="What builds it. Default: build.builder.")
    docker: DockerBuild = Field(DockerBuild(), description="How the Dockerfile is built.")
    requires: list[Annotated[Requirement, BeforeValidator(Requirement.written_short, json_schema_input_type=Requirement | str)]] = Field(
        [], description="Artifacts that must be built first, by image; their references are handed over as build arguments.")


class TemplateTag(Model):
    """A tag of one's own making."""

    template: Filled = Field(description="The tag; {{BRANCH}}, {{GIT_SHA}}, {{DATE}}, {{DIGEST}} and {{ENV.NAME}} are replaced. "
                          "The content's digest is added where the template lacks it.")


class Git(Model):
    """A Git repository as the build context, cloned in the cluster."""

    url: Annotated[str, Expected("a repository's address such as https://github.com/acme/hello.git")] = Field(
        pattern=r"^https?://[^\s#@]+$", description="The repository's address, with https:// or http://; a login goes into env "
        "(GIT_USERNAME, GIT_PASSWORD, GIT_TOKEN).")
    ref: str = Field("", description="The branch, tag or commit. Default: the repository's own.")
    sub_path: str = Field("", description="The directory of the repository that devloop.yaml's stands for: artifacts' "
                          "contexts are below it.")


class GitContext(Model):
    """Where the context comes from instead of this machine."""

    git: Git = Field(description="A Git repository, cloned in the cluster; nothing is uploaded.")


class KanikoCache(Model):
    """Layers of earlier builds, kept in a registry."""

    enabled: bool = Field(True, description="Keep layers, and take them from there.")
    repository: str = Field("", description="Where to. Default: cache, below the image's own repository.")
    ttl: Duration = Field("336h", description="How long a layer is good for.")
    copy_layers: bool = Field(False, description="Keep those of COPY and ADD, too.")


class Resources(Model):
    """What a build's container gets."""

    requests: Values = Field({}, description="What it is sure to get: {memory: 1Gi, cpu: 500m}.")
    limits: Values = Field({}, description="What it may use.")


class Toleration(Model):
    """A taint of nodes that build pods may run on in spite of it."""

    key: str = Field("", description="The taint's key.")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="How value is compared.")
    value: str = Field("", description="The taint's value.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field("", description="The taint's effect. Default: any.")


class Kaniko(Model):
    """How images are built in the cluster: docs/kaniko.md."""

    image: AnyImage = Field("ghcr.io/osscontainertools/kaniko:v1.28.3", description="The executor's image. Pin it, by version or digest.")
    helper_image: Annotated[str, AfterValidator(_any_image_or_none), Expected("an image such as busybox:1.36")] = Field(
        "busybox:1.36", description="An image with a static /bin/busybox, for the executor's image has no shell. "
                                    "Empty: the executor's image has /busybox, as those tagged debug do.")
    namespace: NamespaceName = Field("", description="The builds' namespace. Default: the one deployed to.")
    service_account: str = Field("", description="The build pods' service account: for clouds that let it into their registries.")
    docker_config_secret: SecretName = Field("", description="A secret of type kubernetes.io/dockerconfigjson with the registries' logins.")
    from_docker_config: bool = Field(False, description="Hand over this machine's logins to the registries that a build needs, and to "
                                     "no others; with a context from Git, which is not read here, all of them.")
    cache: KanikoCache = Field(KanikoCache(), description="Layers of earlier builds, kept in a registry.")
    resources: Resources = Field(Resources(), description="What a build's container gets.")
    node_selector: Values = Field({}, description="Labels of the nodes that may build.")
    tolerations: list[Toleration] = Field([], description="Taints of nodes that may build in spite of them.")
    env: Values = Field({}, description="The executor's environment; HTTP_PROXY, HTTPS_PROXY and NO_PROXY reach RUN instructions, too.")
    args: list[Filled] = Field([], description="More of the executor's flags: --snapshot-mode=redo, --single-snapshot ...")
    registry_mirror: list[Filled] = Field([], description="Mirrors of Docker Hub.")
    insecure_registries: list[Filled] = Field([], description="Registries that speak plain HTTP, by host and port.")
    skip_tls_verify: bool = Field(False, description="Trust any registry's certificate.")
    certificates: str = Field("", description="A ConfigMap with further certificate authorities, in PEM form.")
    timeout: Duration = Field("20m", description="How long one build may take.")
    context: Literal["upload"] | GitContext = Field("upload", description="Where the context comes from: upload (this machine's files), or "
                                                    "a map with git.")
    warm: bool = Field(True, description="In dev, keep the build pod for the next build, which then gets only the files that changed.")


class Build(Model):
    """What to build and how."""

    builder: BuilderName = Field("docker", description="What builds: docker (an Engine), kaniko (a pod of the cluster), or auto: docker "
                                 "where an Engine answers, else kaniko where it is configured.")

    artifacts: list[Artifact] = Field([], description="The images to build.")
    tag: Literal["inputDigest", "gitCommit", "dateTime"] | TemplateTag = Field(
        "inputDigest", description="How images are tagged. Deployed references are always unique to the content.")
    engine: Literal["auto", "classic", "buildkit"] = Field(
        "auto", description="The Docker builder: auto uses BuildKit (docker buildx) for Dockerfiles that need it.")
    concurrency: int = Field(0, ge=0, description="How many artifacts build at once; 0: as many as there are processors.")
    kaniko: Kaniko = Field(Kaniko(), description="How images are built in the cluster.")


PublishMode = Literal["auto", "none", "registry", "minikube-docker-env", "minikube-image-load", "minikube-image-build", "minikube-registry",
                      "kind", "k3d"]


class Registry(Model):
    """A registry of one's own."""

    repository: RegistryPath = Field("", description="Where images are pushed to; their names are appended (ghcr.io/acme: hello-web "
                                     "becomes ghcr.io/acme/hello-web). Default: the images' own names, which must then name a registry.")
    pull_repository: RegistryPath = Field("", description="The same place as the cluster's nodes call it, where that differs.")
    insecure: bool = Field(False, description="Accept plain HTTP and certificates that cannot be verified. On this machine, plain HTTP is "
                           "accepted in any case.")


class Minikube(Model):
    """What devloop may do to a minikube cluster."""

    enable_registry_addon: bool = Field(False, description="Enable minikube's registry addon where images go through it.")


class Publish(Model):
    """How images reach the cluster."""

    short = "mode"

    mode: PublishMode = Field("auto", description="The way: auto finds the best one for the cluster and says which; none: the cluster's "
                              "nodes use the Engine that builds; registry: push to publish.registry; the others force a tool's own way.")
    registry: Registry = Field(Registry(), description="A registry of one's own.")
    minikube: Minikube = Field(Minikube(), description="What devloop may do to a minikube cluster.")


class ImagePaths(Model):
    """Where further kinds hold images."""

    identity = ("kind",)

    kind: Filled = Field(description="The kind, with its group where that is not unique: Rollout.argoproj.io.")
    paths: list[Filled] = Field(description="JSON paths to image fields: .spec.template.spec.containers[*].image", min_length=1)


class Deploy(Model):
    """What to deploy and where."""

    manifests: list[Filled] = Field(
        ["k8s/*.yaml"], description="Kubernetes manifests: files, globs or directories, relative to devloop.yaml.")
    target: Literal["cluster", "docker"] = Field("cluster", description="Where they run: on a cluster, or on the local Docker Engine alone "
                                                 "(for development; --local says the same for one command).")
    namespace: NamespaceName = Field("", description="The namespace for objects that name none. Default: the context's.")
    kube_context: str = Field("", description="The kubeconfig context. Default: the current one, if it is a local cluster.")
    rollout_timeout: Duration = Field("10m", description="How long a rollout may take before it counts as failed.")
    image_pull_secret: SecretName = Field("", description="A pull secret that devloop makes from this machine's login to the registry that "
                                          "images are published to, and names in their pods. Default: none.")
    image_paths: list[ImagePaths] = Field([], description="Image fields of kinds that devloop does not know, such as custom resources.")


class PortForward(Model):
    """A port of this machine that leads into the cluster."""

    identity = ("resource", "port")

    resource: Annotated[str, Expected("service/NAME, deployment/NAME, statefulset/NAME or pod/NAME")] = Field(
        description="Where to: service/NAME, deployment/NAME, statefulset/NAME or pod/NAME.",
        pattern=r"^(service|deployment|statefulset|pod)/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    port: Annotated[Annotated[int, Field(ge=1, le=65535)] | PortName, Expected("a port's number (1 to 65535) or name")] = Field(
        description="The resource's port, by number or name.")
    local_port: int = Field(0, ge=0, le=65535, description="The port on this machine. Default: the same number, or a free one.")
    address: str = Field("127.0.0.1", description="The address to listen on.")
    namespace: NamespaceName = Field("", description="The resource's namespace. Default: the one deployed to.")
    strict: bool = Field(False, description="Fail when the local port is taken, instead of using the next free one.")


class Logs(Model):
    """Which logs are shown."""

    since: Annotated[str, Expected("start, now, or a duration such as 5m")] = Field(
        "start", description="Where to begin: start (a container's first line), now, or a duration such as 5m.",
        pattern=r"^(start|now|(\d+(\.\d+)?(ms|s|m|h))+)$")
    exclude: list[str] = Field([], description="Containers not to show: CONTAINER, or POD/CONTAINER; * and ? are wildcards.")


class Sections(Model):
    """What a profile can change."""

    build: Build = Field(Build(), description="What to build and how.")
    publish: Annotated[Publish, BeforeValidator(Publish.written_short, json_schema_input_type=Publish | PublishMode)] = Field(
        Publish(), description="How images reach the cluster: the mode alone, or a map.")
    deploy: Deploy = Field(Deploy(), description="What to deploy and where.")
    port_forward: list[PortForward] = Field([], description="Ports of this machine that lead into the cluster.")
    logs: Logs = Field(Logs(), description="Which logs are shown.")


class Config(Sections):
    """What devloop works by: devloop.yaml with the chosen profiles merged into it."""

    api_version: Literal["devloop/v1"] = Field(description="The version of this file's format: devloop/v1.")
    name: Annotated[str, Expected("lower-case letters, digits and '-', 63 characters at most")] = Field(
        description="The project's name; it labels what devloop deploys.", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class Profile(Sections):
    """A variant of the config, chosen with -p."""

    identity = ("name",)

    name: Filled = Field(description="The profile's name.")


class File(Config):
    """devloop.yaml."""

    profiles: list[Profile] = Field([], description="Variants, chosen with -p NAME; of several the later one wins. Maps are merged deeply, "
                                    "artifacts and other lists of maps item by item (artifacts and requires by image, forwards by "
                                    "resource and port, imagePaths by kind), other lists are replaced.")
