"""One worker as its parent sees it: a process, a channel, and what becomes of both."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from interceptor.errors import OptionsError, SharedStateError, WorkerFailed
from interceptor.workers.channel import Channel
from interceptor.workers.claims import given_to

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProcessTransport

    from interceptor.workers.supervisor import WorkersService

CHANNEL: Final = 3
"""The descriptor of a worker's end of its channel; its sockets follow."""

LONGEST_LINE: Final = 1 << 16
"""Bytes of a line of a worker's output that are kept together."""

_IDLE: Final = 30.0
_SECOND_CHANCE: Final = 2.0
_LAST_WORDS: Final = 0.5

# Modules are looked for where this process looks, and never in the working directory.
_BOOT: Final = (
    "import sys; sys.path[:] = sys.argv[3:]; del sys.argv[3:]; "
    "from interceptor.workers.program import main; main()"
)


class Worker(ProcessProtocol):
    """The place of one worker, counted from 1, and the process that has it at present.

    ``ready`` fires when the first process serves; it fails with `WorkerFailed`, or whatever kept
    it from that. ``exported`` are the options that it has.
    """

    log = Logger()

    transport: IProcessTransport

    def __init__(self, parent: WorkersService, number: int) -> None:
        self.number = number
        self.failures = 0
        self.is_up = False
        self.is_replacement = False
        self.process: int | None = None
        self.addresses: list[tuple[str, str, int]] = []
        self.exported: Mapping[str, Any] = parent.exported
        self.ready: Deferred[None] = Deferred()
        self._parent = parent
        self._reactor = parent.reactor
        self._channel: Channel | None = None
        self._serving_since = inf
        self._error: WorkerFailed | None = None
        self._gone: Deferred[None] | None = None
        self._ending = False
        self._starting: Any = None
        self._killing: Any = None
        self._lines: dict[int, bytes] = {}
        self._watching: Deferred[None] | None = None
        self._hung = ""

    def start(self) -> None:
        """Start a process in this place."""
        self._starting = None
        self._error = None
        self._hung = ""
        self._lines = {1: b"", 2: b""}
        self._serving_since = inf
        self.exported = self._parent.exported
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            descriptors: dict[int, Any] = {0: nothing, CHANNEL: theirs.fileno()}
            for output in (1, 2):
                descriptors[output] = "r" if self._parent.pipes else _open(output, nothing)
            for of_mode in self._parent.claims:
                for each in of_mode:
                    descriptors[max(descriptors) + 1] = each.of(self.number).fileno()
            self._gone = Deferred()
            # Only a reactor that somebody chose has to be named.
            chosen = type(self._reactor).__module__
            path = [os.path.abspath(each or ".") for each in sys.path]
            words = [sys.executable, "-c", _BOOT, str(self.number), chosen, *path]
            transport = self._reactor.spawnProcess(
                self, sys.executable, words, env=None, childFDs=descriptors
            )
            self.process = transport.pid
            self._channel = Channel.adopt(
                self._reactor, ours.fileno(), self._received, self._channel_lost
            )
        finally:
            ours.close()
            theirs.close()
            os.close(nothing)
        self._channel.send(
            {
                "do": "start",
                "options": self.exported,
                "sockets": given_to(self._parent.claims, self.number, CHANNEL + 1),
                "learned": self._parent.learned(),
                "lent": self._parent.ledger.start(self.number),
            }
        )

    def start_in(self, seconds: float) -> None:
        """Start a process after a time."""
        self._starting = self._reactor.callLater(seconds, self.start)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send what it must not miss."""
        if self._channel is not None:
            self._channel.send(message)

    def tell(self, message: Mapping[str, Any]) -> bool:
        """Send what one that does not serve, or does not read, may miss; tell if it was sent."""
        return (
            self.is_up
            and self._channel is not None
            and self._channel.send(message, dispensable=True)
        )

    async def reload(self, exported: Mapping[str, Any], timeout: float) -> None:
        """Have it take other options. One that dies meanwhile has not refused.

        Raises `OptionsError` where it refuses, `WorkerFailed` where it does not answer.
        """
        channel = self._channel
        if channel is None:
            return
        try:
            await channel.ask({"do": "reload", "options": exported}, timeout)
        except SharedStateError as error:
            if error.code != "shared-unavailable":
                raise OptionsError(str(error), error.code) from None
            if self.is_up:
                raise WorkerFailed(f"worker {self.number} does not answer") from None
            return
        self.exported = exported

    def end(self, grace: float) -> Deferred[None]:
        """Have it end, and kill it after ``grace`` seconds; fires when it is gone."""
        self._ending = True
        self.is_up = False
        self._stop_watching()
        if self._starting is not None:
            self._starting.cancel()
            self._starting = None
        if not self.ready.called:
            self.ready.addErrback(lambda failure: None)
            self.ready.cancel()
        else:
            self.ready.addErrback(lambda failure: None)
        if self._gone is None:
            return succeed(None)
        if self._channel is not None:
            self._channel.send({"do": "stop"})
        if self._killing is None:
            self._killing = self._reactor.callLater(grace, self._kill)
        ended: Deferred[None] = Deferred()
        self._gone.chainDeferred(ended)
        return ended

    async def _watch(self) -> None:
        """Ask it now and then whether it still does anything, and kill it where it does not."""
        try:
            while True:
                patience = self._parent.options.worker_timeout
                await deferLater(self._reactor, patience / 2 or _IDLE)
                if not patience or await self._answers(patience / 2):
                    continue
                # A machine that slept has let the time pass for the two of us.
                if not await self._answers(min(patience / 2, _SECOND_CHANCE)):
                    break
        except CancelledError:
            return
        self._hung = f"did not answer for {patience:g} s and was killed"
        code = "worker-hung"
        self.log.error(
            "worker {worker} (process {process}) has not answered for {patience:g} s and is "
            "killed; a script that never returns does that (worker_timeout)",
            worker=self.number,
            process=self.process,
            patience=patience,
            code=code,
            proxy=self._parent,
        )
        # It tells where it is, even if no other code can run there.
        self._signal(signal.SIGUSR2)
        self._killing = self._reactor.callLater(_LAST_WORDS, self._kill)

    async def _answers(self, timeout: float) -> bool:
        if self._channel is None:
            return True
        try:
            await self._channel.ask({"do": "beat"}, timeout)
        except SharedStateError:
            # Where the channel is gone, so is the process, or soon will be.
            return self._channel is None
        return True

    def _kill(self) -> None:
        self._killing = None
        if not self._hung:
            self.log.warn(
                "worker {worker} (process {process}) did not end in time and is killed",
                worker=self.number,
                process=self.process,
                proxy=self._parent,
            )
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            self.transport.signalProcess(number)
        except ProcessExitedAlready:
            return

    def _received(self, message: dict[str, Any]) -> object:
        do = message.get("do")
        if do == "ready":
            self.addresses = [(name, host, port) for name, host, port in message["addresses"]]
            if not self._ending:
                self.is_up = True
                self._serving_since = self._reactor.seconds()
                if not self.ready.called:
                    self.ready.callback(None)
                self._parent.became_ready(self)
                self._watching = Deferred.fromCoroutine(self._watch())
            return None
        if do == "failed":
            self._error = WorkerFailed(message["error"], message["code"])
            return None
        return self._parent.received(self, message)

    def _channel_lost(self) -> None:
        self._channel = None
        self.is_up = False

    def _stop_watching(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()

    # ProcessProtocol

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._lines[childFD] + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._lines[childFD] = rest
        for line in lines:
            self._log_line(line)

    def processEnded(self, reason: Failure) -> None:
        self.is_up = False
        self._stop_watching()
        self._parent.ledger.end(self.number)
        for rest in self._lines.values():
            if rest:
                self._log_line(rest)
        if self._killing is not None:
            self._killing.cancel()
            self._killing = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        gone, self._gone = self._gone, None
        how = self._hung or _how(reason.value)
        if self._error is not None:
            how = f"could not start: {self._error}"
        if not self.ready.called:
            text = f"worker {self.number} {how} while it started"
            self.ready.errback(self._error or WorkerFailed(text))
        if gone is not None:
            gone.callback(None)
        if not self._ending:
            served = max(0.0, self._reactor.seconds() - self._serving_since)
            self._parent.ended(self, how, served, orderly=how == "ended with status 0")

    def _log_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        self.log.info("{line}", line=text, worker=self.number, proxy=self._parent)


def _how(end: Any) -> str:
    if end.signal is not None:
        return f"was killed by {signal.Signals(end.signal).name}"
    return f"ended with status {end.exitCode}"


def _open(descriptor: int, instead: int) -> int:
    """A descriptor of ours, where it is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return instead
    return descriptor
