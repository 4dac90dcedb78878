"""The log on a terminal."""

from __future__ import annotations

import io

from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from interceptor.console import ConsoleLogObserver, wants_color
from interceptor.model.coreoptions import core_options


class BrokenStream(io.StringIO):
    """Has lost its reader."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class TerminalStream(io.StringIO):
    def isatty(self) -> bool:
        return True


class ConsoleLogObserverTests(SynchronousTestCase):
    """One line per event, of the levels that were asked for."""

    def setUp(self):
        self.stream = io.StringIO()
        self.options = core_options()
        self.observer = ConsoleLogObserver(self.stream, self.options)
        self.log = Logger(namespace="interceptor.test", observer=self.observer)

    def test_interface(self):
        verifyObject(ILogObserver, self.observer)

    def test_level_and_text(self):
        self.log.info("hook {name} is slow", name="request")
        self.log.warn("second")
        self.assertEqual(self.stream.getvalue(), "info: hook request is slow\nwarn: second\n")

    def test_the_level_is_an_option(self):
        written = {}
        for level in ("debug", "info", "warn", "error"):
            self.options.update(log_level=level)
            self.stream.truncate(0)
            self.stream.seek(0)
            for each in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error):
                self.log.emit(each, "x")
            written[level] = self.stream.getvalue().count("\n")
        self.assertEqual(written, {"debug": 4, "info": 3, "warn": 2, "error": 1})

    def test_critical_is_an_error(self):
        self.log.critical("x")
        self.assertEqual(self.stream.getvalue(), "error: x\n")

    def test_chatter_of_twisted_needs_debug(self):
        twisted = Logger(namespace="twisted.internet", observer=self.observer)
        twisted.info("Starting factory")
        twisted.warn("worse")
        self.options.update(log_level="debug")
        twisted.info("Starting factory")
        self.assertEqual(self.stream.getvalue(), "warn: worse\ninfo: Starting factory\n")

    def test_another_package_with_a_longer_name_is_not_ours(self):
        Logger(namespace="interceptors.x", observer=self.observer).info("x")
        self.assertEqual(self.stream.getvalue(), "")

    def test_controls_are_escaped(self):
        self.log.info("{url}", url="http://a/\x1b[2J\r\x9b\u202e\tü")
        self.assertEqual(self.stream.getvalue(), "info: http://a/\\x1b[2J\\r\\x9b\\u202e\tü\n")

    def test_further_lines_are_indented(self):
        self.log.info("a\nerror: forged")
        self.assertEqual(self.stream.getvalue(), "info: a\n  error: forged\n")

    def test_surrogates_do_not_stop_the_log(self):
        self.log.info("{name}", name="\udcff")
        self.assertEqual(self.stream.getvalue(), "info: \\udcff\n")

    def test_a_failure_brings_its_traceback(self):
        try:
            raise ValueError("reason")
        except ValueError:
            self.log.failure("it broke")
        text = self.stream.getvalue()
        self.assertTrue(text.startswith("error: it broke\n  "))
        self.assertIn("ValueError: reason", text)

    def test_a_lost_stream_stops_nothing(self):
        Logger(observer=ConsoleLogObserver(BrokenStream(), self.options)).error("x")

    def test_color(self):
        observer = ConsoleLogObserver(self.stream, self.options, color=True)
        log = Logger(namespace="interceptor", observer=observer)
        log.error("x")
        log.info("y")
        self.assertEqual(self.stream.getvalue(), "\x1b[31merror: x\x1b[0m\ninfo: y\n")


class WantsColorTests(SynchronousTestCase):
    """The option ``color``."""

    def test_auto_colours_a_terminal_only(self):
        self.assertTrue(wants_color("auto", TerminalStream(), False))
        self.assertFalse(wants_color("auto", io.StringIO(), False))
        self.assertFalse(wants_color("auto", TerminalStream(), True))

    def test_always_and_never(self):
        self.assertTrue(wants_color("always", io.StringIO(), True))
        self.assertFalse(wants_color("never", TerminalStream(), False))
