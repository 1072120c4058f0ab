"""What registries and Engines say, as those who run them have said it, and what the user is told."""

import pytest

from devloop.clients.registry_errors import EnvironmentUser, LoginWanted, RegistryUnreachable, refused, tag_taken
from devloop.errors import PublishError

LOGIN, AWAY = LoginWanted, RegistryUnreachable
TAKEN = [
    (400, "tag_invalid: The image tag '1' already exists in the 'acme/web' repository and cannot be overwritten, as it is immutable."),
    (412, "precondition: Failed to process request due to 'web:1' configured as immutable."),
    (0, "denied: cannot update tag 1. The repository has enabled tag immutability"),
    (0, "Repository does not allow updating assets: docker-hosted"),
]
CASES = [
    (401, "unauthorized: authentication required", "bob", LOGIN, "the registry ghcr.io does not accept the login of user 'bob'",
     "Log in again: docker login ghcr.io"),
    (0, "unauthorized: authentication required", "", LOGIN, "the registry ghcr.io wants a login, and there is none",
     "Log in: docker login ghcr.io. In CI set DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD."),
    (0, "no basic auth credentials", "", LOGIN, "the registry ghcr.io wants a login", "Log in: docker login ghcr.io."),
    (0, "Get \"https://ghcr.io/v2/\": unauthorized: incorrect username or password", "bob", LOGIN, "the registry ghcr.io does not accept",
     "docker login ghcr.io"),
    (403, "denied: permission_denied: write_package", "bob", LOGIN, "user 'bob' may not push acme/web to ghcr.io", "Has the user"),
    (0, "denied: requested access to the resource is denied", "bob", LOGIN, "user 'bob' may not push acme/web to ghcr.io",
     "docker login ghcr.io"),
    (0, "denied: requested access to the resource is denied", "", LOGIN, "ghcr.io lets nobody push acme/web without a login",
     "docker login ghcr.io"),
    (404, "name_unknown: The repository with name 'acme/web' does not exist in the registry", "bob", PublishError,
     "ghcr.io has no repository acme/web", "created before the first push"),
    (429, "toomanyrequests: You have reached your pull rate limit", "", PublishError, "ghcr.io refuses acme/web: too many",
     "docker login ghcr.io"),
    (0, "toomanyrequests: retry-after: 1s", "bob", PublishError,
     "ghcr.io refuses acme/web: too many requests from user 'bob'", "Wait a while."),
    (403, "denied: adding 5 MiB of storage resource, which when updated will exceed the configured upper limit: exceeds the quota", "bob",
     PublishError, "ghcr.io refuses acme/web: there is no room", "quota raised"),
    (507, "", "bob", PublishError, "ghcr.io refuses acme/web: there is no room", "Remove old images"),
    (0, "Get \"https://ghcr.io/v2/\": http: server gave HTTP response to HTTPS client", "", AWAY, "the registry ghcr.io speaks plain HTTP",
     "publish.registry.insecure: true"),
    (0, "TLS fails: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "", AWAY, "the registry ghcr.io speaks plain HTTP",
     "publish.registry.insecure"),
    (0, "Get \"https://ghcr.io/v2/\": x509: certificate signed by unknown authority", "", AWAY, "the registry ghcr.io is not trusted",
     "/etc/docker/certs.d/ghcr.io/ca.crt"),
    (0, "dial tcp: lookup ghcr.io on 10.0.0.1:53: no such host", "", AWAY, "the registry ghcr.io cannot be reached", "Is its name right"),
    (0, "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)", "", AWAY,
     "the registry ghcr.io cannot be reached", "network"),
    (503, "HTTP status 503 upstream connect error", "", PublishError, "ghcr.io refuses acme/web: HTTP status 503", "logs"),
    (400, "manifest_invalid: manifest invalid", "", PublishError, "ghcr.io refuses acme/web: manifest_invalid", ""),
    (0, "received unexpected HTTP status: 503 Service Unavailable", "", PublishError, "ghcr.io refuses acme/web: received", "logs"),
    (0, "failed commit on ref \"layer-sha256:1\": unexpected status from PUT request to https://ghcr.io/v2/acme/web: 502 Bad Gateway", "",
     PublishError, "ghcr.io refuses acme/web: failed commit", "logs"),
    (413, "HTTP status 413 <html><head><title>413 Request Entity Too Large</title></head>", "bob", PublishError,
     "ghcr.io refuses acme/web: a layer is too large for it, or for a proxy in front of it", "client_max_body_size"),
    (0, "error parsing HTTP 413 response body: invalid character '<': \"<html>413 Request Entity Too Large</html>\"", "", PublishError,
     "ghcr.io refuses acme/web: a layer is too large", "proxy-body-size"),
    (0, "dial tcp: lookup ghcr.io on 127.0.0.53:53: server misbehaving", "", AWAY, "the registry ghcr.io cannot be reached", "network"),
    (0, "Get \"https://ghcr.io/v2/\": context deadline exceeded", "", AWAY, "the registry ghcr.io cannot be reached", "network"),
    (0, "dial tcp [::1]:5000: connect: cannot assign requested address", "", AWAY, "the registry ghcr.io cannot be reached", "network"),
    (0, "received unexpected HTTP status: 504 Gateway Timeout", "", AWAY, "the registry ghcr.io cannot be reached", "does it run"),
    (403, "denied: Your authorization token has expired. Reauthenticate and try again.", "AWS", LOGIN,
     "the registry ghcr.io does not accept the login of user 'AWS'", "Log in again: docker login ghcr.io"),
    (404, "name_unknown: repository acme/quota-service not found", "bob", PublishError, "ghcr.io has no repository acme/web", "created"),
    *((status, text, "bob", PublishError, "ghcr.io refuses acme/web: it keeps the image that has this tag already", "overwritten")
      for status, text in TAKEN),
]


@pytest.mark.parametrize(("status", "text", "user", "kind", "message", "hint"), CASES, ids=[text[:40] or str(s) for s, text, *_ in CASES])
def test_a_refusal_is_told_with_registry_user_and_what_to_do(status, text, user, kind, message, hint):
    error = refused("ghcr.io", text, repository="acme/web", status=status, user=user)

    assert type(error) is kind
    assert error.message.startswith(message)
    assert hint in error.hint


@pytest.mark.parametrize(("text", "kind", "message"), [
    ("unauthorized to access repository: acme/quota-service, action: push", LOGIN, "the registry ghcr.io does not accept"),
    ("name unknown: the repository acme/quota-service is not there", PublishError, "ghcr.io has no repository acme/quota-service"),
])
def test_a_repositorys_own_name_tells_no_reason(text, kind, message):
    error = refused("ghcr.io", text, repository="acme/quota-service", user="bob")

    assert type(error) is kind
    assert error.message.startswith(message)


@pytest.mark.parametrize("text", ["unauthorized: authentication required", "denied: requested access to the resource is denied"])
def test_a_login_of_the_environment_is_not_to_be_mended_by_docker(text):
    error = refused("ghcr.io", text, repository="acme/web", user=EnvironmentUser("bob"))

    assert type(error) is LoginWanted
    assert "user 'bob' (of DEVLOOP_REGISTRY_USER)" in error.message
    assert "Set DEVLOOP_REGISTRY_USER and DEVLOOP_REGISTRY_PASSWORD anew" in error.hint
    assert "docker login" not in error.hint


def test_a_layer_that_is_there_already_is_no_tag_that_is_taken():
    assert not tag_taken("5f70bf18a086: Layer already exists")
    assert all(tag_taken(text) for _, text in TAKEN)


def test_docker_hub_is_called_so_and_logged_in_to_without_a_host():
    error = refused("", "unauthorized", status=401)

    assert error.message.startswith("the registry Docker Hub wants a login")
    assert error.hint.startswith("Log in: docker login.")
