"""The parent of all workers: claims addresses, starts processes, replaces them, ends them."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from interceptor.errors import OptionsError, WorkersError
from interceptor.layers.passthrough import MOST_LEARNED
from interceptor.model.options import Options
from interceptor.model.sharedstore import SharedStore
from interceptor.net.addresses import show
from interceptor.net.authority import Authority
from interceptor.net.prefixes import listening_modes
from interceptor.workers.claims import Claim, claim
from interceptor.workers.ledger import Ledger
from interceptor.workers.process import Worker

RELOAD_TIMEOUT: Final = 60.0
"""Seconds within which a worker has loaded scripts and configuration again."""

END_TIMEOUT: Final = 10.0
"""Seconds beyond ``shutdown_grace`` after which a worker that was told to end is killed."""

_SETTLED: Final = 10.0
_LONGEST_PAUSE: Final = 30.0


class WorkersService(Service):
    """A proxy of several processes: as many as the option ``workers`` says, which is more than one.

    It is started and stopped, and ``started`` tells of it, as an
    `interceptor.service.InterceptorService`. With ``pipes`` what workers write goes to the log of
    this process line by line; else they write to where it does.
    """

    name = "interceptor"
    log = Logger()

    started: Deferred[WorkersService]

    on_shutdown: Callable[[], object] | None = None
    """Called first when a script asks for the end of the proxy: ends the program around us."""

    def __init__(
        self,
        options: Options,
        *,
        reactor: Any = None,
        announce: Callable[[str], object] = lambda line: None,
        pipes: bool = False,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self.reactor = reactor
        self.options = options
        self.pipes = pipes
        self.claims: list[list[Claim]] = []
        self.exported = options.exported()
        self._announce = announce
        self._workers: list[Worker] = []
        self.ledger = Ledger(options, self._lend, self._running)
        self._store = SharedStore(reactor.seconds)
        self._learned: OrderedDict[str, float] = OrderedDict()
        self._is_up = False
        self._stopping = False
        self._stopped: Deferred[None] | None = None

    # IService

    def startService(self) -> None:
        """Begin to start; ``started`` tells when that is done."""
        self.running = 1
        self.started = Deferred.fromCoroutine(self._start())

    async def _start(self) -> WorkersService:
        options = self.options
        if not sys.platform.startswith("linux"):
            raise WorkersError("several workers need Linux, which shares connections among them")
        try:
            # Made before there is anybody who could make another one.
            Authority.load(
                os.path.expanduser(options.confdir),
                create=options.ca_create,
                ca_file=options.ca_file,
                passphrase=options.ca_passphrase,
            )
            for mode in listening_modes(options.mode):
                self.claims.append(await claim(self.reactor, mode, options.workers))
            self._workers = [Worker(self, number + 1) for number in range(options.workers)]
            for worker in self._workers:
                worker.start()
            for worker in self._workers:
                await worker.ready
        except BaseException:
            await self._end()
            raise
        self._is_up = True
        for name, host, port in self._workers[0].addresses:
            self._announce(f"listening: {name} on {show((host, port))}")
        return self

    def stopService(self) -> Deferred[None]:
        """Have all workers stop as one proxy does, and wait for them."""
        if self._stopped is None:
            self.running = 0
            self._stopped = Deferred.fromCoroutine(self._stop())
        return self._stopped

    async def _stop(self) -> None:
        if hasattr(self, "started") and not self.started.called:
            self.started.addErrback(lambda failure: None)
            self.started.cancel()
        await self._end()

    async def _end(self) -> None:
        self._is_up = False
        self._stopping = True
        for of_mode in self.claims:
            for each in of_mode:
                await each.close()
        self.claims = []
        grace = self.options.shutdown_grace + END_TIMEOUT
        await DeferredList([worker.end(grace) for worker in self._workers])

    # Configuration

    async def reload(self, exported: Mapping[str, Any]) -> None:
        """Have all workers take other options, as `Options.exported` gives them, or none.

        Raises `OptionsError` where they are refused, `WorkerFailed` where a worker does not answer.
        """
        fresh = Options(self.options.options())
        fresh.follow(exported)
        check_unchanged(self.options, fresh)
        workers = [worker for worker in self._workers if worker.is_up]
        for worker in workers:
            # Whatever the first one refuses, the others never see.
            await worker.reload(exported, RELOAD_TIMEOUT)
        self.options.follow(exported)
        self.exported = dict(exported)
        self.ledger.configure()
        for worker in self._workers:
            if worker.is_up and worker not in workers:
                await worker.reload(exported, RELOAD_TIMEOUT)

    # What workers tell

    def received(self, worker: Worker, message: dict[str, Any]) -> object:
        """Do what a worker asks for; returns the answer. Raises `SharedStateError`."""
        do = message.get("do")
        if do == "publish":
            return self._publish(worker, message)
        if do in ("borrow", "returned", "spared"):
            self.ledger.received(worker.number, message)
            return None
        if do == "learned":
            self._learn(worker, message["name"], message["seconds"])
            return None
        if do == "shutdown":
            self.reactor.callLater(0, self._shut_down)
            return None
        return self._store.run(message)

    def learned(self) -> list[tuple[str, float]]:
        """What is known of pinned clients: ``host:port`` and for how many seconds."""
        now = self.reactor.seconds()
        return [(name, until - now) for name, until in self._learned.items() if until > now]

    def _lend(self, number: int, message: dict[str, Any]) -> None:
        self._workers[number - 1].send(message)

    def _running(self) -> list[int]:
        return [worker.number for worker in self._workers if worker.is_up]

    def _publish(self, worker: Worker, message: dict[str, Any]) -> int:
        told = {
            "do": "message",
            "channel": message["key"],
            "value": message["value"],
            "worker": worker.number,
        }
        return sum(each.tell(told) for each in self._workers)

    def _learn(self, worker: Worker, name: str | None, seconds: float) -> None:
        if name is None:
            self._learned.clear()
        elif seconds <= 0:
            self._learned.pop(name, None)
        else:
            self._learned[name] = self.reactor.seconds() + seconds
            if len(self._learned) > MOST_LEARNED:
                self._learned.popitem(last=False)
        for each in self._workers:
            if each is not worker:
                each.tell({"do": "learn", "name": name, "seconds": seconds})

    def _shut_down(self) -> None:
        if self.on_shutdown is not None:
            self.on_shutdown()
        self.stopService()

    # What becomes of workers

    def became_ready(self, worker: Worker) -> None:
        """A worker serves; one that took another's place may have missed a change."""
        if worker.is_replacement:
            self.log.info(
                "worker {worker} (process {process}) serves",
                worker=worker.number,
                process=worker.process,
                proxy=self,
            )
        if worker.exported is not self.exported:
            Deferred.fromCoroutine(worker.reload(self.exported, RELOAD_TIMEOUT)).addErrback(
                lambda failure: self.log.failure("a worker has old options", failure)
            )

    def ended(self, worker: Worker, how: str, served: float, *, orderly: bool) -> None:
        """A worker's process is gone: put another one in its place.

        That happens in a while where this one, and the one before, did not serve for long.

        One that ended in an ``orderly`` way was told to, and has left no connection behind but
        those that it did not accept: they wait for the next one.
        """
        if self._stopping or not self._is_up:
            return
        worker.failures = 0 if served >= _SETTLED else worker.failures + 1
        # Once may be chance.
        pause = 0.0 if worker.failures < 2 else min(2.0 ** (worker.failures - 2), _LONGEST_PAUSE)
        others = any(each.is_up for each in self._workers)
        if others and (pause or not orderly):
            # New connections go to the others at once.
            for of_mode in self.claims:
                for each in of_mode:
                    each.close_queue(worker.number)
        self.log.error(
            "worker {worker} (process {process}) {how}; another one takes its place {when}",
            worker=worker.number,
            process=worker.process,
            how=how,
            when=f"in {pause:g} s" if pause else "at once",
            code="worker-failed",
            proxy=self,
        )
        worker.is_replacement = True
        worker.start_in(pause)


def check_unchanged(before: Options, after: Options) -> None:
    """Raise `OptionsError` where options were changed that a running proxy cannot change."""
    if listening_modes(before.mode) != listening_modes(after.mode):
        raise OptionsError("`mode` cannot change while the proxy runs")
    if before.workers != after.workers:
        raise OptionsError("`workers` cannot change while the proxy runs")
