"""The same manifests on Kubernetes and on the local Docker Engine: what can be seen of them is the same.

One `devloop dev` with all cases of `together/`, one `devloop run` for each of `endings/`, and claims, which outlive their pods.
What the words of a case mean is told in `cases`. `-k` deploys no more than the chosen cases.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from harness import Result, Session

from devloop.clients.kube import Kube
from tests.conformance.cases import HERE, Case, read, statements
from tests.conformance.observe import PATIENCE, Observer, Steady, no_kubectl
from tests.conformance.targets import LACKS, Project, Target, values

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

RUNS_AT_ONCE = 4


on_both = pytest.mark.parametrize("target", list(LACKS), indirect=True)
TOGETHER, ENDINGS = statements("together"), statements("endings")
CHANGING = [name for name, stated in TOGETHER.items() if "then" in stated]


def chosen(request: pytest.FixtureRequest, target: Target, *tests: Callable[..., None]) -> list[str]:
    """The cases with which these tests are about to run on a target."""
    functions = [item for item in request.session.items if isinstance(item, pytest.Function)]
    params = [item.callspec.params for item in functions if item.originalname in {test.__name__ for test in tests}]
    return sorted({p["name"] for p in params if p["target"] == target.name})


# --- in one session


@dataclass(frozen=True)
class Together:
    """The session of the cases; `steady`: what was asked all the time while they changed."""

    project: Project
    cases: Mapping[str, Case]
    session: Session
    directory: Path
    steady: list[Steady]

    @property
    def seen(self) -> Observer:
        return Observer(self.session, self.project.target.lacks)

    def look(self, case: Case) -> None:
        """See what the case states before any change."""
        self.seen.logs(case.statement.get("logs", {}))
        self.seen.order(case.statement.get("order", ()))
        self.seen.answers(case.statement.get("answers", ()))
        for file, content in case.statement.get("files", {}).items():
            assert (self.directory / file).read_text().strip() == content

    def change(self) -> None:
        """Make the changes of all cases at once, while what is to be steady is asked. What is not as stated other tests tell."""
        changing = [case for case in self.cases.values() if case.then]
        for case in changing:
            with suppress(AssertionError):
                self.look(case)
        self.session.settled(PATIENCE)
        with ExitStack() as asking:
            for case in changing:
                if "steady" in case.statement:
                    self.steady.append(asking.enter_context(Steady(self.seen.url(case.statement["steady"]))))
            for case in changing:
                if case.then.get("remove"):
                    self.project.file(case).unlink()
                else:
                    self.project.file(case).write_text(case.edited())
            for case in changing:
                with suppress(AssertionError):
                    self.seen.answers(case.then.get("answers", ()))
            self.session.settled(PATIENCE)


@pytest.fixture(scope="module")
def together(request: pytest.FixtureRequest, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Together]:
    directory = tmp_path_factory.mktemp("directory")
    (directory / "there.txt").write_text("read from the machine\n")
    image = f"{target.namespace}-image"
    known = values(target, directory, image)
    wanted = chosen(request, target, test_a_case_shows_what_it_states, test_a_change_shows_what_it_states)
    cases = {name: read(HERE / "together" / f"{name}.yaml", known) for name in wanted}
    project = Project.create(target, tmp_path_factory.mktemp("together") / "project", list(cases.values()), image=image)
    with project.start("dev") as session:
        yield Together(project, cases, session, directory, [])
        if session.process.poll() is None:
            session.interrupt()
            session.process.wait(PATIENCE)
    with closing(docker.APIClient(base_url=os.environ.get("DOCKER_HOST"), version="auto")) as api:
        for built in api.images(f"{image}*"):
            api.remove_image(built["Id"], force=True)


@pytest.fixture(scope="module")
def changed(together: Together) -> Together:
    together.change()
    return together


@pytest.mark.parametrize("name", TOGETHER)
@on_both
def test_a_case_shows_what_it_states(together: Together, name: str) -> None:
    together.look(together.cases[name])


@on_both
def test_all_of_them_are_live(together: Together) -> None:
    together.session.finished(together.session.settled(PATIENCE), "live")


@pytest.mark.parametrize("name", CHANGING)
@on_both
def test_a_change_shows_what_it_states(changed: Together, name: str) -> None:
    case = changed.cases[name]
    changed.seen.logs(case.then.get("logs", {}))
    changed.seen.answers(case.then.get("answers", ()))


@on_both
def test_no_connection_fails_while_pods_are_replaced(changed: Together) -> None:
    changed.session.finished(changed.session.settled(PATIENCE), "live")
    for steady in changed.steady:
        assert not steady.failures, f"of {len(steady.answers)} connections {len(steady.failures)} failed: {steady.failures[:5]}"
        assert list(dict.fromkeys(steady.answers)) == ["one", "two"]


@on_both
def test_nothing_more_was_written_and_all_of_it_ends_with_the_session(changed: Together) -> None:
    for case in changed.cases.values():
        changed.seen.logs(case.statement.get("logs", {}) | case.then.get("logs", {}), wait=False)
    changed.session.interrupt()
    assert changed.session.ended() == 130
    assert not changed.session.all("failure")
    if changed.project.target.name == "docker":
        no_kubectl(changed.session.events)


# --- one run each

Endings = Mapping[str, Future[Result]]


@pytest.fixture(scope="module")
def endings(request: pytest.FixtureRequest, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endings]:
    """How `devloop run` ends with each of the cases; a few run at once, and what they deployed is removed after each."""
    path = tmp_path_factory.mktemp("endings")
    known = values(target, path, "")
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        def run(name: str) -> Result:
            case = read(HERE / "endings" / f"{name}.yaml", known)
            project = Project.create(target, path / name, [case], config=case.statement.get("config"))
            try:
                return project.run("run")
            finally:
                project.clean()

        yield {name: pool.submit(run, name) for name in chosen(request, target, test_a_run_ends_as_the_case_states)}


@pytest.mark.parametrize("name", ENDINGS)
@on_both
def test_a_run_ends_as_the_case_states(endings: Endings, target: Target, name: str) -> None:
    stated = read(HERE / "endings" / f"{name}.yaml", values(target, Path(), "")).statement
    failure = endings[name].result().ended(stated["exit"]).one("failure")
    for part in stated["says"]:
        assert part in f"{failure['message']} {failure['hint']}", failure
    for line in stated.get("details", ()):
        assert line in failure["details"], failure
    if target.name == "docker":
        no_kubectl(endings[name].result().events)


# --- what outlives its pods


@pytest.fixture
def claimed(request: pytest.FixtureRequest, target: Target, tmp_path: Path) -> Iterator[Project]:
    """The project of `claims.yaml`; on the cluster with the volumes that a provisioner would make for its claims."""
    project = Project.create(target, tmp_path / "project", [read(HERE / "claims.yaml", {})])
    if target.name == "docker":
        yield project
        project.clean()
        return
    kube: Kube = request.getfixturevalue("kube")
    volumes = [f"{target.namespace}-{claim}" for claim in ("plain", "data-stateful-0", "data-stateful-1")]
    for volume in volumes:
        kube.request("POST", "/api/v1/persistentvolumes", body={"metadata": {"name": volume}, "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(tmp_path / volume), "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": target.namespace, "name": volume.removeprefix(f"{target.namespace}-")}}})
    yield project
    for volume in volumes:
        kube.request("DELETE", f"/api/v1/persistentvolumes/{volume}")


@on_both
def test_what_is_claimed_outlives_its_pods(claimed: Project) -> None:
    for run, command in enumerate((["run", "--tail"], ["dev"]), 1):
        with claimed.start(*command) as session:
            seen = Observer(session, claimed.target.lacks)
            seen.logs({"plain/main": [f"run {run}"]} | {f"stateful-{n}/main": [" ".join([f"stateful-{n}"] * run)] for n in range(2)})
            session.live(1)
            session.interrupt()
            assert session.ended() == 130
        deleted = claimed.run("delete").ended(0)
        if claimed.target.name == "docker":
            no_kubectl([*session.events, *deleted.events])
            told = [event for result in (session, deleted) for event in result.all("notice") if "stays, with its data" in event["message"]]
            assert {event["hint"] for event in told} == {"To remove it: devloop delete --local --volumes"}
            assert len(told) == 3 * run     # `dev` tells at its end, too
