"""Loading the configuration again."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import OptionsError
from interceptor.model.coreoptions import core_options
from interceptor.model.options import Options
from interceptor.reloading import Reloader


class RecordingService:
    """A service that takes its time to load its configuration again."""

    def __init__(self) -> None:
        self.running = 1
        self.started: Deferred[None] = succeed(None)
        self.reloads: list[Deferred[None]] = []

    def reload(self, exported: object) -> Deferred[None]:
        self.reloads.append(Deferred())
        return self.reloads[-1]


class ReloaderTests(SynchronousTestCase):
    """`Reloader`."""

    def setUp(self):
        self.service = RecordingService()
        self.gathered = 0
        self.reload = Reloader(self.service, self.gather)

    def gather(self) -> Options:
        self.gathered += 1
        return core_options()

    def test_it_is_done_once_at_a_time_and_once_more_for_all_that_ask_meanwhile(self):
        self.reload()
        self.reload()
        self.reload()
        self.assertEqual(len(self.service.reloads), 1)
        self.service.reloads[0].callback(None)
        self.assertEqual((len(self.service.reloads), self.gathered), (2, 2))
        self.service.reloads[1].callback(None)
        self.assertEqual(len(self.service.reloads), 2)
        self.reload()
        self.assertEqual(len(self.service.reloads), 3)

    def test_a_refusal_does_not_end_it(self):
        self.reload()
        self.service.reloads[0].errback(OptionsError("no"))
        self.reload()
        self.assertEqual(len(self.service.reloads), 2)

    def test_a_fault_is_logged_and_does_not_end_it(self):
        self.reload()
        self.service.reloads[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reload()
        self.assertEqual(len(self.service.reloads), 2)

    def test_what_does_not_serve_is_left_alone(self):
        self.service.started = Deferred()
        self.reload()
        self.service.started, self.service.running = succeed(None), 0
        self.reload()
        self.assertEqual((self.service.reloads, self.gathered), ([], 0))
