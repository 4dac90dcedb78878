"""``twistd interceptor`` and ``twist interceptor``: the proxy as a Twisted service."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from interceptor.config import flow_detail, gather_options
from interceptor.errors import InterceptorError
from interceptor.model.options import Options as ProxyOptions
from interceptor.reloading import hangup_means_end

log = Logger()


class Options(usage.Options):
    """The same options as those of ``interceptor run``."""

    synopsis = "[options] [FILTER]"
    longdesc = (
        "Runs a scriptable intercepting proxy. FILTER is a filter expression that chooses which "
        "flows are printed. `interceptor options` lists what --set and the configuration file "
        "know."
    )
    optParameters = (
        ["config", None, None, "Read options from this TOML file instead of confdir/config.toml."],
    )
    optFlags = (["quiet", "q", "Print no flows."],)

    proxy_options: ProxyOptions
    gather: Callable[[], ProxyOptions]
    """Gives the options anew, from all sources."""

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self._modes: list[str] = []
        self._scripts: list[str] = []
        self._assignments: list[str] = []
        self._verbose = 0
        self._filter: tuple[str, ...] = ()

    def opt_mode(self, mode: str) -> None:
        """Listen so: regular, socks5, reverse:http://HOST, upstream:http://PROXY, and @LISTEN."""
        self._modes.append(mode)

    def opt_script(self, script: str) -> None:
        """Load a hook script, with its arguments; may be repeated."""
        self._scripts.append(script)

    def opt_set(self, assignment: str) -> None:
        """Set an option, NAME=VALUE; may be repeated."""
        self._assignments.append(assignment)

    def opt_verbose(self) -> None:
        """Print headers too; twice, bodies as well."""
        self._verbose += 1

    def opt_version(self) -> None:
        """Show the version and exit."""
        from interceptor import __version__

        print(f"interceptor {__version__}")
        sys.exit(0)

    def opt_workers(self, workers: str) -> None:
        """Serve with so many processes."""
        self._assignments.append(f"workers={workers}")

    opt_m = opt_mode
    opt_s = opt_script
    opt_v = opt_verbose

    def parseArgs(self, *filter: str) -> None:
        self._filter = filter

    def postOptions(self) -> None:
        """Gather the options from all sources; what is wrong is a `usage.UsageError`."""
        from interceptor.filters.expression import parse
        from interceptor.net.prefixes import listening_modes

        try:
            flags = flow_detail(bool(self["quiet"]), self._verbose)
            if self._modes:
                flags["mode"] = self._modes
            if self._scripts:
                flags["scripts"] = self._scripts
            if self._filter:
                flags["view_filter"] = " ".join(self._filter)
            self.gather = lambda: gather_options(
                config=self["config"],
                environ=os.environ,
                flags=flags,
                assignments=self._assignments,
            )
            self.proxy_options = self.gather()
            listening_modes(self.proxy_options.mode)
            if self.proxy_options.view_filter:
                parse(self.proxy_options.view_filter)
        except InterceptorError as error:
            raise usage.UsageError(str(error)) from None


class Supervised(Service):
    """Runs a proxy service, and ends the program when that cannot start.

    ``when_started`` is called once it has, ``fail`` with the `Failure`, once the log has it. With
    ``raises`` a failure that is known when `startService` ends is raised instead: a program that is
    about to become a daemon tells its caller of that. ``on_hangup`` is called for SIGHUP, where
    that has no other meaning.
    """

    def __init__(
        self,
        proxy: Any,
        fail: Callable[[Failure], object],
        *,
        raises: bool = False,
        when_started: Callable[[Any], object] | None = None,
        on_hangup: Callable[[], object] | None = None,
    ) -> None:
        self._proxy = proxy
        self._on_hangup = on_hangup
        self._fail = fail
        self._raises = raises
        self._when_started = when_started

    def startService(self) -> None:
        Service.startService(self)
        if self._on_hangup is not None and not hangup_means_end():
            catch_hangup(self._on_hangup)

        def start() -> object:
            self._proxy.startService()
            return self._proxy.started

        starting = maybeDeferred(start)
        if self._when_started is not None:
            starting.addCallback(self._when_started)
        early: list[Failure] = []
        if self._raises and starting.called:
            starting.addErrback(early.append)
        else:
            starting.addErrback(self._failed)
        if early:
            self._report(early[0])
            early[0].raiseException()

    def stopService(self) -> Deferred[object]:
        Service.stopService(self)
        return maybeDeferred(self._proxy.stopService)

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            # Stopped while it started: that cancels the start, and is no failure.
            return
        self._report(failure)
        self._fail(failure)

    def _report(self, failure: Failure) -> None:
        if failure.check(InterceptorError):
            log.critical("the proxy could not start: {reason}", reason=str(failure.value))
        else:
            log.failure("the proxy could not start", failure)


def catch_hangup(call: Callable[[], object]) -> None:
    """Have SIGHUP make a call, unless it has a meaning already."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, frame: call())


def makeService(options: Options) -> IService:
    """Give the service that ``twistd`` or ``twist`` runs."""
    from twisted.internet import reactor

    from interceptor.garbage import settle
    from interceptor.net.descriptors import raise_descriptor_limit
    from interceptor.net.steadytime import keep_steady_time
    from interceptor.reloading import Reloader

    raise_descriptor_limit()
    keep_steady_time(reactor)
    proxy: Any
    if options.proxy_options.workers > 1:
        from interceptor.workers.supervisor import WorkersService

        proxy = WorkersService(
            options.proxy_options, reactor=reactor, announce=_announce, pipes=True
        )
    else:
        from interceptor.service import InterceptorService

        proxy = InterceptorService(
            options.proxy_options, reactor=reactor, announce=_announce, print_flows=True
        )
    proxy.on_shutdown = lambda: reactor.callLater(0, _stop, reactor)
    # Only twistd becomes a daemon, and only where it is not told to stay.
    parent = getattr(options, "parent", None) or {}
    daemon = "nodaemon" in parent and not parent["nodaemon"]
    reload = Reloader(proxy, options.gather)
    return Supervised(
        proxy,
        lambda failure: _end(reactor),
        raises=daemon,
        when_started=settle,
        on_hangup=lambda: _later(reactor, reload),
    )


def _announce(line: str) -> None:
    log.info("{line}", line=line)


def _later(reactor: Any, call: Callable[[], object]) -> None:
    reactor.callFromThread(call)


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()


def _end(reactor: Any) -> None:
    """Stop the reactor, and have the program exit with status 1 after that."""
    import atexit

    # A program that ran a reactor to its end exits with 0, and neither twistd nor twist can be told
    # otherwise. What they have to clean up is done when the interpreter exits.
    atexit.register(_exit_with_failure)
    reactor.callWhenRunning(reactor.stop)


def _exit_with_failure() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass
    os._exit(1)
