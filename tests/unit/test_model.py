import pytest

from devloop.model import ImageRef, ObjectRef

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest", "registry", "canonical"),
    [
        ("web", "web", "", "", "", "docker.io/library/web"),
        ("acme/web:1", "acme/web", "1", "", "", "docker.io/acme/web"),
        ("docker.io/web", "docker.io/web", "", "", "docker.io", "docker.io/library/web"),
        ("index.docker.io/acme/web", "index.docker.io/acme/web", "", "", "index.docker.io", "docker.io/acme/web"),
        ("localhost:5000/web", "localhost:5000/web", "", "", "localhost:5000", "localhost:5000/web"),
        ("localhost/web:x", "localhost/web", "x", "", "localhost", "localhost/web"),
        (f"ghcr.io/acme/web:1.2@{D}", "ghcr.io/acme/web", "1.2", D, "ghcr.io", "ghcr.io/acme/web"),
        ("[::1]:5000/web", "[::1]:5000/web", "", "", "[::1]:5000", "[::1]:5000/web"),
    ],
)
def test_references_are_taken_apart_and_put_together(text: str, repository: str, tag: str, digest: str, registry: str,
                                                     canonical: str) -> None:
    ref = ImageRef.parse(text)
    assert (ref.repository, ref.tag, ref.digest, ref.registry, ref.canonical) == (repository, tag, digest, registry, canonical)
    assert str(ref) == text


@pytest.mark.parametrize("text", ["", "Web", "web:", "web:a b", "web@sha256:12", "a//b", "/web", "web/", "-web", "ho_st.io/web", "web:.x"])
def test_what_is_no_reference_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="'" + text.replace(".", r"\.")):
        ImageRef.parse(text)


def test_objects_print_as_kubectl_names_them() -> None:
    ref = ObjectRef.of({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n"}})
    assert (str(ref), ref.group, ref.namespace) == ("deployment/web", "apps", "n")
    assert ObjectRef.of({"apiVersion": "v1", "kind": "Pod"}).group == ""
