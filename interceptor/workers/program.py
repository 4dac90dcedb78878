"""The program that a worker runs: one proxy, its sockets given and its life led by a parent."""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from interceptor.errors import InterceptorError
from interceptor.hooks.shared import SharedMessage
from interceptor.model.coreoptions import core_options
from interceptor.net.steadytime import keep_steady_time
from interceptor.workers.channel import Channel
from interceptor.workers.claims import Given
from interceptor.workers.process import CHANNEL

log = Logger()


def main() -> None:
    """Run a worker; the arguments are its number and the module of the reactor."""
    number, chosen = int(sys.argv[1]), sys.argv[2]
    sys.argv[1:] = []
    if chosen.startswith(("twisted.internet.", "interceptor.net.")):
        install = getattr(importlib.import_module(chosen), "install", None)
        if install is not None:
            install()
    from twisted.internet import reactor

    Program(reactor, number).run()


class Program:
    """Serves from the message ``start`` until ``stop``, SIGTERM, or the end of the parent."""

    def __init__(self, reactor: Any, number: int) -> None:
        self._reactor = reactor
        self._number = number
        self._service: Any = None
        self._stopping = False
        self._channel = Channel.adopt(reactor, CHANNEL, self._received, self._stop)
        os.close(CHANNEL)

    def run(self) -> None:
        """Run the reactor to the end."""
        keep_steady_time(self._reactor)
        self._reactor.callWhenRunning(self._catch_signals)
        self._reactor.run()

    def _catch_signals(self) -> None:
        # A terminal sends these to every process: what they mean, the parent says.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        # A parent that finds us hanging asks where.
        faulthandler.register(signal.SIGUSR2)
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._stop))

    def _received(self, message: dict[str, Any]) -> object:
        do = message["do"]
        if do == "start":
            self._start(message)
        elif do == "stop":
            self._stop()
        elif self._service is not None and not self._stopping:
            if do == "reload":
                self._service.reload(message["options"])
            elif do == "learn":
                passthrough = self._service.environment.passthrough
                passthrough.learn(message["name"], message["seconds"])
            elif do in ("lent", "spare"):
                self._service.environment.allowances.received(message)
            elif do == "message":
                told = SharedMessage(message["channel"], message["value"], message["worker"])
                self._service.addons.deliver_message(told)
        return None

    def _start(self, message: Mapping[str, Any]) -> None:
        def start() -> Any:
            self._service = self._make(message)
            self._reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
            self._service.startService()
            return self._service.started

        maybeDeferred(start).addCallbacks(self._ready, self._failed)

    def _make(self, message: Mapping[str, Any]) -> Any:
        from interceptor.console import ConsoleLogObserver, wants_color
        from interceptor.service import InterceptorService, Part

        options = core_options()
        options.follow(message["options"])
        stream = sys.stderr
        color = wants_color(options.color, stream, bool(os.environ.get("NO_COLOR")))
        prefix = f"worker {self._number}: "
        observer = ConsoleLogObserver(stream, options, color=color, prefix=prefix)
        globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
        sockets = {
            (mode, transport): Given(transport, descriptor, family, backlog)
            for mode, transport, descriptor, family, backlog in message["sockets"]
        }
        part = Part(self._number, sockets, self._channel.ask)
        service = InterceptorService(options, reactor=self._reactor, print_flows=True, part=part)
        service.on_shutdown = lambda: self._channel.send({"do": "shutdown"})
        allowances = service.environment.allowances
        allowances.borrow_from(self._channel.send, message["lent"], options)
        passthrough = service.environment.passthrough
        for name, seconds in message["learned"]:
            passthrough.learn(name, seconds)
        passthrough.share = self._share
        return service

    def _share(self, name: str | None, seconds: float) -> None:
        self._channel.send({"do": "learned", "name": name, "seconds": seconds})

    def _ready(self, service: Any) -> None:
        from interceptor.garbage import settle

        settle(service)
        addresses = [(mode.name, *address) for mode, address in service.addresses]
        self._channel.send({"do": "ready", "addresses": addresses})

    def _failed(self, failure: Failure) -> None:
        if self._stopping:
            return
        error = failure.value
        if isinstance(error, InterceptorError):
            told = {"do": "failed", "error": str(error), "code": error.code}
        else:
            log.failure("the worker could not start", failure)
            told = {"do": "failed", "error": repr(error), "code": InterceptorError.code}
        self._channel.send(told)
        # The reactor stops once this was sent.
        self._channel.close()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.callWhenRunning(self._reactor.stop)
