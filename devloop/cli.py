"""Commands and flags; what they do is in `commands` and `dev`. The one place that turns an error into an exit code."""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from devloop import __version__
from devloop.errors import DevloopError

if TYPE_CHECKING:
    from devloop.app import App

cli = typer.Typer(
    name="devloop",
    help="The inner loop for Kubernetes: save a file, and seconds later the new code answers on localhost.",
    epilog="Exit codes: 0 done, 2 usage or config, 10 build, 11 publish, 12 deploy, 13 rollout, "
           "14 Docker or the cluster cannot be reached, 130 interrupted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

config = typer.Typer(help="Look at devloop.yaml.", no_args_is_help=True)
cli.add_typer(config, name="config")

OUTPUT_CLOSED = 141      # as a shell tells of a program that SIGPIPE ended

Output = Literal["auto", "plain", "json"]
OPTIONS: dict[str, tuple[Any, Any]] = {   # what every command takes: name → (type, default)
    "filename": (Annotated[Path, typer.Option("--filename", "-f", help="The config file.")], Path("devloop.yaml")),
    "profile": (Annotated[list[str], typer.Option("--profile", "-p", help="A profile of the config; may be given several times.")], ()),
    "namespace": (Annotated[str, typer.Option("--namespace", "-n", help="Deploy to this namespace.")], ""),
    "kube_context": (Annotated[str, typer.Option("--kube-context", help="Use this context of the kubeconfig.")], ""),
    "local": (Annotated[bool, typer.Option("--local", help="Run the manifests on the local Docker Engine alone: no cluster is needed.")],
              False),
    "output": (Annotated[Output, typer.Option("--output", help="How to report: for people, plain lines, or one JSON event a line.")],
               "auto"),
    "verbose": (Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")], False),
}

Force = Annotated[bool, typer.Option("--force", help="Take over fields that another manager of the objects has set.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the manifests ask for what the local Docker Engine alone cannot do.")]
FileOutput = Annotated[Path | None, typer.Option("--file-output", help="Write the built images to this file.")]
BuildArtifacts = Annotated[Path | None, typer.Option("--build-artifacts", "-a",
                                                     help="Use the images that 'build --file-output' listed (-: standard input).")]

# no `from __future__ import annotations` here: typer reads the annotations as objects


def command(group: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make ``function(app, **flags)`` a command of `group`: with its own flags and those that every command takes."""
    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        shared = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=t) for k, (t, d) in OPTIONS.items()]

        @functools.wraps(function)
        def run(**flags: Any) -> None:
            options = {key: flags.pop(key) for key in OPTIONS}
            raise typer.Exit(_guarded(function, options, flags))

        run.__signature__ = inspect.Signature(own + shared)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in own + shared}
        group.command()(run)
        return run

    return decorate


@command(cli)
def dev(app: "App", no_cleanup: Annotated[bool, typer.Option("--no-cleanup", help="Leave what was deployed when it ends.")] = False,
        port_forward: Annotated[bool, typer.Option("--port-forward/--no-port-forward", help="Forward the config's ports.")] = True,
        force: Force = False, strict: Strict = False) -> None:
    """Build, deploy, follow logs and forward ports; and again at every save, until Ctrl-C."""
    from devloop.dev import dev

    app.force, app.strict, app.keep = force, strict, no_cleanup
    dev(app, cleanup=not no_cleanup, port_forward=port_forward)


@command(cli)
def run(app: "App", tail: Annotated[bool, typer.Option("--tail", help="Follow the logs afterwards, until Ctrl-C.")] = False,
        port_forward: Annotated[bool | None, typer.Option(
            "--port-forward/--no-port-forward", help="Forward the config's ports until Ctrl-C. Default: with --tail.",
            show_default=False)] = None,
        force: Force = False, strict: Strict = False) -> None:
    """Build, deploy and wait until it runs, once."""
    from devloop import commands

    app.force, app.strict = force, strict
    commands.run(app, tail=tail, port_forward=port_forward)


@command(cli)
def build(app: "App", file_output: FileOutput = None) -> None:
    """Build the images."""
    from devloop import commands

    commands.build(app, file_output=file_output)


@command(cli)
def deploy(app: "App", build_artifacts: BuildArtifacts = None, force: Force = False, strict: Strict = False) -> None:
    """Deploy images that are built already, and wait until they run."""
    from devloop import commands

    app.force, app.strict = force, strict
    commands.deploy(app, build_artifacts=build_artifacts)


@command(cli)
def render(app: "App", file_output: Annotated[Path | None, typer.Option("-o", "--file-output", help="Write to this file.")] = None,
           build_artifacts: BuildArtifacts = None) -> None:
    """Print the manifests as they would be deployed."""
    from devloop import commands

    commands.render(app, file_output=file_output, build_artifacts=build_artifacts)


@command(cli)
def delete(app: "App", volumes: Annotated[bool, typer.Option("--volumes", help="Delete its PersistentVolumeClaims, too.")] = False) -> None:
    """Delete what was deployed; volumes, and namespaces that were there before, stay."""
    from devloop import commands

    commands.delete(app, volumes=volumes)


@command(cli)
def doctor(app: "App") -> None:
    """Check all that a session needs, and say what to do about what is not well."""
    from devloop.doctor import doctor

    doctor(app)


@command(config)
def view(app: "App") -> None:
    """Print the config as it is in force, with the file and line that each value came from."""
    from devloop.config.view import view

    sys.stdout.write(view(app.loaded))


@cli.command()
def schema() -> None:
    """Print the JSON schema of devloop.yaml."""
    from devloop.config.schema import text

    _printed(text())


@cli.command()
def version() -> None:
    """Print devloop's version."""
    _printed(f"devloop {__version__}\n")


def _printed(text: str) -> None:
    if not _flushed(text):
        raise typer.Exit(OUTPUT_CLOSED)


def _flushed(text: str = "") -> bool:
    """Whether standard output took this, and what was written to it before."""
    from devloop.report.reporter import Output, OutputClosed

    try:
        Output(sys.stdout).write(text)
    except OutputClosed:
        return False
    return True


def _guarded(function: Callable[..., None], options: dict[str, Any], flags: dict[str, Any]) -> int:
    """Run a command to its exit code; whatever ended it is shown once, by the reporter."""
    from devloop.app import Options
    from devloop.interrupt import ASKING, asked, interruptible, interrupts, put_in_order
    from devloop.local_app import make
    from devloop.report import Bus, make_reporter

    with interrupts(lambda: None):      # a signal that comes while nothing can be called off is heard by what can be, next
        bus = Bus(make_reporter(options["output"], sys.stdout, environ=os.environ, verbose=options["verbose"]))
        app = make(Options(**options), bus.emit)
        try:
            code = _outcome(app, lambda: interruptible(lambda _: function(app, **flags), ASKING))
            ended = _outcome(app, lambda: put_in_order(app.close))      # what cannot be put in order is told, too
        finally:
            bus.close()
        code = code or ended if _flushed() and not bus.output_closed else OUTPUT_CLOSED
        if asked():
            os._exit(code)      # the interpreter's own end would wait for threads that wait for what does not answer
    return code


def _outcome(app: "App", work: Callable[[], None]) -> int:
    from devloop.commands import Reported
    from devloop.dev import unexpected
    from devloop.errors import Cancelled
    from devloop.loop import failure

    try:
        work()
    except Reported as error:
        return error.code
    except (Cancelled, KeyboardInterrupt):
        return Cancelled.exit_code
    except DevloopError as error:
        app.emit(failure(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - a fault of ours: told as one, never as a traceback
        app.emit(failure(unexpected(error)))
        return 1
    return 0


def main() -> None:
    """What the console script comes to, see `devloop.__main__`."""
    output = sys.stdout
    try:
        cli(prog_name="devloop")
    except OSError:      # of typer's own output, such as its help: commands tell of theirs
        pass
    except SystemExit:
        if sys.stdout is output:
            raise
        sys.stdout = output      # typer has wrapped it: its reader has gone
    _flushed()
    sys.exit(OUTPUT_CLOSED)
