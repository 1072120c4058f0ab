"""What registries and Engines say, as those who run them have said it, and what the user is told."""

import pytest

from devloop.clients.registry_errors import LoginWanted, RegistryUnreachable, refused
from devloop.errors import PublishError

LOGIN, AWAY = LoginWanted, RegistryUnreachable
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
]


@pytest.mark.parametrize(("status", "text", "user", "kind", "message", "hint"), CASES, ids=[text[:40] or str(s) for s, text, *_ in CASES])
def test_a_refusal_is_told_with_registry_user_and_what_to_do(status, text, user, kind, message, hint):
    error = refused("ghcr.io", text, repository="acme/web", status=status, user=user)

    assert type(error) is kind
    assert error.message.startswith(message)
    assert hint in error.hint


def test_docker_hub_is_called_so_and_logged_in_to_without_a_host():
    error = refused("", "unauthorized", status=401)

    assert error.message.startswith("the registry Docker Hub wants a login")
    assert error.hint.startswith("Log in: docker login.")
