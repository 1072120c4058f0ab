"""What cannot be when Kaniko builds is told with its place, before anything starts."""

import pytest

from devloop.config.models import GitContext

HEAD = "apiVersion: devloop/v1\nname: hello\n"


def written(build: str, rest: str = "") -> str:
    return f"{HEAD}build:\n  builder: kaniko\n  artifacts: [{{image: web, context: web}}]\n{build}{rest}"


@pytest.mark.parametrize(("text", "fault"), [
    (HEAD + "build: {builder: kaniko, artifacts: [{image: web, context: web, docker: {network: host}}]}",
     "build.artifacts[0].docker.network: Kaniko's RUN instructions have the network of the build's pod"),
    (HEAD + "build: {artifacts: [{image: web, context: web, builder: kaniko, docker: {cacheFrom: [x]}}]}",
     "docker.cacheFrom: Kaniko takes layers only from build.kaniko.cache.repository"),
    (written("  engine: buildkit\n"), "build.engine: BuildKit is a Docker Engine's"),
    (written("", "publish: kind\n"), "publish: Kaniko pushes what it builds to a registry"),
    (written("", "publish: {mode: minikube-image-load}\n"), "publish.mode: Kaniko pushes"),
    (written("  kaniko: {args: [--destination=x]}\n"), "args[0]: devloop sets --destination itself: see publish.registry.repository"),
    (written("  kaniko: {args: [-f=x]}\n"), "devloop sets --dockerfile itself: see docker.dockerfile"),
    (written("  kaniko: {args: [--digest-file=/x]}\n"), "devloop sets --digest-file itself"),
    (written("  kaniko: {args: [redo]}\n"), "expected a flag with its value such as --snapshot-mode=redo, found 'redo'"),
    (written("  kaniko: {dockerConfigSecret: a, fromDockerConfig: true}\n"), "dockerConfigSecret: the logins come from this secret, or"),
    (written("  kaniko: {env: {GOOD: x, FOO-BAR: x}}\n"), "env.FOO-BAR: expected a variable's name, of letters, digits and '_'"),
    (written("  kaniko: {image: UPPER}\n"), "a repository is lower-case"),
    (written("  kaniko: {timeout: soon}\n"), "expected a duration"),
    (written("  kaniko: {context: {git: {url: 'git@github.com:acme/x'}}}\n"), "expected a repository's address such as https://"),
    (written("  kaniko: {warmth: true}\n"), "unknown key, did you mean 'warm'?"),
])
def test_is_refused(refusal, text, fault):
    assert fault in refusal(text).message


def test_docker_builds_what_kaniko_cannot(read):
    assert read(HEAD + "build: {artifacts: [{image: web, context: web, docker: {network: host}}]}")
    assert read(HEAD + "build: {builder: kaniko, engine: buildkit, artifacts: [{image: web, context: web, builder: docker}, "
                       "{image: api, context: web}]}")


def test_every_key_can_be_set(read):
    kaniko = read(written("""  kaniko:
    image: ghcr.io/acme/kaniko:v2@sha256:0123456789012345678901234567890123456789012345678901234567890123
    helperImage: ""
    namespace: builds
    serviceAccount: builder
    dockerConfigSecret: login
    cache: {enabled: false, repository: ghcr.io/acme/layers, ttl: 24h, copyLayers: true}
    resources: {requests: {memory: 1Gi, cpu: 1}, limits: {memory: 2Gi}}
    nodeSelector: {pool: build}
    tolerations: [{key: dedicated, value: build, effect: NoSchedule}, {operator: Exists}]
    env: {HTTPS_PROXY: "http://proxy:3128", RETRIES: 3}
    args: [--snapshot-mode=redo]
    registryMirror: [mirror.gcr.io]
    insecureRegistries: ["10.0.0.1:5000"]
    skipTlsVerify: true
    certificates: company-ca
    timeout: 1h
    context: {git: {url: https://github.com/acme/hello.git, ref: main, subPath: web}}
    warm: false
""")).config.build.kaniko
    assert kaniko.resources.requests == {"memory": "1Gi", "cpu": "1"}
    assert kaniko.env["RETRIES"] == "3"
    assert isinstance(kaniko.context, GitContext)
    assert kaniko.context.git.sub_path == "web"
    assert not kaniko.warm
