"""`devloop dev`: the loop with everything around it — the watcher that feeds it, tails and forwards beside it, the clean-up after it."""

from __future__ import annotations

import hashlib
import threading
import traceback
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue

from devloop.app import App
from devloop.cancel import Cancel
from devloop.config import Loaded
from devloop.config.models import PortForward
from devloop.context import differs, watch_roots
from devloop.errors import Cancelled, DevloopError
from devloop.events import ConfigReloaded, Event, ObjectApplied
from devloop.interrupt import ASKING, interruptible, interrupts, put_in_order
from devloop.local_app import make
from devloop.loop import FilesChanged, GenerationDone, Loop, Queue, Stop, failure
from devloop.pipeline import Pipeline
from devloop.plan import Plan
from devloop.roots import Root
from devloop.watch import Watcher

CLEANUP_SECONDS = 20.0


def dev(app: App, *, cleanup: bool, port_forward: bool) -> None:
    """The loop, until interrupted; then what it deployed is deleted. Raises `Cancelled` at its end.

    A devloop.yaml that now names another project, context or namespace ends one session, clean-up included, and begins another.
    """
    queue: Queue = SimpleQueue()
    ready(app)
    with interrupts(lambda: queue.put(Stop())):
        session = Session(app, queue, port_forward=port_forward)
        try:
            session.run(cleanup=cleanup)
            while following := session.next:
                close(session.app)
                session = Session(following.begin(), queue, port_forward=port_forward)
                session.run(cleanup=cleanup)
        finally:
            if session.app is not app:      # which whoever called us closes
                close(session.app)
    raise Cancelled("interrupted")


def close(app: App) -> None:
    """What cannot be put in order is told, and changes nothing."""
    try:
        app.close()
    except DevloopError as error:
        app.emit(failure(error))


def ready(app: App) -> None:
    """See that all answers that a session needs, and say where it is. Raises `DevloopError` where it does not; nothing was begun then."""
    app.greet("dev")
    app.warm = True
    if app.needs_engine and not app.route.nodes:
        app.engine.ping()


class Following:
    """The session that is to follow this one. It is `ready`, so that this one may end; what that tells is told when it begins."""

    def __init__(self, before: App, loaded: Loaded) -> None:
        """Raises `DevloopError` where it is not."""
        self._emit = before.tell
        self._held: list[Event] | None = []
        self._app = make(before.options, self._tell, before.environ, loaded)
        self._app.force, self._app.strict, self._app.keep = before.force, before.strict, before.keep
        try:
            interruptible(lambda _: ready(self._app), ASKING)
        except BaseException:
            put_in_order(self._app.close)
            raise

    def begin(self) -> App:
        held, self._held = self._held or (), None
        for event in held:
            self._emit(event)
        return self._app

    def _tell(self, event: Event) -> None:
        self._emit(event) if self._held is None else self._held.append(event)


class Session:
    """One loop on one target, which is `ready`: the `Work` of a `Loop`."""

    def __init__(self, app: App, queue: Queue, *, port_forward: bool) -> None:
        self.app = app
        self.next: Following | None = None
        self._ending = False
        self._queue = queue
        self._port_forward = port_forward
        self._namespaces = frozenset({app.namespace})
        self._pipeline = Pipeline(app.config, app.base, app, self._emit)
        self._loop = Loop(self, app.emit, queue)
        self._saves = Saves(self._pipeline)
        self._watcher = Watcher(self._roots(), relevant=self._relevant, deliver=self._saved, emit=app.emit)

    def run(self, *, cleanup: bool) -> None:
        """Until `Stop`, or until another session is to follow."""
        with ExitStack() as streams:
            self._tailer = self.app.tail(streams)
            self._forwarder = self.app.forward(streams, self._forwards(self.app.loaded))
            self._afterwards = self.app.afterwards(streams)
            self._watcher.start()
            streams.callback(self._watcher.stop)
            self._loop.run()
            if cleanup:
                self._clean_up()

    # --- what the loop asks for

    @property
    def config_file(self) -> Path:
        return self.app.config_file

    def display(self, path: Path) -> str:
        return str(path.relative_to(self.app.base)) if path.is_relative_to(self.app.base) else str(path)

    def reload(self) -> None:
        loaded = self.app.load()
        if self.app.retargets(loaded):
            self._retarget(loaded)
            return
        self._forwarder.update(self._forwards(loaded))      # first, as it alone may fail
        self.app.use(loaded)
        self._pipeline.use(loaded.config)
        self._watcher.update(self._roots())
        self._tailer.update(namespaces=self._namespaces, config=loaded.config.logs)
        self.app.emit(ConfigReloaded(self.display(self.config_file)))

    def _retarget(self, loaded: Loaded) -> None:
        """End for another session, if that can begin; or for good, where a signal comes before it is known whether it can."""
        from devloop.forward.listen import listen

        ours = {_place(forward) for forward in self._forwards(self.app.loaded)}      # they are free when this session has ended
        for forward in self._forwards(loaded):
            if (place := _place(forward)) not in ours:
                listen(forward, place[1]).close()
        with suppress(Cancelled):
            self.next = Following(self.app, loaded)
        self._ending = True
        self._queue.put(Stop())

    def plan(self, changed: frozenset[Path] | None) -> Plan:
        return Plan(frozenset(), False) if self._ending else self.app.plan(changed, self._pipeline)

    def start(self, generation: int, plan: Plan, cancel: Cancel) -> None:
        def work() -> None:
            error: DevloopError | None = None
            self._afterwards.pause()
            try:
                try:
                    self._pipeline.run(plan, cancel)
                finally:
                    self._watcher.update(self._roots())      # a Dockerfile may have come to depend on more
            except DevloopError as failed:
                error = failed
            except Exception as fault:  # noqa: BLE001 - a fault of ours must not end the loop
                error = unexpected(fault)
            self._afterwards.resume()
            self._queue.put(GenerationDone(error))
            if error is None:
                self._pipeline.prune()

        threading.Thread(target=work, name=f"generation-{generation}", daemon=True).start()

    # --- what happens beside it

    def _emit(self, event: Event) -> None:
        """Pass the pipeline's events on; a namespace that turns up in them is tailed, too."""
        if isinstance(event, ObjectApplied) and event.namespace and event.namespace not in self._namespaces:
            self._namespaces |= {event.namespace}
            self._tailer.update(namespaces=self._namespaces, config=self.app.config.logs)
            self._afterwards.follow(event.namespace)
        self.app.emit(event)

    def _forwards(self, loaded: Loaded) -> Sequence[PortForward]:
        return loaded.config.port_forward if self._port_forward else ()

    def _roots(self) -> list[Root]:
        contexts = self._pipeline.known.contexts
        roots = [Root(self.config_file.parent, recursive=False), Root(self.config_file)]      # which may be a link
        roots += [Root(path) for path in self._pipeline.manifests.roots]
        for artifact in self.app.config.build.artifacts:
            context = contexts.get(artifact.image)
            roots += [Root(path) for path in (context.roots if context else watch_roots(artifact, self.app.base))]
        return roots

    def _relevant(self, path: Path) -> bool:
        return path == self.config_file or not self.app.plan(frozenset({path}), self._pipeline).nothing

    def _saved(self, paths: frozenset[Path]) -> None:
        """A save that changed nothing counts only where it may be a wish to try again."""
        changed = self._saves.changed(paths)
        if paths := paths if self._loop.failed else changed:
            self._queue.put(FilesChanged(paths))

    def _clean_up(self) -> None:
        """Take away what was deployed, in bounded time; a cluster that has gone keeps it, and we say so."""
        cancel = Cancel()
        timer = threading.Timer(CLEANUP_SECONDS, cancel.cancel)
        timer.start()
        self._afterwards.pause()
        try:
            self.app.deployer.delete(self.app.emit, cancel)
        except DevloopError as error:
            self.app.emit(failure(error))
        finally:
            timer.cancel()


class Saves:
    """Which dirty paths hold something new. Used by one thread, the watcher's."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._seen: dict[Path, bytes] = {}       # files that are no part of a context: manifests, the config

    def changed(self, paths: frozenset[Path]) -> frozenset[Path]:
        return frozenset(path for path in paths if self._differs(path))

    def _differs(self, path: Path) -> bool:
        verified = self._pipeline.known.verified.values()
        contexts = [c for c in verified if c is not None and path not in c.inputs and c.depends_on(path)]
        if None in verified or any(differs(c, path) for c in contexts):
            return True
        if contexts:
            return False
        try:
            content = hashlib.sha256(path.read_bytes()).digest()
        except IsADirectoryError:       # what is in it may be new
            self._seen.pop(path, None)
            return True
        except OSError:
            content = b""
        before, self._seen[path] = self._seen.get(path), content
        return content != before


def _place(forward: PortForward) -> tuple[str, int]:
    """Where it wants to listen; 0: anywhere, or what the resource will say."""
    return forward.address, forward.local_port or (forward.port if isinstance(forward.port, int) else 0)


def unexpected(error: Exception) -> DevloopError:
    """A fault of devloop itself, without a traceback in anyone's face: the last places it passed are in the details."""
    places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-3:]]
    return DevloopError(f"devloop itself failed: {type(error).__name__}: {error}",
                        hint="Please report this as a bug, with the lines above.", details=places)
