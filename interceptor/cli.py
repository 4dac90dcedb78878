"""The command ``interceptor``: runs a proxy in the foreground, prints the references."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from time import monotonic as _monotonic
from typing import TYPE_CHECKING, Any, Final

import click

from interceptor.cacommands import ca
from interceptor.errors import InterceptorError, LaunchError
from interceptor.model.wording import escape_controls
from interceptor.stdout import emit

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.launch.process import Command
    from interceptor.launch.session import CommandRun
    from interceptor.model.options import Options
    from interceptor.service import InterceptorService

# Twisted, the model and everything else is imported by the command that needs it: `--help` answers
# at once, and `run` listens as early as it can.

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PATIENCE: Final = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and give the exit status.

    0 after a clean stop, 1 after anything that was wrong; what that was is on stderr.
    """
    try:
        status = commands.main(arguments, prog_name="interceptor", standalone_mode=False)
    except click.ClickException as error:
        return _complain(_one_line(error))
    except click.Abort:
        return _complain("stopped")
    except InterceptorError as error:
        # One line; a script's error goes on with the traceback, cut to the script's own lines.
        return _complain(str(error))
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is left to be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from interceptor import __version__

    click.echo(f"interceptor {__version__}")
    context.exit()


@click.group(name="interceptor", context_settings=_SETTINGS, no_args_is_help=False)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Run a scriptable intercepting proxy."""


@commands.command()
@click.argument("filter", nargs=-1)
@click.option(
    "-m",
    "--mode",
    multiple=True,
    metavar="MODE[@LISTEN]",
    help="What to listen for: regular or reverse:http://HOST[:PORT]; LISTEN is PORT, HOST:PORT, "
    "[V6]:PORT or a Twisted endpoint string. May be repeated. Default: regular@127.0.0.1:8080.",
)
@click.option(
    "-s",
    "--script",
    multiple=True,
    metavar='"SCRIPT ARGS"',
    help="Load a hook script, with its arguments. May be repeated.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an option; `interceptor options` lists them. May be repeated.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="Read options from this TOML file instead of config.toml in the directory confdir.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print no flows, and log warnings only.")
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Print headers too; twice, bodies as well.",
)
def run(
    filter: tuple[str, ...],
    mode: tuple[str, ...],
    script: tuple[str, ...],
    assignments: tuple[str, ...],
    config: str | None,
    quiet: bool,
    verbose: int,
) -> int:
    """Run the proxy in the foreground, until SIGINT or SIGTERM.

    FILTER is a filter expression that chooses which flows are printed; `interceptor filters`
    explains them.
    """
    from interceptor.config import flow_detail, gather_options

    flags = flow_detail(quiet, verbose)
    if mode:
        flags["mode"] = mode
    if script:
        flags["scripts"] = script
    if filter:
        flags["view_filter"] = " ".join(filter)
    options = gather_options(
        config=config, environ=os.environ, flags=flags, assignments=assignments
    )
    return serve(options)


@commands.command()
@click.option("--toml", is_flag=True, help="Print a configuration file that explains itself.")
def options(toml: bool) -> None:
    """Print the reference of all options."""
    from interceptor.model.coreoptions import core_options
    from interceptor.model.optionreference import as_text, as_toml

    emit(as_toml(core_options()) if toml else as_text(core_options()))


@commands.command()
def hooks() -> None:
    """Print the reference of all hooks."""
    from interceptor.hooks.reference import as_text

    emit(as_text())


@commands.command()
def filters() -> None:
    """Print the reference of filter expressions."""
    from interceptor.filters.reference import as_text

    emit(as_text())


@commands.command()
@click.argument("scripts", nargs=-1, required=True, metavar='"SCRIPT ARGS"...')
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an option that the scripts look at. May be repeated.",
)
def check(scripts: tuple[str, ...], assignments: tuple[str, ...]) -> int:
    """Load scripts without serving, and report what is wrong with them.

    Nothing else is read: no configuration file, no environment variable.
    """
    from interceptor.hooks.check import check as find_problems
    from interceptor.model.coreoptions import core_options

    options = core_options()
    options.set(*assignments, source="--set", defer=True)
    problems = find_problems(scripts, options)
    for problem in problems:
        emit(escape_controls(str(problem)))
    if not problems:
        emit(f"{len(scripts)} script{'s' if len(scripts) > 1 else ''} checked: no problem")
    return 1 if problems else 0


commands.add_command(ca)


def serve(options: Options) -> int:
    """Run a proxy with ``options`` in the foreground until a signal stops it.

    Gives 0 after a clean stop. What keeps it from starting is raised.
    """
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from interceptor.console import ConsoleLogObserver, wants_color
    from interceptor.service import InterceptorService

    # A program that is started with its standard error closed has none.
    stream = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    color = wants_color(options.color, stream, bool(os.environ.get("NO_COLOR")))
    observer = ConsoleLogObserver(stream, options, color=color)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    service = InterceptorService(options, reactor=reactor, announce=_announce, print_flows=True)
    return Foreground(service, reactor).run()


class Foreground:
    """Runs a service on a reactor of its own until a signal, or a failure to start, ends it."""

    def __init__(self, service: InterceptorService, reactor: Any) -> None:
        self._service = service
        service.on_shutdown = self._stop
        self._reactor = reactor
        self._stopping = False
        self._asked: float | None = None
        self._failure: Failure | None = None

    def run(self) -> int:
        """Serve, and return 0 after a clean stop; raises what kept the service from starting."""
        self._reactor.callWhenRunning(self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
        self._reactor.run()
        if self._failure is not None:
            self._failure.raiseException()
        return 0

    def _start(self) -> None:
        from twisted.internet.defer import maybeDeferred

        self._catch_signals()

        def start() -> object:
            self._service.startService()
            return self._service.started

        maybeDeferred(start).addErrback(self._failed)

    def _catch_signals(self) -> None:
        # Twisted's own functions, installed just before, would stop a reactor that is stopping
        # already at the second signal, and know no SIGHUP.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        now = _monotonic()
        if self._asked is None:
            self._asked = now
            # The reactor may be waiting for input: the call wakes it.
            self._reactor.callFromThread(self._stop)
        elif now - self._asked > _PATIENCE:
            # Asked twice, and not by a program that signals us and then our whole group (as
            # timeout(1) does): whoever asks will not wait for the grace that exchanges are given.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _failed(self, failure: Failure) -> None:
        # Whoever stops the proxy while it starts cancels the start: that is no failure.
        if not self._stopping:
            self._failure = failure
            self._stop()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


def _announce(line: str) -> None:
    """Tell on stdout that a listener is there, at once, since programs wait for it."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> int:
    print(f"interceptor: {escape_controls(message)}", file=sys.stderr)
    return 1


def _one_line(error: click.ClickException) -> str:
    """What click found wrong, without its several lines of usage."""
    message = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message} (see {error.ctx.command_path} --help)"
    return message
