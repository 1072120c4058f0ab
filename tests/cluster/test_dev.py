"""`devloop dev`: what a save does, and what goes on serving when it does not work out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from harness import Event, Session
from project import Project, eventually, other

from devloop.clients.kube import Kube

pytestmark = pytest.mark.cluster


@pytest.fixture
def dev(project: Project) -> Iterator[Session]:
    """A session whose first generation is live, its port forwarded."""
    with project.start("dev", "--no-cleanup") as session:
        session.live(1)
        session.port("service/hello")
        yield session


def steps(session: Session, generation: int, kind: str, **fields: object) -> list[Event]:
    """The events of one generation."""
    started = session.wait_for("generationStarted", generation=generation)
    finished = session.wait_for("generationFinished", generation=generation)
    return [event for event in session.all(kind, after=started, **fields) if event.index < finished.index]


def applied(session: Session, generation: int) -> dict[str, str]:
    """What a generation did to which object, where it did something."""
    return {event["resource"]: event["action"] for event in steps(session, generation, "objectApplied") if event["action"] != "unchanged"}


def saved(session: Session, generation: int) -> int:
    """The generation that serves all that was saved since the one before `generation`. On a busy machine there may be a pause between two
    files: what was begun for the first is called off then, never served."""
    session.wait_for("generationStarted", generation=generation)
    return session.settled()


def greet(project: Project, text: str) -> None:
    project.write("web/www/index.html", f"<h1>{text}</h1>\n")


def served(session: Session, project: Project, text: str) -> None:
    """Wait until this greeting is what the port answers, and all is done."""
    def answers() -> bool:
        with suppress(OSError):      # between an old pod and a new one
            return project.page() == f"<h1>{text}</h1>\n"
        return False

    eventually(answers)
    session.settled()


# --- a save


def test_a_save_is_served_and_only_its_workload_is_touched(project: Project, dev: Session) -> None:
    assert "Hello from Kubernetes" in project.page()
    dev.next_live(lambda: greet(project, "Saved"))
    assert project.page() == "<h1>Saved</h1>\n"
    assert applied(dev, 2) == {"deployment/hello": "configured"}
    assert dev.wait_for("generationStarted", generation=2)["files"] == ["web/www/index.html"]


def test_a_change_of_one_manifest_builds_nothing_and_deploys_only_that(project: Project, kube: Kube) -> None:
    project.write("k8s/other.yaml", other())
    with project.start("dev") as session:
        session.live(1)
        before = project.deployment(kube)["metadata"]["generation"]
        session.next_live(lambda: project.write("k8s/other.yaml", other(env=[{"name": "COLOUR", "value": "blue"}])))
        assert applied(session, 2) == {"deployment/other": "configured"}
        assert steps(session, 2, "stepStarted", step="build") == []
        assert project.deployment(kube)["metadata"]["generation"] == before


def test_what_no_artifact_and_no_manifest_uses_starts_nothing(project: Project, dev: Session) -> None:
    project.write("web/notes.txt", "kept out by .dockerignore")
    project.write("README.md", "not part of anything")
    subprocess.run(["git", "init", "-q"], cwd=project.path, check=True)
    dev.next_live(lambda: greet(project, "The first that counts"))


def test_a_checkout_of_many_files_is_one_generation(project: Project) -> None:
    def git(*args: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *args], cwd=project.path, check=True,
                       env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull})

    git("init", "-q", "-b", "few")
    git("add", ".")
    git("commit", "-qm", "as it was")
    git("checkout", "-qb", "many")
    for number in range(100):
        project.write(f"web/www/page-{number}.html", f"page {number}\n")
    git("add", ".")
    git("commit", "-qm", "many pages")
    git("checkout", "-q", "few")
    with project.start("dev") as session:
        session.live(1)
        session.port("service/hello")
        for change in (lambda: git("checkout", "-q", "many"), lambda: git("checkout", "-q", "few"), lambda: greet(project, "Afterwards")):
            generation = session.generation
            change()
            session.wait_for("generationStarted", generation=generation + 1)
            session.settled()
        assert "Afterwards" in project.page()
        # on a busy machine git may pause in the middle: what was begun then is called off, never served
        assert len(session.all("generationFinished", outcome="live")) == 4


def test_an_editors_swap_and_backup_files_start_nothing_where_nothing_ignores_them(project: Project) -> None:
    (project.path / "web" / ".dockerignore").unlink()
    page = project.path / "web" / "www" / "index.html"
    with project.start("dev", "--no-cleanup") as session:
        session.live(1)
        session.port("service/hello")
        swap = page.with_name(".index.html.swp")
        swap.write_text("vim was here")                      # as vim does it: swap file, probe, backup by rename, new file, backup away
        page.with_name("4913").write_text("")
        page.with_name("4913").unlink()
        page.rename(page.with_name("index.html~"))
        page.write_text("<h1>From vim</h1>\n")
        page.with_name("index.html~").unlink()
        first = saved(session, 2)
        session.live(first)
        assert project.page() == "<h1>From vim</h1>\n"
        swap.unlink()
        lock, auto, old = (page.with_name(name) for name in (".#index.html", "#index.html#", "index.html___jb_old___"))
        lock.symlink_to("someone@somewhere.1")               # as emacs and JetBrains do it, before there is a save
        auto.write_text("<h1>Half")
        old.write_text("old")
        session.next_live(lambda: greet(project, "Saved"))
        assert project.page() == "<h1>Saved</h1>\n"
        for draft in (lock, auto, old):
            draft.unlink()
        before = session.generation
        temporary = page.with_name("index.html.tmp.123")     # as most others do it: a new file is renamed over the old one
        temporary.write_text("<h1>Renamed</h1>\n")
        temporary.replace(page)
        session.live(saved(session, before + 1))
        assert project.page() == "<h1>Renamed</h1>\n"
        assert len(session.all("generationFinished", outcome="live")) == 4
        files = {file for event in session.all("generationStarted") for file in event["files"]}
        assert files <= {"web/www/index.html", "web/www/index.html.tmp.123"}


def test_directories_that_are_replaced_are_served_from_then_on(project: Project, dev: Session) -> None:
    web, k8s = project.path / "web", project.path / "k8s"
    shutil.copytree(web, project.path / "web.new")
    project.write("web.new/www/index.html", "<h1>Swapped</h1>\n")
    web.rename(project.path / "web.old")
    (project.path / "web.new").rename(web)
    served(dev, project, "Swapped")
    greet(project, "In the new directory")
    served(dev, project, "In the new directory")

    shutil.rmtree(web)
    (project.path / "web.old").rename(web)
    greet(project, "Back")
    served(dev, project, "Back")

    shutil.copytree(k8s, project.path / "k8s.new")
    shutil.rmtree(k8s)
    (project.path / "k8s.new").rename(k8s)
    before = dev.settled()
    project.edit("k8s/config.yaml", "Nice", "Very nice")
    dev.wait_for("objectApplied", resource="configmap/hello", action="configured")
    dev.live(saved(dev, before + 1))


def test_what_is_behind_links_is_built_and_deployed(project: Project) -> None:
    elsewhere = project.path.with_name(f"{project.path.name}-elsewhere")
    elsewhere.mkdir()
    for name in ("web", "k8s", "devloop.yaml"):
        (project.path / name).rename(elsewhere / name)
        (project.path / name).symlink_to(elsewhere / name)
    (elsewhere / "k8s" / "config.yaml").rename(elsewhere / "config.yaml")
    (elsewhere / "k8s" / "config.yaml").symlink_to("../config.yaml")
    with project.start("dev", "--no-cleanup") as session:
        session.live(1)
        session.port("service/hello")
        session.next_live(lambda: greet(project, "Behind a link"))
        assert project.page() == "<h1>Behind a link</h1>\n"
        assert session.all("generationStarted")[-1]["files"] == ["web/www/index.html"]
        session.next_live(lambda: project.edit("k8s/config.yaml", "Nice", "Very nice"))
        assert session.all("generationStarted")[-1]["files"] == ["k8s/config.yaml"]
        project.edit("devloop.yaml", "portForward:", "portForward:\n  - {resource: deployment/hello, port: 8080}")
        session.wait_for("configReloaded")


def test_an_object_that_left_the_manifests_is_removed(project: Project, kube: Kube) -> None:
    project.write("k8s/other.yaml", other())
    with project.start("dev") as session:
        session.live(1)
        session.next_live((project.path / "k8s" / "other.yaml").unlink)
        assert applied(session, 2) == {"deployment/other": "deleted"}
        eventually(lambda: "deployment/other" not in project.left(kube))


def test_only_the_artifact_concerned_is_built(project: Project) -> None:
    second = f"{project.image}-second"
    project.write("second/Dockerfile", "FROM busybox:1.36\nCOPY . /second\n")
    project.edit("devloop.yaml", "      context: web\n", f"      context: web\n    - image: {second}\n      context: second\n")
    project.write("k8s/other.yaml", other(image=second))
    with project.start("dev") as session:
        session.live(1)
        session.next_live(lambda: project.write("second/file", "new"))
        assert [event["subject"] for event in steps(session, 2, "stepStarted", step="build")] == [second]
        assert applied(session, 2) == {"deployment/other": "configured"}


# --- what does not work out


def test_a_first_build_that_fails_is_tried_again_at_the_next_save(project: Project) -> None:
    project.edit("web/Dockerfile", "USER 1000", "RUN exit 7")
    with project.start("dev") as session:
        session.finished(1, "failed")
        assert session.wait_for("failure")["phase"] == "build"
        project.edit("web/Dockerfile", "RUN exit 7", "USER 1000")
        session.live(2)
        session.port("service/hello")
        assert "Hello from Kubernetes" in project.page()


def test_a_failed_build_leaves_the_old_version_serving_and_nothing_is_forgotten(project: Project, dev: Session) -> None:
    greet(project, "In the same breath")
    project.edit("web/Dockerfile", "USER 1000", "RUN exit 7")
    dev.finished(saved(dev, 2), "failed")
    assert "Dockerfile:4" in dev.wait_for("failure")["message"]
    assert "Hello from Kubernetes" in project.page()
    dev.next_live(lambda: project.edit("web/Dockerfile", "RUN exit 7", "USER 1000"))
    assert project.page() == "<h1>In the same breath</h1>\n"


def test_a_broken_manifest_leaves_the_old_version_serving(project: Project, dev: Session) -> None:
    project.edit("k8s/deployment.yaml", "spec:\n  selector", "spec: [\n  selector")
    dev.finished(2, "failed")
    assert "deployment.yaml:" in dev.wait_for("failure")["message"]
    greet(project, "Built meanwhile")
    dev.finished(3, "failed")
    assert "Hello from Kubernetes" in project.page()
    dev.next_live(lambda: project.edit("k8s/deployment.yaml", "spec: [\n  selector", "spec:\n  selector"))
    assert project.page() == "<h1>Built meanwhile</h1>\n"


def test_a_failed_rollout_leaves_the_old_version_serving(project: Project, dev: Session) -> None:
    project.edit("web/serve", "echo \"serving", "exit 1; echo \"serving")
    dev.finished(2, "failed")
    assert dev.wait_for("failure")["phase"] == "rollout"
    assert "Hello from Kubernetes" in project.page()
    greet(project, "Mended")
    dev.finished(3, "failed")
    dev.next_live(lambda: project.edit("web/serve", "exit 1; echo", "echo"))
    assert project.page() == "<h1>Mended</h1>\n"


def test_a_save_during_a_build_makes_it_stale_and_the_newest_state_is_built(project: Project, dev: Session,
                                                                                   docker_processes: Callable[[], list[str]]) -> None:
    project.edit("web/Dockerfile", "USER 1000", "RUN echo waiting; sleep 86399\nUSER 1000")
    dev.wait_for("stepOutput", line="waiting")
    greet(project, "Newest")
    project.edit("web/Dockerfile", "RUN echo waiting; sleep 86399\n", "")
    dev.finished(2, "stale", timeout=20)
    dev.live(dev.settled())
    assert project.page() == "<h1>Newest</h1>\n"
    eventually(lambda: not any("sleep 86399" in command for command in docker_processes()))


def test_a_save_during_a_rollout_makes_it_stale(project: Project) -> None:
    project.write("k8s/other.yaml", other(readinessProbe={"exec": {"command": ["false"]}}))
    with project.start("dev") as session:
        session.wait_for("stepStarted", step="rollout", subject="deployment/other")
        project.write("k8s/other.yaml", other())
        session.finished(1, "stale", timeout=20)
        session.live(2)


# --- the config


def test_an_edit_of_the_config_takes_effect_and_a_broken_one_does_not(project: Project, dev: Session) -> None:
    project.edit("devloop.yaml", "portForward:", "portForwards:")
    failure = dev.wait_for("failure", phase="config")
    assert "portForwards" in failure["message"]
    dev.next_live(lambda: greet(project, "With the old config"))
    assert project.page() == "<h1>With the old config</h1>\n"

    project.edit("devloop.yaml", "portForwards:", "portForward:\n  - {resource: deployment/hello, port: 8080}")
    dev.wait_for("configReloaded", after=failure)
    second = dev.port("deployment/hello")
    assert second != project.port
    assert project.page() == "<h1>With the old config</h1>\n"
    project.port = second
    assert project.page() == "<h1>With the old config</h1>\n"
