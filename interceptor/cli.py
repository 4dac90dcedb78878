"""The command ``interceptor``: runs a proxy in the foreground, prints the references."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from time import monotonic as _monotonic
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from interceptor.cacommands import ca
from interceptor.commandgroup import CommandGroup
from interceptor.errors import InterceptorError, LaunchError
from interceptor.model.wording import escape_controls
from interceptor.rulescommand import transparent_rules
from interceptor.stdout import emit

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from interceptor.launch.run import CommandRun
    from interceptor.model.options import Options

# Twisted, the model and everything else is imported by the command that needs it: `--help` answers
# at once, and `run` listens as early as it can.

_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_COMMAND_MODE: Final = "regular@127.0.0.1:0"
_PATIENCE: Final = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and give the exit status.

    0 after a clean stop, 1 after anything that was wrong; what that was is on stderr. A command
    that was run has its own exit status, or 127 or 126 where it could not be started.
    """
    try:
        status = commands.main(arguments, prog_name="interceptor", standalone_mode=False)
    except click.ClickException as error:
        return _complain(_one_line(error))
    except click.Abort:
        return _complain("stopped")
    except LaunchError as error:
        _complain(str(error))
        return error.exit_status
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


@click.group(
    name="interceptor", cls=CommandGroup, context_settings=_SETTINGS, no_args_is_help=False
)
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


class _RunCommand(click.Command):
    """Takes what is behind ``--`` for a command line, untouched: ``meta["command"]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            end = args.index("--")
            ctx.meta["command"] = tuple(args[end + 1 :])
            if not ctx.meta["command"]:
                raise click.UsageError("Missing command after '--'.", ctx)
            args = args[:end]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND [ARGS]...]"]


@commands.command(cls=_RunCommand)
@click.argument("filter", nargs=-1)
@click.option(
    "-m",
    "--mode",
    multiple=True,
    metavar="MODE[@LISTEN]",
    help="What to listen for: regular, socks5, auto, transparent, dns, upstream:PROXY or "
    "reverse:SCHEME://HOST[:PORT]; `interceptor options` says more. LISTEN is PORT, HOST:PORT, "
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
    "--workers",
    type=int,
    metavar="N",
    help="Serve with so many processes. Default: 1.",
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
@click.pass_context
def run(
    context: click.Context,
    filter: tuple[str, ...],
    mode: tuple[str, ...],
    script: tuple[str, ...],
    workers: int | None,
    assignments: tuple[str, ...],
    config: str | None,
    quiet: bool,
    verbose: int,
) -> int:
    """Run the proxy in the foreground, until SIGINT or SIGTERM. SIGHUP loads everything again.

    FILTER is a filter expression that chooses which flows are printed; `interceptor filters`
    explains them.

    With a COMMAND the proxy runs as long as that does. The command gets variables that make it, and
    what it starts, use the proxy and trust its certificates. The proxy then takes a free port,
    writes to stderr only, and prints no flows without FILTER or -v. Its exit status is the
    command's; 127 if there is no such command, 126 if it cannot be run.
    """
    from interceptor.config import flow_detail, gather_options

    command: tuple[str, ...] = context.meta.get("command", ())
    if command:
        quiet = quiet or not (filter or verbose)
    flags = flow_detail(quiet, verbose)
    if command:
        flags["mode"] = (_COMMAND_MODE,)
    if mode:
        flags["mode"] = mode
    if script:
        flags["scripts"] = script
    if filter:
        flags["view_filter"] = " ".join(filter)
    if workers is not None:
        flags["workers"] = workers

    def gather() -> Options:
        return gather_options(
            config=config, environ=os.environ, flags=flags, assignments=assignments
        )

    options = gather()
    return serve_with(command, options) if command else serve(options, gather)


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
    from interceptor.addons.protocols import PROTOCOL_HOOKS
    from interceptor.hooks.reference import as_text

    emit(as_text(PROTOCOL_HOOKS))


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
    from interceptor.addons.protocols import PROTOCOLS
    from interceptor.hooks.check import check as find_problems
    from interceptor.model.coreoptions import core_options

    options = core_options()
    options.set(*assignments, source="--set", defer=True)
    problems = find_problems(scripts, options, PROTOCOLS)
    for problem in problems:
        emit(escape_controls(str(problem)))
    if not problems:
        emit(f"{len(scripts)} script{'s' if len(scripts) > 1 else ''} checked: no problem")
    return 1 if problems else 0


commands.add_command(ca)
commands.add_command(transparent_rules)


def serve(options: Options, gather: Callable[[], Options] | None = None) -> int:
    """Run a proxy with ``options`` in the foreground until a signal stops it.

    ``gather`` gives the options anew when SIGHUP asks for that. Gives 0 after a clean stop. What
    keeps it from starting is raised.
    """
    from interceptor.garbage import settle
    from interceptor.reloading import Reloader, hangup_means_end

    reactor = _reactor()
    service = _service(options, reactor, _announce)
    reload = None
    if gather is not None and not hangup_means_end():
        reload = Reloader(service, gather)
    try:
        return Foreground(service, reactor, when_started=settle, reload=reload).run()
    finally:
        _ignore_signals()


def _ignore_signals() -> None:
    """Let nobody who asks once more, while the program is on its way out, find that it was killed.

    The reactor has put back what signals did before it ran.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def serve_with(command: Sequence[str], options: Options) -> int:
    """Run a proxy as long as ``command`` runs, and give the exit status of that.

    All that the proxy and its scripts print goes to stderr. What keeps either from starting is
    raised.
    """
    from contextlib import redirect_stdout

    from interceptor.errors import WorkersError
    from interceptor.garbage import settle
    from interceptor.launch.run import CommandRun

    reactor = _reactor()
    if options.workers > 1:
        raise WorkersError("a command has a proxy of one process: `workers` cannot be more")
    announce = _announce if options.log_level in ("debug", "info") else lambda line: None
    run = CommandRun(command, os.environ, reactor)
    try:
        with redirect_stdout(_stderr()):
            service = _service(options, reactor, announce)
            return Foreground(service, reactor, run, when_started=settle).run()
    finally:
        run.close()


def _reactor() -> Any:
    """Give the program's reactor: our own where the system has epoll, else Twisted's choice."""
    import select

    if hasattr(select, "epoll"):
        from interceptor.net.reactor import install

        install()
    from twisted.internet import reactor

    return reactor


def _service(options: Options, reactor: Any, announce: Callable[[str], object]) -> Any:
    from twisted.logger import globalLogBeginner

    from interceptor.console import ConsoleLogObserver, wants_color
    from interceptor.net.descriptors import raise_descriptor_limit

    stream = _stderr()
    color = wants_color(options.color, stream, bool(os.environ.get("NO_COLOR")))
    observer = ConsoleLogObserver(stream, options, color=color)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    raise_descriptor_limit()
    if options.workers > 1:
        from interceptor.workers.supervisor import WorkersService

        return WorkersService(options, reactor=reactor, announce=announce)
    from interceptor.service import InterceptorService

    return InterceptorService(options, reactor=reactor, announce=announce, print_flows=True)


def _stderr() -> TextIO:
    # A program that is started with its standard error closed has none.
    return sys.stderr or open(os.devnull, "w", encoding="utf-8")


class Foreground:
    """Runs a service on a reactor of its own until a signal, or a failure to start, ends it.

    With a command it runs until that ends, and signals are the command's. ``when_started`` is given
    the service once that has started, and returns it. ``reload`` is what SIGHUP asks for, if it
    does not ask for the end.
    """

    def __init__(
        self,
        service: Any,
        reactor: Any,
        command: CommandRun | None = None,
        *,
        when_started: Callable[[Any], object] | None = None,
        reload: Callable[[], object] | None = None,
    ) -> None:
        self._service = service
        self._reload = reload
        service.on_shutdown = self._shut_down
        self._reactor = reactor
        self._command = command
        self._when_started = when_started
        self._command_runs = False
        self._status = 0
        self._stopping = False
        self._asked: float | None = None
        self._failure: Failure | None = None

    def run(self) -> int:
        """Serve, and return 0 after a clean stop, or the status that the command ended with.

        Raises what kept the service, or the command, from starting.
        """
        from interceptor.net.steadytime import keep_steady_time

        keep_steady_time(self._reactor)
        self._reactor.callWhenRunning(self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
        self._reactor.run()
        if self._failure is not None:
            self._failure.raiseException()
        return self._status

    def _start(self) -> None:
        from twisted.internet.defer import maybeDeferred

        self._catch_signals()

        def start() -> object:
            self._service.startService()
            return self._service.started

        starting = maybeDeferred(start)
        if self._when_started is not None:
            starting.addCallback(self._when_started)
        if self._command is not None:
            starting.addCallback(self._start_command, self._command)
        starting.addErrback(self._failed)

    def _start_command(self, service: object, command: CommandRun) -> None:
        if self._asked is not None or self._stopping:
            return
        # Whatever comes from here on is the command's, since it is there before we are told so.
        self._command_runs = True
        try:
            ended = command.start(self._service)
        except BaseException:
            self._command_runs = False
            raise
        ended.addCallback(self._command_ended, command)
        ended.addErrback(self._failed)

    def _command_ended(self, status: int, command: CommandRun) -> None:
        self._command_runs = False
        self._status = status
        command.close()
        self._stop()

    def _catch_signals(self) -> None:
        # Twisted's own functions, installed just before, would stop a reactor that is stopping
        # already at the second signal, and know no SIGHUP.
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        if self._command is not None:
            numbers += [signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        if self._command is not None and self._command_runs:
            self._command.pass_on(number)
            return
        if number == signal.SIGHUP and self._reload is not None:
            self._reactor.callFromThread(self._reload)
            return
        now = _monotonic()
        if self._asked is None:
            self._asked = now
            if self._command is not None and not self._stopping:
                # It was not started yet, and will not be.
                self._status = 128 + number
            # The reactor may be waiting for input: the call wakes it.
            self._reactor.callFromThread(self._stop)
        elif now - self._asked > _PATIENCE:
            # Asked twice, and not by a program that signals us and then our whole group (as
            # timeout(1) does): whoever asks will not wait for the grace that exchanges are given.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _shut_down(self) -> None:
        """A script ends the program: the command first, if there is one."""
        if self._command is not None and self._command_runs:
            self._command.terminate()
        else:
            self._stop()

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
