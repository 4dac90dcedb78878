"""The reactor keeps the promises of Twisted's, as far as Twisted's own tests go and beyond."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.test import test_core, test_fdset, test_threads, test_time
from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.trial.unittest import SynchronousTestCase

import interceptor

REACTOR = "interceptor.net.reactor.LeanEPollReactor"


class Reader:
    """A selectable that keeps what it is told, and acts as the test says."""

    def __init__(self, reactor: Any, case: Any, read: Any) -> None:
        self._reactor = reactor
        self._socket, self.peer = socket.socketpair()
        case.addCleanup(self.close)
        case.addCleanup(self.peer.close)
        self._read = read
        self.reads = 0
        self.lost: list[type[BaseException]] = []
        reactor.addReader(self)

    def close(self: Any) -> None:
        # The reactor's sets go by the number: they are told before there is none.
        self._reactor.removeReader(self)
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "reader"

    doWrite: Any = None

    def doRead(self) -> object:
        self.reads += 1
        return self._read(self)

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason.type)


class EventTests(ReactorBuilder):
    """What `LeanEPollReactor.doPoll` does by itself."""

    def test_a_selectable_is_read_without_more(self: Any) -> None:
        reactor = self.buildReactor()
        reader = Reader(reactor, self, lambda self: None)
        reader.peer.send(b"x")
        reactor.doPoll(0)
        reactor.doPoll(0)
        self.assertEqual((reader.reads, reader.lost), (2, []))

    def test_what_reading_returns_is_the_reason_of_the_loss(self: Any) -> None:
        reactor = self.buildReactor()
        reader = Reader(reactor, self, lambda self: CONNECTION_DONE)
        reader.peer.send(b"x")
        reactor.doPoll(0)
        self.assertEqual(reader.lost, [ConnectionDone])
        self.assertNotIn(reader, reactor.getReaders())

    def test_what_reading_raises_is_logged_and_the_reason_of_the_loss(self: Any) -> None:
        def fail(reader: Reader) -> None:
            raise ZeroDivisionError

        reactor = self.buildReactor()
        broken = Reader(reactor, self, fail)
        whole = Reader(reactor, self, lambda self: None)
        for reader in (broken, whole):
            reader.peer.send(b"x")
        reactor.doPoll(0)
        self.assertEqual(broken.lost, [ZeroDivisionError])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((whole.reads, whole.lost), (1, []))

    def test_one_that_another_has_removed_is_not_read(self: Any) -> None:
        reactor = self.buildReactor()
        readers: list[Reader] = []

        def remove(_: Reader) -> None:
            for each in readers:
                reactor.removeReader(each)

        readers += (Reader(reactor, self, remove), Reader(reactor, self, remove))
        for reader in readers:
            reader.peer.send(b"x")
        reactor.doPoll(0)
        self.assertEqual(sum(reader.reads for reader in readers), 1)

    def test_writing_too(self: Any) -> None:
        for raises, reasons in ((False, [ConnectionDone]), (True, [ZeroDivisionError])):
            reactor = self.buildReactor()
            selectable = Reader(reactor, self, lambda self: None)
            written: list[bool] = []

            def write(written: list[bool] = written, raises: bool = raises) -> BaseException | None:
                written.append(raises)
                if raises:
                    raise ZeroDivisionError
                return CONNECTION_DONE if len(written) > 1 else None

            selectable.doWrite = write
            reactor.addWriter(selectable)
            reactor.doPoll(0)
            if not raises:
                self.assertEqual((written, selectable.lost), ([False], []))
                reactor.doPoll(0)
            self.assertEqual((selectable.reads, selectable.lost), (0, reasons))
            self.assertNotIn(selectable, reactor.getWriters())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_end_is_a_loss(self: Any) -> None:
        reactor = self.buildReactor()
        reader = Reader(reactor, self, lambda self: CONNECTION_DONE)
        reader.peer.close()
        reactor.doPoll(0)
        self.assertEqual(reader.lost, [ConnectionDone])


class FileTests(test_fdset.ReactorFDSetTestsBuilder):
    def test_lostFileDescriptor(self: Any) -> None:
        # epoll forgets by itself what is closed behind its back. The other case can be told.
        self.test_negativeOneFileDescriptor()


def made_for_ours(builder: Any) -> dict[str, Any]:
    """Return the test cases of a builder of Twisted's for our reactor alone."""
    ours: Any = type(builder.__name__, (builder,), {"_reactors": [REACTOR]})
    found: dict[str, Any] = ours.makeTestCaseClasses()
    for case in found.values():
        case.__module__ = __name__
    return found


for _builder in (
    EventTests,
    test_core.SystemEventTestsBuilder,
    FileTests,
    test_threads.ThreadTestsBuilder,
    test_time.TimeTestsBuilder,
):
    globals().update(made_for_ours(_builder))


class InstallTests(SynchronousTestCase):
    def run_program(self, program: str) -> str:
        program += "\nfrom twisted.internet import reactor; print(type(reactor).__name__)"
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=Path(interceptor.__file__).parent.parent,
        ).stdout.strip()

    def test_a_program_without_a_reactor_gets_it(self) -> None:
        program = "from interceptor.net.reactor import install; install(); install()"
        self.assertEqual(self.run_program(program), "LeanEPollReactor")

    def test_a_reactor_that_is_there_stays(self) -> None:
        program = (
            "from twisted.internet import selectreactor; selectreactor.install()\n"
            "from interceptor.net.reactor import install; install()"
        )
        self.assertEqual(self.run_program(program), "SelectReactor")
