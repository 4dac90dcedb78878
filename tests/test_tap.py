"""The proxy as a plug-in of ``twistd`` and ``twist``."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, IServiceMaker, MultiService
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.plugin import IPlugin
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from interceptor import __version__, tap
from interceptor.errors import ListenError
from interceptor.model.options import Options as ProxyOptions
from twisted.plugins import interceptor_plugin


class OptionsTests(SynchronousTestCase):
    """The command line after ``twistd interceptor``."""

    def setUp(self):
        self.confdir = Path(self.mktemp())
        self.confdir.mkdir()
        self.patch(os, "environ", {"INTERCEPTOR_CONFDIR": str(self.confdir)})

    def parse(self, *arguments: str) -> ProxyOptions:
        options = tap.Options()
        options.parseOptions(list(arguments))
        return options.proxy_options

    def refused(self, *arguments: str) -> str:
        message = str(self.assertRaises(usage.UsageError, self.parse, *arguments))
        self.assertNotIn("\n", message)
        return message

    def test_defaults(self):
        options = self.parse()
        self.assertEqual(options.mode, ("regular@127.0.0.1:8080",))
        self.assertEqual((options.flow_detail, options.view_filter), (1, None))

    def test_the_flags_of_the_command_line(self):
        options = self.parse(
            "--mode=regular@1",
            "-m",
            "reverse:http://a@2",
            "-s",
            "a.py x",
            "--script",
            "b.py",
            "--set",
            "dns_threads=3",
            "-v",
            "~c",
            "404",
        )
        self.assertEqual(options.mode, ("regular@1", "reverse:http://a@2"))
        self.assertEqual(options.scripts, ("a.py x", "b.py"))
        self.assertEqual((options.dns_threads, options.flow_detail), (3, 2))
        self.assertEqual(options.view_filter, "~c 404")

    def test_detail(self):
        details = [self.parse(flag).flow_detail for flag in ("-q", "--quiet", "--verbose", "-vv")]
        self.assertEqual(details, [0, 0, 2, 3])

    def test_config(self):
        path = self.confdir / "other.toml"
        path.write_text("dns_threads = 3")
        self.assertEqual(self.parse("--config", str(path)).dns_threads, 3)

    def test_wrong_values_are_usage_errors(self):
        self.assertEqual(
            self.refused("--set", "flow_detail=9"),
            "--set: option `flow_detail`: expected a whole number, from 0 to 3, not `9`",
        )
        self.assertIn("mode `regulr`: ", self.refused("--mode", "regulr"))
        self.assertIn("cannot read", self.refused("--config", "/nonexistent"))
        self.assertIn("column", self.refused("~c >"))
        self.refused("-q", "-v")
        self.refused("--nothing")

    def test_two_parses_do_not_share_lists(self):
        self.parse("--mode=regular@1")
        self.assertEqual(self.parse().mode, ("regular@127.0.0.1:8080",))

    def test_version(self):
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        error = self.assertRaises(SystemExit, self.parse, "--version")
        self.assertEqual((error.code, out.getvalue()), (0, f"interceptor {__version__}\n"))


class RecordingProxy:
    """Starts as ``started`` says."""

    def __init__(self, started: Deferred[Any]) -> None:
        self.calls: list[str] = []
        self.started = started
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        self.calls.append("start")

    def stopService(self) -> Deferred[None]:
        self.calls.append("stop")
        return self.stopped


class SupervisedTests(SynchronousTestCase):
    """A proxy that cannot start ends the program."""

    def setUp(self):
        self.failures: list[Failure] = []

    def supervised(self, started: Deferred[Any], **named: Any) -> tap.Supervised:
        self.proxy = RecordingProxy(started)
        return tap.Supervised(self.proxy, self.failures.append, **named)

    def test_interface(self):
        verifyObject(IService, self.supervised(succeed(None)))

    def test_start_and_stop(self):
        parent = MultiService()
        self.supervised(succeed(None)).setServiceParent(parent)
        parent.startService()
        stopping = parent.stopService()
        self.assertNoResult(stopping)
        self.proxy.stopped.callback(None)
        self.successResultOf(stopping)
        self.assertEqual((self.proxy.calls, self.failures), (["start", "stop"], []))

    def test_what_is_to_follow_the_start_waits_for_it(self):
        seen: list[object] = []
        started: Deferred[Any] = Deferred()
        self.supervised(started, when_started=seen.append).startService()
        self.assertEqual(seen, [])
        started.callback("service")
        self.assertEqual(seen, ["service"])

    def test_a_failure_is_reported_once_it_is_there(self):
        started: Deferred[Any] = Deferred()
        self.supervised(started).startService()
        self.assertEqual(self.failures, [])
        started.errback(ListenError("in use"))
        self.assertEqual([str(failure.value) for failure in self.failures], ["in use"])

    def test_an_unforeseen_failure_is_logged_with_its_traceback(self):
        self.supervised(fail(ValueError("broken"))).startService()
        self.assertEqual(len(self.failures), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_daemon_to_be_raises(self):
        supervised = self.supervised(fail(ListenError("in use")), raises=True)
        self.assertRaises(ListenError, supervised.startService)
        self.assertEqual(self.failures, [])

    def test_a_daemon_to_be_reports_what_comes_later(self):
        started: Deferred[Any] = Deferred()
        self.supervised(started, raises=True).startService()
        started.errback(ListenError("in use"))
        self.assertEqual(len(self.failures), 1)

    def test_a_start_that_is_cancelled_by_the_stop_is_no_failure(self):
        started: Deferred[Any] = Deferred()
        supervised = self.supervised(started)
        supervised.startService()
        self.proxy.stopped.callback(None)
        supervised.stopService()
        started.errback(CancelledError())
        self.assertEqual(self.failures, [])


class PluginTests(SynchronousTestCase):
    """What ``twistd`` finds."""

    def test_interfaces(self):
        maker = interceptor_plugin.interceptor
        self.assertTrue(IPlugin.providedBy(maker))
        self.assertTrue(IServiceMaker.providedBy(maker))

    def test_it_leads_here(self):
        maker = interceptor_plugin.interceptor
        self.assertEqual((maker.tapname, maker.options), ("interceptor", tap.Options))
        self.assertEqual(maker.makeService, tap.makeService)
