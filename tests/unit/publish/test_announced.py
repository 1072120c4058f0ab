import pytest

from devloop.publish.announced import LocalRegistry, parse

K3D = """
host: "localhost:5000"
hostFromClusterNetwork: "k3d-registry:5000"
hostFromContainerRuntime: "k3d-registry:5000"
help: "https://k3d.io/stable/usage/registries/"
"""


@pytest.mark.parametrize(("text", "expected"), [
    (K3D, LocalRegistry("localhost:5000", "k3d-registry:5000", "k3d-registry:5000", "https://k3d.io/stable/usage/registries/")),
    ("host: localhost:5001", LocalRegistry("localhost:5001", "localhost:5001")),
    ("host: localhost:5001/\nnewer: 1", LocalRegistry("localhost:5001", "localhost:5001")),
    ("host: reg.example/acme\nhostFromContainerRuntime: 10.0.0.1:5000/acme", LocalRegistry("reg.example/acme", "10.0.0.1:5000/acme")),
    ("help: https://example.org", None), ("", None), ("- x", None), ("host: [", None), ("host: 'not a host'", None),
])
def test_what_a_cluster_announces_is_understood_or_left(text, expected):
    assert parse(text) == expected
