"""The effective config as YAML that says where each value came from."""

from devloop.config.view import view

TEXT = """\
apiVersion: devloop/v1
name: ${NAME:-hello}
build:
  artifacts:
    - image: web
      docker: {buildArgs: {TOKEN: "${TOKEN}", PORT: 8080, TEXT: "a\\nb", PLAIN: "$${X} $5", MASK: "a\\n${TOKEN}"}}
      requires: [base]
    - image: base
deploy: {namespace: , imagePaths: [{kind: X, paths: [".a[*]"]}]}
portForward:
  - {resource: service/web, port: http}
profiles:
  - name: dev
    deploy: {kubeContext: kind-dev}
"""


def test_every_value_has_its_origin(read):
    assert view(read(TEXT, {"TOKEN": "secret"}, ["dev"])) == r"""apiVersion: devloop/v1                               # devloop.yaml:1
name: hello                                          # devloop.yaml:2
build:
  builder: docker                                    # default
  artifacts:
    - image: web                                     # devloop.yaml:5
      context: .                                     # default
      builder: ""                                    # default
      docker:
        dockerfile: ""                               # default
        target: ""                                   # default
        buildArgs:
          TOKEN: ${TOKEN}                            # devloop.yaml:6
          PORT: '8080'                               # devloop.yaml:6
          TEXT: "a\nb"                               # devloop.yaml:6
          PLAIN: $${X} $5                            # devloop.yaml:6
          MASK: "a\n${TOKEN}"                        # devloop.yaml:6
        labels: {}                                   # default
        platform: ""                                 # default
        cacheFrom: []                                # default
        network: ""                                  # default
      requires:
        - image: base                                # devloop.yaml:7
          alias: ""                                  # default
    - image: base                                    # devloop.yaml:8
      context: .                                     # default
      builder: ""                                    # default
      docker:
        dockerfile: ""                               # default
        target: ""                                   # default
        buildArgs: {}                                # default
        labels: {}                                   # default
        platform: ""                                 # default
        cacheFrom: []                                # default
        network: ""                                  # default
      requires: []                                   # default
  tag: inputDigest                                   # default
  engine: auto                                       # default
  concurrency: 0                                     # default
  kaniko:
    image: ghcr.io/osscontainertools/kaniko:v1.28.3  # default
    helperImage: busybox:1.36                        # default
    namespace: ""                                    # default
    serviceAccount: ""                               # default
    dockerConfigSecret: ""                           # default
    fromDockerConfig: false                          # default
    cache:
      enabled: true                                  # default
      repository: ""                                 # default
      ttl: 336h                                      # default
      copyLayers: false                              # default
    resources:
      requests: {}                                   # default
      limits: {}                                     # default
    nodeSelector: {}                                 # default
    tolerations: []                                  # default
    env: {}                                          # default
    args: []                                         # default
    registryMirror: []                               # default
    insecureRegistries: []                           # default
    skipTlsVerify: false                             # default
    certificates: ""                                 # default
    timeout: 20m                                     # default
    context: upload                                  # default
    warm: true                                       # default
publish:
  mode: auto                                         # default
  registry:
    repository: ""                                   # default
    pullRepository: ""                               # default
    insecure: false                                  # default
  minikube:
    enableRegistryAddon: false                       # default
deploy:
  manifests:
    - k8s/*.yaml                                     # default
  target: cluster                                    # default
  namespace: ""                                      # default
  kubeContext: kind-dev                              # devloop.yaml:14
  rolloutTimeout: 10m                                # default
  imagePullSecret: ""                                # default
  imagePaths:
    - kind: X                                        # devloop.yaml:9
      paths:
        - .a[*]                                      # devloop.yaml:9
portForward:
  - resource: service/web                            # devloop.yaml:11
    port: http                                       # devloop.yaml:11
    localPort: 0                                     # default
    address: 127.0.0.1                               # default
    namespace: ""                                    # default
    strict: false                                    # default
logs:
  since: start                                       # default
  exclude: []                                        # default
"""


def test_what_the_environment_has_for_build_arguments_is_not_shown(read):
    assert "s3cret" not in view(read(TEXT, {"TOKEN": "s3cret"}))


def test_it_reads_back_as_the_same_config(read):
    environ = {"TOKEN": "secret", "NAME": "other"}
    loaded = read(TEXT, environ, ["dev"])

    assert read(view(loaded), environ).config == loaded.config
