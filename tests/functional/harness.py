"""Runs the proxy, client programs and origins as processes beside the test's own reactor.

Nothing here blocks: origins may live in the test's process while clients and the proxy are
processes of their own.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.resource import IResource
from twisted.web.server import Site

CHECKOUT = Path(__file__).resolve().parents[2]

START_TIMEOUT = 45.0
"""Seconds a process has to become ready."""

STOP_TIMEOUT = 15.0
"""Seconds a process has to end after it was told to."""

RUN_TIMEOUT = 60.0
"""Seconds a client program has."""


def reactor() -> Any:
    """Give the reactor that trial runs."""
    from twisted.internet import reactor

    return reactor


def require(*programs: str) -> str:
    """Give the path of the first of several programs that is installed; skip the test if none is.

    Programs that users seldom run are not always on the search path: the directories of system
    programs and of git are searched as well.
    """
    path = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/git-core"]
    )
    for program in programs:
        found = shutil.which(program, path=path)
        if found is not None:
            return found
    raise SkipTest(f"{' or '.join(programs)} is not installed")


# Where the proxy is, and whom to trust: tests say that themselves.
_NOT_KEPT = ("proxy", "cert", "ca_bundle", "cainfo", "java_tool")


def clean_environment(home: Path, **extra: str) -> dict[str, str]:
    """Give this process's environment without what would change how clients find a server.

    Nor does it say which servers they trust.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(part in name.lower() for part in _NOT_KEPT)
        and not name.startswith(("PIP_", "GIT_", "INTERCEPTOR_", "NODE_", "PYTHONWARNINGS"))
    }
    # The checkout comes first, so that what is tested is what is here.
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    kept["HOME"] = str(home)
    kept["LC_ALL"] = "C.UTF-8"
    kept.update(extra)
    return kept


@dataclass(frozen=True, slots=True)
class Completed:
    """What a program did. ``status`` is the exit status, or minus the signal that ended it."""

    status: int
    out: bytes
    err: bytes


class RunningProcess(ProcessProtocol):
    """A process whose output is kept, and whose standard output can be waited for line by line."""

    def __init__(self, name: str, stdin: bytes = b"") -> None:
        self.name = name
        self.out = b""
        self.err = b""
        self._stdin = stdin
        self._waiting: list[tuple[Callable[[RunningProcess], bool], Deferred[None]]] = []
        self._ended: list[Deferred[Completed]] = []
        self.signalled = False
        self.completed: Completed | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._stdin:
            self.transport.write(self._stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self.out += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        self.err += data
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            condition, waiting = entry
            if condition(self):
                self._waiting.remove(entry)
                waiting.callback(None)

    def processEnded(self, reason: Failure) -> None:
        value = reason.value
        assert isinstance(value, error.ProcessDone | error.ProcessTerminated)
        status = value.exitCode if value.exitCode is not None else -(value.signal or 0)
        self.completed = Completed(status, self.out, self.err)
        for _, waiting in self._waiting:
            waiting.errback(AssertionError(f"{self.name} ended ({status}): {self.report()}"))
        self._waiting.clear()
        for ended in self._ended:
            ended.callback(self.completed)
        self._ended.clear()

    def report(self) -> str:
        """Show what the process printed, for a failure's message."""
        out = self.out[-2000:].decode("utf-8", "replace")
        err = self.err[-4000:].decode("utf-8", "replace")
        return f"\n--- stdout\n{out}\n--- stderr\n{err}"

    async def until(
        self, condition: Callable[[RunningProcess], bool], timeout: float = START_TIMEOUT
    ) -> None:
        """Wait until the output satisfies a condition; fail when the process ends before."""
        if condition(self):
            return
        assert self.completed is None, f"{self.name} has ended{self.report()}"
        waiting: Deferred[None] = Deferred()
        entry = (condition, waiting)
        self._waiting.append(entry)

        def late() -> None:
            self._waiting.remove(entry)
            waiting.errback(AssertionError(f"{self.name} is not ready{self.report()}"))

        timer = reactor().callLater(timeout, late)
        try:
            await waiting
        finally:
            if timer.active():
                timer.cancel()

    async def ended(self, timeout: float) -> Completed:
        """Wait for the end; a process that overruns is killed, and that is a failure."""
        if self.completed is not None:
            return self.completed
        waiting: Deferred[Completed] = Deferred()
        self._ended.append(waiting)
        overran = False

        def late() -> None:
            nonlocal overran
            overran = True
            self.signal(signal.SIGKILL)
            # Children that it leaves behind may hold its pipes for ever.
            assert self.transport is not None
            self.transport.closeStdout()
            self.transport.closeStderr()

        timer = reactor().callLater(timeout, late)
        result = await waiting
        if timer.active():
            timer.cancel()
        assert not overran, f"{self.name} took more than {timeout} s{self.report()}"
        return result

    def signal(self, number: int) -> None:
        """Send a signal, if the process still lives."""
        assert self.transport is not None
        self.signalled = True
        try:
            self.transport.signalProcess(number)
        except error.ProcessExitedAlready:
            return


def spawn(
    argv: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], stdin: bytes = b""
) -> RunningProcess:
    """Start a process; the caller sees to its end."""
    words = [str(word) for word in argv]
    process = RunningProcess(os.path.basename(words[0]), stdin)
    # Absolute, because the child changes its directory before it executes the program.
    reactor().spawnProcess(process, words[0], words, env=dict(environment), path=str(cwd.resolve()))
    return process


@dataclass(frozen=True, slots=True)
class Listener:
    """One line that the proxy printed about where it listens."""

    mode: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The listener as clients are given it."""
        return f"http://{self.host}:{self.port}"


def parse_listening(output: bytes) -> list[Listener]:
    """Read the complete ``listening: MODE on ADDRESS`` lines of the proxy's output.

    The port of an address without one, such as a socket's path, is 0.
    """
    listeners = []
    complete, _, _ = output.rpartition(b"\n")
    for line in complete.decode().splitlines():
        word, _, rest = line.partition(": ")
        if word == "listening":
            mode, _, address = rest.rpartition(" on ")
            host, _, port = address.rpartition(":")
            if port.isdigit():
                listeners.append(Listener(mode, host, int(port)))
            else:
                listeners.append(Listener(mode, address, 0))
    return listeners


class ProxyProcess:
    """A running proxy."""

    def __init__(self, process: RunningProcess, listeners: Sequence[Listener]) -> None:
        self.process = process
        self.listeners = listeners

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.listeners[0].port

    @property
    def url(self) -> str:
        """The first listener as clients are given it."""
        return self.listeners[0].url

    @property
    def log(self) -> str:
        """What the proxy wrote to its standard error so far."""
        return self.process.err.decode("utf-8", "replace")


class CountingFactory(WrappingFactory):
    """Counts connections, and closes those that clients left open, so that tests end clean."""

    noisy = False

    def __init__(self, factory: Any) -> None:
        super().__init__(factory)
        self.accepted = 0

    def buildProtocol(self, addr: Any) -> Any:
        self.accepted += 1
        return super().buildProtocol(addr)

    async def close(self) -> None:
        """Abort what is open and wait until the reactor has forgotten it."""
        for protocol in list(self.protocols):
            protocol.transport.abortConnection()
        while self.protocols:
            await sleep(0.005)


@dataclass(frozen=True, slots=True)
class Origin:
    """A server in this process."""

    port: int
    factory: CountingFactory

    @property
    def accepted(self) -> int:
        """How many connections were made to it so far."""
        return self.factory.accepted

    @property
    def url(self) -> str:
        """Its root as a plain-http URL, without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """Its root as an https URL, without a final slash."""
        return f"https://127.0.0.1:{self.port}"


class FunctionalTestCase(TestCase):
    """A test with real sockets and processes; all that it starts is gone when it ends."""

    timeout = 90

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.home = self.directory / "home"
        self.home.mkdir()

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file in the test's directory and give its path."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    async def run_program(
        self,
        *argv: str | Path,
        stdin: bytes = b"",
        timeout: float = RUN_TIMEOUT,
        cwd: Path | None = None,
        **environment: str,
    ) -> Completed:
        """Run a program to its end in the test's directory, with a clean environment."""
        full = clean_environment(self.home, **environment)
        return await spawn(argv, cwd or self.directory, full, stdin).ended(timeout)

    async def check_program(self, *argv: str | Path, **settings: Any) -> Completed:
        """Run a program that has to succeed."""
        completed = await self.run_program(*argv, **settings)
        if completed.status != 0:
            self.fail(
                f"{argv[0]} ended with status {completed.status}\n"
                f"{completed.out[-2000:].decode('utf-8', 'replace')}\n"
                f"{completed.err[-4000:].decode('utf-8', 'replace')}"
            )
        return completed

    def start_process(
        self, *argv: str | Path, stop: int = signal.SIGKILL, **environment: str
    ) -> RunningProcess:
        """Start a process that is sent a signal, and waited for, when the test ends."""
        process = spawn(argv, self.directory, clean_environment(self.home, **environment))

        async def end() -> None:
            process.signal(stop)
            await process.ended(STOP_TIMEOUT)

        self.addCleanup(end)
        return process

    async def start_proxy(
        self,
        *modes: str,
        scripts: Sequence[str | Path] = (),
        arguments: Sequence[str] = (),
        tracebacks: bool = False,
        inside: Sequence[str] = (),
    ) -> ProxyProcess:
        """Start ``interceptor run`` on free ports of loopback and wait until it listens.

        ``modes`` default to one regular listener; those without a listening part get one. When the
        test ends the proxy is told to stop: it has to end with status 0 and, unless ``tracebacks``
        are expected, must not have printed any. ``inside`` is a command that runs the one behind
        it, elsewhere or as somebody else.
        """
        wanted = [
            mode if "@" in mode else f"{mode}@127.0.0.1:0" for mode in (modes or ("regular",))
        ]
        argv: list[str] = [*inside, sys.executable, "-m", "interceptor", "run"]
        argv += ["--set", f"confdir={self.directory / 'conf'}"]
        for mode in wanted:
            argv += ["--mode", mode]
        for script in scripts:
            argv += ["-s", str(script)]
        argv += arguments
        process = spawn(argv, self.directory, clean_environment(self.home))

        async def stop() -> None:
            # A program that was asked already may take a second time for impatience.
            if not process.signalled:
                process.signal(signal.SIGTERM)
            completed = await process.ended(STOP_TIMEOUT)
            self.assertEqual(completed.status, 0, process.report())
            if not tracebacks:
                self.assertNotIn(b"Traceback", completed.err, process.report())

        self.addCleanup(stop)
        await process.until(lambda p: len(parse_listening(p.out)) == len(wanted))
        return ProxyProcess(process, parse_listening(process.out))

    async def listen(self, factory: Any, contexts: Any = None) -> Origin:
        """Listen with a protocol factory on a free port of loopback, with TLS where given contexts.

        ``contexts`` is what makes the connections of the TLS server.
        """
        if contexts is not None:
            factory = TLSMemoryBIOFactory(contexts, False, factory)
        counting = CountingFactory(factory)
        port = reactor().listenTCP(0, counting, interface="127.0.0.1")
        self.addCleanup(counting.close)
        self.addCleanup(port.stopListening)
        return Origin(port.getHost().port, counting)

    async def start_site(self, resource: IResource, contexts: Any = None) -> Origin:
        """Serve a ``twisted.web`` resource in this process."""
        site: Any = Site(resource)
        site.displayTracebacks = False
        site.log = lambda request: None
        return await self.listen(site, contexts)

    async def wait_for_port(self, port: int) -> None:
        """Wait until something accepts connections on a port of loopback."""
        deadline = reactor().seconds() + START_TIMEOUT
        endpoint = TCP4ClientEndpoint(reactor(), "127.0.0.1", port)
        while True:
            try:
                protocol = await connectProtocol(endpoint, Protocol())
            except error.ConnectionRefusedError:
                assert reactor().seconds() < deadline, f"nothing listens on port {port}"
                await sleep(0.05)
            else:
                assert protocol.transport is not None
                protocol.transport.loseConnection()
                return


async def sleep(seconds: float) -> None:
    """Let the reactor run for a time."""
    await deferLater(reactor(), seconds)
