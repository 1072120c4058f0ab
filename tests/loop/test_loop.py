"""The loop as scripted histories: what is put into its queue, what it starts. No threads, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import pytest

from devloop.cancel import Cancel
from devloop.errors import BuildError, Cancelled, ConfigError
from devloop.events import Event, Failure, GenerationFinished, GenerationStarted
from devloop.loop import FilesChanged, GenerationDone, Loop, Message, Stop
from devloop.plan import Plan

CONFIG = Path("/p/devloop.yaml")
PAGE, OTHER, IGNORED = Path("/p/web/index.html"), Path("/p/web/other.html"), Path("/p/ignored.log")
ALL = "everything"


@dataclass
class Recorder:
    """Work that starts nothing: it writes down what it was asked for."""

    broken_config: bool = False
    config_file: Path = CONFIG
    asked: list[frozenset[Path] | str] = field(default_factory=list)
    started: list[tuple[int, Cancel]] = field(default_factory=list)
    reloads: int = 0

    def display(self, path: Path) -> str:
        return path.name

    def reload(self) -> None:
        if self.broken_config:
            raise ConfigError("devloop.yaml:3:1: broken")
        self.reloads += 1

    def plan(self, changed: frozenset[Path] | None) -> Plan:
        self.asked.append(ALL if changed is None else changed)
        return Plan(frozenset({"web"}) if changed is None or changed - {IGNORED} else frozenset(), changed is None)

    def start(self, generation: int, plan: Plan, cancel: Cancel) -> None:
        self.started.append((generation, cancel))


class Story:
    """A loop that was started, and what came of every message."""

    def __init__(self) -> None:
        self.work = Recorder()
        self.events: list[Event] = []
        self.queue: SimpleQueue[Message] = SimpleQueue()
        self.loop = Loop(self.work, self.events.append, self.queue)
        self.loop._next()

    def save(self, *paths: Path) -> None:
        self.loop.handle(FilesChanged(frozenset(paths)))

    def done(self, error: BuildError | Cancelled | None = None) -> None:
        self.loop.handle(GenerationDone(error))

    @property
    def outcomes(self) -> list[str]:
        return [f"{e.generation} {e.outcome}" for e in self.events if isinstance(e, GenerationFinished)]


@pytest.fixture
def story() -> Story:
    return Story()


def test_the_first_generation_covers_everything(story: Story) -> None:
    assert story.work.asked == [ALL]
    assert [g for g, _ in story.work.started] == [1]


def test_a_save_after_a_live_generation_starts_one_for_that_file_alone(story: Story) -> None:
    story.done()
    story.save(PAGE)
    assert story.work.asked[1:] == [frozenset({PAGE})]
    assert story.outcomes == ["1 live"]


def test_a_save_while_a_generation_runs_cancels_it_and_the_newest_state_is_built(story: Story) -> None:
    story.done()
    story.save(PAGE)
    story.save(OTHER)
    assert story.work.started[-1][1].cancelled
    assert len(story.work.started) == 2       # not before the stale one has ended
    story.done(Cancelled("a newer save"))
    assert story.outcomes[-1] == "2 stale"
    assert story.work.asked[-1] == {PAGE, OTHER}
    assert not story.work.started[-1][1].cancelled


def test_a_failed_generation_is_not_retried_until_a_save_and_forgets_nothing(story: Story) -> None:
    story.done()
    story.save(PAGE)
    story.done(BuildError("no"))
    assert len(story.work.started) == 2
    story.save(OTHER)
    assert story.work.asked[-1] == {PAGE, OTHER}
    assert story.outcomes == ["1 live", "2 failed"]


def test_a_first_generation_that_fails_leaves_everything_to_do(story: Story) -> None:
    story.done(BuildError("no"))
    story.save(PAGE)
    assert story.work.asked == [ALL, ALL]


def test_a_second_save_of_the_same_file_is_not_lost_when_the_cancelled_generation_went_live_after_all(story: Story) -> None:
    story.done()
    story.save(PAGE)
    story.save(PAGE)
    story.done()                              # the cancel came too late
    assert story.work.asked[-1] == {PAGE}
    assert [g for g, _ in story.work.started] == [1, 2, 3]


def test_an_error_is_told_once_and_a_stale_generation_is_no_error(story: Story) -> None:
    story.done(BuildError("no", hint="mend it", details=["line"]))
    story.save(PAGE)
    story.done(Cancelled())
    assert [e for e in story.events if isinstance(e, Failure)] == [Failure("build", "no", "mend it", ("line",), 10)]


def test_nothing_starts_for_files_that_nothing_depends_on(story: Story) -> None:
    story.done()
    story.save(IGNORED)
    assert len(story.work.started) == 1
    assert not [e for e in story.events if isinstance(e, GenerationStarted)][1:]


def test_an_edited_config_is_read_anew_and_everything_is_looked_at(story: Story) -> None:
    story.done()
    story.save(CONFIG)
    assert story.work.reloads == 1
    assert story.work.asked[-1] == ALL


def test_a_broken_config_is_told_and_changes_nothing(story: Story) -> None:
    story.done()
    story.work.broken_config = True
    story.save(CONFIG)
    assert len(story.work.started) == 1
    assert [(e.message, e.hint) for e in story.events if isinstance(e, Failure)] == [
        ("devloop.yaml:3:1: broken", "What was in force before this edit stays.")]
    story.save(PAGE)                          # the old config is in force
    assert story.work.asked[-1] == {PAGE}


def test_a_broken_config_saved_in_the_middle_of_a_generation_does_not_lose_that_generations_work(story: Story) -> None:
    story.done()
    story.save(PAGE)
    story.work.broken_config = True
    story.save(CONFIG)
    story.done(Cancelled())
    assert story.work.asked[-1] == {PAGE}


def test_a_broken_config_saved_during_the_first_generation_does_not_call_it_off_for_good(story: Story) -> None:
    story.work.broken_config = True
    story.save(CONFIG)
    story.done(Cancelled())
    assert story.work.asked == [ALL, ALL]
    assert [g for g, _ in story.work.started] == [1, 2]
    assert [e.message for e in story.events if isinstance(e, Failure)] == ["devloop.yaml:3:1: broken"]


def test_a_broken_config_saved_during_what_a_good_one_started_does_not_either(story: Story) -> None:
    story.done()
    story.save(CONFIG)
    story.work.broken_config = True
    story.save(CONFIG)
    story.done(Cancelled())
    assert story.work.asked == [ALL, ALL, ALL]


def test_a_broken_config_does_not_try_again_what_failed(story: Story) -> None:
    story.done(BuildError("no"))
    story.work.broken_config = True
    story.save(CONFIG)
    assert story.work.asked == [ALL]


def test_at_most_five_files_are_named_but_all_are_counted(story: Story) -> None:
    story.done()
    story.save(*(Path(f"/p/web/{n}") for n in range(9)))
    event = [e for e in story.events if isinstance(e, GenerationStarted)][-1]
    assert event.files == ("0", "1", "2", "3", "4")
    assert event.total_files == 9


def test_stop_cancels_the_running_generation_and_waits_for_it() -> None:
    work, queue = Recorder(), SimpleQueue[Message]()
    for message in (Stop(), GenerationDone(Cancelled())):
        queue.put(message)
    Loop(work, lambda event: None, queue).run()
    assert work.started[0][1].cancelled
    assert queue.empty()
