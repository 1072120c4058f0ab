import pytest

from devloop.clients.registry_auth import challenges


@pytest.mark.parametrize(("header", "expected"), [
    ('Basic realm="private"', {"basic": {"realm": "private"}}),
    ('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:acme/web:pull,push"',
     {"bearer": {"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:acme/web:pull,push"}}),
    ('bearer realm=https://x/token, service = "a b" , Basic realm="r"',
     {"bearer": {"realm": "https://x/token", "service": "a b"}, "basic": {"realm": "r"}}),
    ("Negotiate", {}), ("", {}),
])
def test_challenges_are_read_as_registries_write_them(header, expected):
    assert {scheme: found for scheme, found in challenges(header).items() if found} == expected
