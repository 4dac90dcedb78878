"""The service, on a real reactor's loopback: what embedders and the command line rely on."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase

from interceptor.errors import ListenError, ModeError, OptionsError
from interceptor.service import InterceptorService, make_options


class ServiceTests(TestCase):
    """Starting, changing and stopping."""

    def setUp(self):
        self.lines: list[str] = []

    def service(self, **values):
        values.setdefault("mode", ["regular@127.0.0.1:0"])
        values.setdefault("confdir", self.mktemp())
        service = InterceptorService(
            make_options(**values), reactor=reactor, announce=self.lines.append
        )
        self.addCleanup(service.stopService)
        return service

    @inlineCallbacks
    def test_announces_each_listener(self):
        service = self.service(mode=["regular@127.0.0.1:0", "reverse:http://localhost:9@[::1]:0"])
        service.startService()
        yield service.started
        self.assertEqual(
            self.lines,
            [
                f"listening: regular on {service.listeners[0]}",
                f"listening: reverse:http://localhost:9 on {service.listeners[1]}",
            ],
        )

    @inlineCallbacks
    def test_taken_port_is_told_and_nothing_is_left(self):
        first = self.service()
        first.startService()
        yield first.started
        port = first.listeners[0].rpartition(":")[2]
        second = self.service(mode=["regular@127.0.0.1:0", f"regular@127.0.0.1:{port}"])
        second.startService()
        error = yield self.assertFailure(second.started, ListenError)
        self.assertIn("in use", str(error))
        self.assertEqual((second.listeners, self.lines[1:]), ([], []))

    @inlineCallbacks
    def test_the_mode_cannot_change_while_it_runs(self):
        service = self.service()
        service.startService()
        yield service.started
        before = service.options.mode
        error = self.assertRaises(
            OptionsError, service.options.update, mode=["regular@127.0.0.1:1"]
        )
        self.assertEqual(str(error), "`mode` cannot change while the proxy runs")
        self.assertEqual(service.options.mode, before)

    @inlineCallbacks
    def test_a_listener_without_any_server(self):
        service = self.service(mode=["reverse@127.0.0.1:0"])
        service.startService()
        error = yield self.assertFailure(service.started, ModeError)
        self.assertIn("several in the option `reverse_backends`", str(error))

    @inlineCallbacks
    def test_a_listener_keeps_its_servers(self):
        backends = ("*=http://127.0.0.1:1",)
        service = self.service(mode=["reverse@127.0.0.1:0"], reverse_backends=backends)
        service.startService()
        yield service.started
        self.assertRaises(ModeError, service.options.update, reverse_backends=())
        self.assertEqual(service.options.reverse_backends, backends)
        self.assertTrue(service.environment.backends)

    @inlineCallbacks
    def test_other_options_can(self):
        service = self.service()
        service.startService()
        yield service.started
        service.options.update(read_timeout=7.0)
        self.assertEqual(service.environment.settings.read_timeout, 7.0)

    @inlineCallbacks
    def test_an_authority_that_may_not_be_made_keeps_it_from_starting(self):
        service = self.service(ca_create=False)
        service.startService()
        error = yield self.assertFailure(service.started, Exception)
        self.assertEqual(error.code, "ca-missing")

    @inlineCallbacks
    def test_stopping_twice_is_stopping_once(self):
        service = self.service()
        service.startService()
        yield service.started
        first = service.stopService()
        self.assertIs(service.stopService(), first)
        yield first
        self.assertEqual(service.listeners, [])

    @inlineCallbacks
    def test_stopped_while_it_starts(self):
        service = self.service(mode=["regular@localhost:0"])
        service.startService()
        yield service.stopService()
        self.assertEqual(self.lines, [])
