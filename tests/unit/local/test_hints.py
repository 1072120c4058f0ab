"""What a hint says of kubectl leads to the cluster that it is about: to none, on the Docker Engine alone."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from devloop.app import App, Options
from devloop.clients.kube import Kube
from devloop.deploy.causes.diagnosis import Missing
from devloop.deploy.causes.references import missing_hint
from devloop.deploy.objects import delete_command
from devloop.events import Checked, Event, Failure, Notice
from devloop.local.kube import LocalKube
from devloop.model import ObjectRef

SEE = "See 'kubectl describe pod web'. If it only needs more time, raise it."


@pytest.mark.parametrize(("context", "kubectl"), [
    ("", "kubectl"), ("one", "kubectl"), ("two", "kubectl --context two"), ("the third", "kubectl --context 'the third'")])
def test_a_context_that_is_not_the_current_one_is_named(tmp_path: Path, context: str, kubectl: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "one", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("one", "two", "the third")]}))
    with closing(Kube(context=context, kubeconfig=str(file))) as kube:
        assert kube.hint(SEE) == SEE.replace("kubectl", kubectl)
        for own in ("Choose one: kubectl config use-context NAME", "Write 'kubectl kustomize' output to a file."):
            assert kube.hint(own) == own      # these ask no cluster


@pytest.mark.parametrize(("hint", "said"), [
    (SEE, "If it only needs more time, raise it."),
    ("Is it misspelt, or in the wrong place? 'kubectl explain pod' shows the fields.", "Is it misspelt, or in the wrong place?"),
    (missing_hint(Missing("Secret", "login")),
     "Add the Secret to the manifests (deploy.manifests in devloop.yaml), or mend its name in the pod's manifest."),
    (f"To remove it: {delete_command(ObjectRef('v1', 'PersistentVolumeClaim', 'shop', 'data'))}",
     "To remove it: devloop delete --local --volumes"),
    (f"To remove it: {delete_command(ObjectRef('v1', 'Namespace', '', 'shop'))}", ""),
    ("Add it to the manifests. To keep it out of them: kubectl create secret docker-registry a --docker-server=... --docker-username=...",
     "Add it to the manifests."),
])
def test_on_the_docker_engine_alone_kubectl_is_no_help(kube: LocalKube, hint: str, said: str) -> None:
    assert kube.hint(hint) == said


def test_every_event_with_a_hint_is_told_so(kube: LocalKube) -> None:
    told: list[Event] = []
    app = App(Options(), told.append)
    with closing(app):
        plain = Notice("before there is a cluster", hint=SEE)
        app.emit(plain)
        app.kube = kube
        for event in (Notice("a", hint=SEE), Failure("deploy", "a", SEE, (), 12), Checked("a", False, "b", SEE)):
            app.emit(event)
    assert told[0] == plain
    assert [event.hint for event in told[1:] if isinstance(event, (Notice, Failure, Checked))] == [kube.hint(SEE)] * 3
