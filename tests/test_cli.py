"""The command line: what it understands, what it complains of, how it starts and stops."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from interceptor import __version__, cli
from interceptor.errors import LaunchError, ListenError, ScriptError
from interceptor.model.coreoptions import CORE_OPTIONS
from interceptor.model.options import Options


class CommandTestCase(SynchronousTestCase):
    """Runs commands in this process, with the environment and the output in its hands."""

    def setUp(self):
        self.confdir = Path(self.mktemp())
        self.confdir.mkdir()
        self.patch(os, "environ", {"INTERCEPTOR_CONFDIR": str(self.confdir)})
        self.served: list[Options] = []
        self.patch(cli, "serve", self.serve)

    def serve(self, options: Options, gather: object) -> int:
        self.served.append(options)
        return 0

    def command(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        status = cli.main(arguments)
        return status, out.getvalue(), err.getvalue()

    def run_options(self, *arguments: str) -> Options:
        self.assertEqual(self.command("run", *arguments), (0, "", ""))
        return self.served.pop()

    def refused(self, *arguments: str) -> str:
        """What one line on stderr says."""
        status, out, err = self.command(*arguments)
        self.assertEqual((status, out, err.count("\n"), self.served), (1, "", 1, []))
        self.assertTrue(err.startswith("interceptor: "))
        return err.removeprefix("interceptor: ").rstrip("\n")


class RunTests(CommandTestCase):
    """``interceptor run``."""

    def test_without_arguments_the_defaults_hold(self):
        options = self.run_options()
        self.assertEqual(options.mode, ("regular@127.0.0.1:8080",))
        self.assertEqual((options.flow_detail, options.view_filter), (1, None))

    def test_modes_and_scripts_may_be_repeated(self):
        options = self.run_options(
            "--mode", "regular@1", "-m", "reverse:http://a@2", "-s", "a.py x", "--script", "b.py"
        )
        self.assertEqual(options.mode, ("regular@1", "reverse:http://a@2"))
        self.assertEqual(options.scripts, ("a.py x", "b.py"))

    def test_a_mode_is_never_an_array(self):
        self.assertEqual(self.run_options("--mode", '["x"]').mode, ('["x"]',))

    def test_set(self):
        options = self.run_options("--set", "dns_threads=3", "--set", "body_size_limit=64k")
        self.assertEqual((options.dns_threads, options.body_size_limit), (3, 65536))

    def test_config(self):
        path = self.confdir / "other.toml"
        path.write_text("dns_threads = 3")
        self.assertEqual(self.run_options("--config", str(path)).dns_threads, 3)

    def test_flags_are_stronger_than_the_environment(self):
        os.environ["INTERCEPTOR_FLOW_DETAIL"] = "3"
        self.assertEqual(self.run_options().flow_detail, 3)
        self.assertEqual(self.run_options("-q").flow_detail, 0)
        self.assertEqual(self.run_options("-q", "--set", "flow_detail=2").flow_detail, 2)

    def test_detail(self):
        found = [self.run_options(*words).flow_detail for words in (["-q"], ["-v"], ["-vv"])]
        self.assertEqual(found, [0, 2, 3])
        self.assertEqual(self.run_options("-v", "-v").flow_detail, 3)

    def test_the_filter_may_be_several_words(self):
        self.assertEqual(self.run_options("~c 404").view_filter, "~c 404")
        self.assertEqual(self.run_options("~c", "404", "-v").view_filter, "~c 404")

    def test_options_of_scripts_are_kept(self):
        options = self.run_options("--set", "mine=5")
        options.add_option("mine", int, 1, "")
        self.assertEqual(options.mine, 5)

    def test_wrong_values_are_told_in_one_line(self):
        self.assertEqual(
            self.refused("run", "--set", "flow_detail=9"),
            "--set: option `flow_detail`: expected a whole number, from 0 to 3, not `9`",
        )
        self.assertEqual(self.refused("run", "--set", "x"), "--set: expected NAME=VALUE, not `x`")
        self.assertEqual(self.refused("run", "-q", "-v"), "-q and -v exclude each other")
        self.assertIn("cannot read", self.refused("run", "--config", "/nonexistent"))

    def test_wrong_flags_are_told_in_one_line(self):
        message = self.refused("run", "--mdoe", "regular")
        self.assertIn("No such option '--mdoe'", message)
        self.assertIn("interceptor run --help", message)
        self.assertIn("No such command 'rum': did you mean `run`? (see", self.refused("rum"))
        self.assertIn("No such command 'frobnicate' (see", self.refused("frobnicate"))
        self.assertIn("Missing command (see interceptor ca --help)", self.refused("ca"))
        self.assertIn("Missing command", self.refused())
        self.assertIn("requires an argument", self.refused("run", "--mode"))


class RunCommandTests(CommandTestCase):
    """``interceptor run -- COMMAND``."""

    def setUp(self):
        super().setUp()
        self.commands: list[tuple[str, ...]] = []
        self.patch(cli, "serve_with", self.serve_with)

    def serve_with(self, command: tuple[str, ...], options: Options) -> int:
        self.commands.append(command)
        self.served.append(options)
        return 7

    def run_with(self, *arguments: str) -> Options:
        self.assertEqual(self.command("run", *arguments), (7, "", ""))
        return self.served.pop()

    def test_the_command_is_not_touched(self):
        self.run_with("--", "make", "-q", "--", "--set", "x")
        self.assertEqual(self.commands, [("make", "-q", "--", "--set", "x")])

    def test_a_free_port_and_silence_are_the_defaults(self):
        (self.confdir / "config.toml").write_text('mode = ["regular@1"]\nflow_detail = 3\n')
        options = self.run_with("--", "true")
        self.assertEqual(options.mode, ("regular@127.0.0.1:0",))
        self.assertEqual((options.flow_detail, options.log_level), (0, "warn"))

    def test_what_is_asked_for_is_done(self):
        options = self.run_with("-m", "regular@1", "--set", "flow_detail=2", "--", "true")
        self.assertEqual((options.mode, options.flow_detail), (("regular@1",), 2))
        options = self.run_with("-v", "~c", "404", "--", "true")
        self.assertEqual((options.flow_detail, options.view_filter), (2, "~c 404"))
        self.assertEqual(self.run_with("~all", "--", "true").flow_detail, 1)

    def test_there_has_to_be_one(self):
        self.assertIn("Missing command after '--'", self.refused("run", "--"))

    def test_one_that_cannot_be_started(self):
        def serve_with(command: tuple[str, ...], options: Options) -> int:
            raise LaunchError("cannot run `x`: no such command", 127)

        self.patch(cli, "serve_with", serve_with)
        ended = self.command("run", "--", "x")
        self.assertEqual(ended, (127, "", "interceptor: cannot run `x`: no such command\n"))

    def test_help_shows_it(self):
        self.assertIn("[-- COMMAND [ARGS]...]", self.command("run", "--help")[1])


class ReferenceTests(CommandTestCase):
    """The commands that print."""

    def test_version(self):
        self.assertEqual(self.command("--version"), (0, f"interceptor {__version__}\n", ""))

    def test_help_names_the_commands(self):
        status, out, _ = self.command("--help")
        self.assertEqual(status, 0)
        for name in ("run", "options", "hooks", "filters", "check"):
            self.assertIn(f"\n  {name} ", out)

    def test_options(self):
        status, out, err = self.command("options")
        self.assertEqual((status, err), (0, ""))
        for option in CORE_OPTIONS:
            self.assertIn(f"  {option.name} (", out)

    def test_options_as_toml(self):
        status, out, _ = self.command("options", "--toml")
        self.assertEqual(status, 0)
        self.assertIn('#body_size_limit = "1g"\n', out)

    def test_hooks(self):
        status, out, _ = self.command("hooks")
        self.assertEqual(status, 0)
        for name in ("requestheaders", "clientconnect", "running", "next_layer"):
            self.assertIn(name, out)

    def test_filters(self):
        status, out, _ = self.command("filters")
        self.assertEqual(status, 0)
        for operator in ("~c", "~bq", "~websocket"):
            self.assertIn(operator, out)

    def test_output_that_cannot_be_written(self):
        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        err = io.StringIO()
        self.patch(sys, "stdout", Full())
        self.patch(sys, "stderr", err)
        self.assertEqual(cli.main(["options"]), 1)
        self.assertEqual(err.getvalue(), "interceptor: cannot write: No space left on device\n")


class CheckTests(CommandTestCase):
    """``interceptor check``."""

    def script(self, text: str) -> str:
        path = self.confdir / "script.py"
        path.write_text(text)
        return str(path)

    def test_a_good_script(self):
        path = self.script("def request(flow):\n    pass\n")
        self.assertEqual(self.command("check", path), (0, "1 script checked: no problem\n", ""))

    def test_a_near_miss(self):
        status, out, _ = self.command("check", self.script("def reqest(flow):\n    pass\n"))
        self.assertEqual(status, 1)
        self.assertIn("did you mean", out)

    def test_a_script_that_cannot_be_loaded(self):
        status, out, _ = self.command("check", self.script("def request(flow:\n"))
        self.assertEqual(status, 1)
        self.assertIn("SyntaxError", out)

    def test_options_can_be_set(self):
        path = self.script(
            "def load(loader):\n    loader.add_option('pattern_', str, '', 'A pattern.')\n"
        )
        ended = self.command("check", "--set", "pattern_=x", path)
        self.assertEqual(ended, (0, "1 script checked: no problem\n", ""))
        status, out, _ = self.command("check", "--set", "patern_=x", path)
        self.assertEqual(status, 1)
        self.assertIn("unknown option `patern_`: did you mean `pattern_`?", out)

    def test_a_script_is_needed(self):
        self.assertIn("Missing argument", self.refused("check"))


class ComplaintTests(CommandTestCase):
    """What keeps the proxy from starting."""

    def failing(self, error: BaseException) -> tuple[int, str, str]:
        def serve(options: Options, gather: object) -> int:
            raise error

        self.patch(cli, "serve", serve)
        return self.command("run")

    def test_a_listener(self):
        self.assertEqual(
            self.failing(ListenError("cannot listen on 127.0.0.1:80: in use")),
            (1, "", "interceptor: cannot listen on 127.0.0.1:80: in use\n"),
        )

    def test_a_script_keeps_its_traceback(self):
        self.assertEqual(
            self.failing(ScriptError('a.py:\n  File "a.py", line 1\nValueError: \x1b[2J')),
            (1, "", 'interceptor: a.py:\n  File "a.py", line 1\nValueError: \\x1b[2J\n'),
        )

    def test_an_interrupt_while_modules_are_loaded(self):
        status, out, err = self.failing(KeyboardInterrupt())
        self.assertEqual((status, out), (1, ""))
        self.assertNotIn("Traceback", err)


class RecordingReactor:
    """The part of a reactor that runs and stops."""

    def __init__(self) -> None:
        self.stopped = 0
        self.starting: list[Callable[[], object]] = []
        self.shutdown: list[Callable[[], object]] = []
        self.waiting: list[Callable[[], object]] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def callWhenRunning(self, function: Callable[[], object]) -> None:
        self.starting.append(function)

    def callFromThread(self, function: Callable[[], object]) -> None:
        self.waiting.append(function)

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.shutdown.append(function)

    def run(self) -> None:
        for function in self.starting:
            function()
        self.meanwhile()
        while self.waiting:
            self.waiting.pop(0)()
        for function in self.shutdown:
            function()

    def stop(self) -> None:
        self.stopped += 1


class RecordingService:
    """A service whose start ends when the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.started: Deferred[None] = Deferred()
        self.on_shutdown: Callable[[], object]

    def startService(self) -> None:
        self.calls.append("start")

    def stopService(self) -> None:
        self.calls.append("stop")


class ForegroundTests(SynchronousTestCase):
    """Signals and failures."""

    def setUp(self):
        self.reactor, self.service = RecordingReactor(), RecordingService()
        self.signals: dict[int, Any] = {signal.SIGHUP: signal.SIG_IGN}
        self.killed: list[int] = []
        self.now = 100.0
        self.patch(signal, "signal", self.signals.__setitem__)
        self.patch(signal, "getsignal", lambda number: self.signals.get(number, signal.SIG_DFL))
        self.patch(cli, "os", types.SimpleNamespace(getpid=lambda: 7, kill=self.kill))
        self.patch(cli, "_monotonic", lambda: self.now)
        self.foreground = cli.Foreground(self.service, self.reactor)

    def kill(self, process: int, number: int) -> None:
        self.killed.append(number)

    def interrupt(self) -> None:
        self.signals[signal.SIGINT](signal.SIGINT, None)

    def test_a_signal_stops_cleanly(self):
        self.reactor.meanwhile = self.interrupt
        self.assertEqual(self.foreground.run(), 0)
        self.assertEqual((self.service.calls, self.reactor.stopped), (["start", "stop"], 1))

    def test_the_same_signal_twice_at_once_is_one(self):
        def meanwhile() -> None:
            self.interrupt()
            self.interrupt()

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 0)
        self.assertEqual((self.reactor.stopped, self.killed), (1, []))

    def test_asking_again_later_ends_at_once(self):
        def meanwhile() -> None:
            self.interrupt()
            self.now += 2
            self.interrupt()

        self.reactor.meanwhile = meanwhile
        self.foreground.run()
        self.assertEqual(self.killed, [signal.SIGINT])
        self.assertIs(self.signals[signal.SIGINT], signal.SIG_DFL)

    def test_an_ignored_hangup_stays_ignored(self):
        self.foreground.run()
        self.assertIs(self.signals[signal.SIGHUP], signal.SIG_IGN)
        self.assertIsNot(self.signals[signal.SIGTERM], signal.SIG_IGN)

    def test_a_hangup_stops_where_nothing_else_is_to_happen(self):
        del self.signals[signal.SIGHUP]
        self.reactor.meanwhile = lambda: self.signals[signal.SIGHUP](signal.SIGHUP, None)
        self.foreground.run()
        self.assertEqual((self.service.calls, self.reactor.stopped), (["start", "stop"], 1))

    def test_a_hangup_loads_everything_again(self):
        del self.signals[signal.SIGHUP]
        called: list[str] = []
        self.foreground._reload = lambda: called.append("reload")
        self.reactor.meanwhile = lambda: self.signals[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(self.foreground.run(), 0)
        self.assertEqual((called, self.reactor.stopped), (["reload"], 0))

    def test_what_is_to_follow_the_start_gets_the_service(self):
        seen: list[object] = []
        self.foreground._when_started = seen.append
        self.service.started.callback(None)
        self.foreground.run()
        self.assertEqual(seen, [None])

    def test_a_failure_to_start_stops_and_is_raised(self):
        self.service.started = fail(ListenError("in use"))
        self.assertRaises(ListenError, self.foreground.run)
        self.assertEqual((self.service.calls, self.reactor.stopped), (["start", "stop"], 1))

    def test_a_start_that_raises_is_a_failure(self):
        def start() -> None:
            raise ListenError("in use")

        self.patch(self.service, "startService", start)
        self.assertRaises(ListenError, self.foreground.run)

    def test_a_start_that_is_cancelled_by_a_signal_is_no_failure(self):
        self.reactor.meanwhile = self.interrupt
        self.reactor.shutdown.append(lambda: self.service.started.errback(CancelledError()))
        self.assertEqual(self.foreground.run(), 0)


class RecordingCommand:
    """A command that ends when the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ended: Deferred[int] = Deferred()
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] | None = None

    def start(self, proxy: object) -> Deferred[int]:
        self.calls.append("start")
        if self.meanwhile is not None:
            self.meanwhile()
        if self.error is not None:
            raise self.error
        return self.ended

    def pass_on(self, number: int) -> None:
        self.calls.append(signal.Signals(number).name)

    def terminate(self) -> None:
        self.calls.append("terminate")

    def close(self) -> None:
        self.calls.append("close")


class ForegroundCommandTests(ForegroundTests):
    """A command beside the proxy; without one running all is as without one."""

    def setUp(self):
        super().setUp()
        command: Any = RecordingCommand()
        self.run_of = command
        self.foreground = cli.Foreground(self.service, self.reactor, command)

    def test_a_signal_stops_cleanly(self):
        self.reactor.meanwhile = self.interrupt
        self.assertEqual(self.foreground.run(), 128 + signal.SIGINT)
        self.assertEqual((self.service.calls, self.reactor.stopped), (["start", "stop"], 1))

    def test_the_same_signal_twice_at_once_is_one(self):
        def meanwhile() -> None:
            self.interrupt()
            self.interrupt()

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 128 + signal.SIGINT)
        self.assertEqual((self.reactor.stopped, self.killed), (1, []))

    def test_a_start_that_is_cancelled_by_a_signal_is_no_failure(self):
        self.reactor.meanwhile = self.interrupt
        self.reactor.shutdown.append(lambda: self.service.started.errback(CancelledError()))
        self.assertEqual(self.foreground.run(), 128 + signal.SIGINT)

    def test_it_runs_from_the_proxy_s_start_on(self):
        def meanwhile() -> None:
            self.assertEqual(self.run_of.calls, [])
            self.service.started.callback(None)
            self.assertEqual((self.run_of.calls, self.reactor.stopped), (["start"], 0))
            self.run_of.ended.callback(7)

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 7)
        self.assertEqual((self.run_of.calls, self.reactor.stopped), (["start", "close"], 1))

    def test_signals_are_passed_on_while_it_runs(self):
        def meanwhile() -> None:
            self.service.started.callback(None)
            for number in (signal.SIGINT, signal.SIGINT, signal.SIGUSR1):
                self.signals[number](number, None)
                self.now += 2
            self.assertEqual(self.reactor.stopped, 0)
            self.run_of.ended.callback(0)

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 0)
        self.assertEqual(self.run_of.calls, ["start", "SIGINT", "SIGINT", "SIGUSR1", "close"])
        self.assertEqual(self.killed, [])

    def test_a_signal_while_it_is_being_started_is_passed_on(self):
        def meanwhile() -> None:
            self.service.started.callback(None)
            self.assertEqual(self.reactor.stopped, 0)
            self.run_of.ended.callback(130)

        self.run_of.meanwhile = self.interrupt
        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 130)
        self.assertEqual(self.run_of.calls, ["start", "SIGINT", "close"])

    def test_a_signal_while_the_proxy_drains_is_ours(self):
        def meanwhile() -> None:
            self.service.started.callback(None)
            self.run_of.ended.callback(7)
            self.interrupt()

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 7)
        self.assertEqual(self.run_of.calls, ["start", "close"])

    def test_it_is_not_started_after_a_signal(self):
        def meanwhile() -> None:
            self.interrupt()
            self.reactor.waiting.pop()()
            self.service.started.callback(None)

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 128 + signal.SIGINT)
        self.assertEqual(self.run_of.calls, [])

    def test_it_is_not_started_where_the_reactor_has_not_yet_heard_of_a_signal(self):
        def meanwhile() -> None:
            self.interrupt()
            self.service.started.callback(None)

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 128 + signal.SIGINT)
        self.assertEqual(self.run_of.calls, [])

    def test_one_that_cannot_be_started_stops_the_proxy(self):
        self.run_of.error = LaunchError("no such command", 127)
        self.reactor.meanwhile = lambda: self.service.started.callback(None)
        self.assertRaises(LaunchError, self.foreground.run)
        self.assertEqual((self.service.calls, self.reactor.stopped), (["start", "stop"], 1))

    def test_a_script_that_ends_the_program_ends_it_first(self):
        def meanwhile() -> None:
            self.service.started.callback(None)
            self.service.on_shutdown()
            self.assertEqual(self.reactor.stopped, 0)
            self.run_of.ended.callback(143)

        self.reactor.meanwhile = meanwhile
        self.assertEqual(self.foreground.run(), 143)
        self.assertEqual(self.run_of.calls, ["start", "terminate", "close"])


class LazinessTests(SynchronousTestCase):
    """What is not needed is not imported."""

    def imported(self, *arguments: str) -> set[str]:
        code = (
            "import sys; from interceptor.cli import main; status = main(sys.argv[1:]);"
            "print(*sys.modules, file=sys.stderr); sys.exit(status)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return set(ended.stderr.split())

    def test_help_and_the_options_need_no_twisted(self):
        for arguments in (["--help"], ["run", "--help"], ["--version"], ["options"]):
            self.assertNotIn("twisted", self.imported(*arguments))

    def test_a_proxy_that_nobody_uses_yet_needs_http_and_tls_only(self):
        folder = Path(self.mktemp())
        folder.mkdir()
        script = folder / "end.py"
        script.write_text(
            "from interceptor import ctx\n\n\ndef running():\n    ctx.master.shutdown()\n"
        )
        listen = ("-m", "regular@127.0.0.1:0", "-m", "reverse:redis://127.0.0.1@127.0.0.1:0")
        imported = self.imported("run", *listen, "-s", str(script), "--set", f"confdir={folder}")
        self.assertIn("interceptor.layers.http1", imported)
        self.assertIn("interceptor.net.tls", imported)
        unwanted = {
            "email.policy",
            "h2",
            "interceptor.layers.dns",
            "interceptor.layers.eventstream",
            "interceptor.layers.http2connection",
            "interceptor.layers.messageexchange",
            "interceptor.layers.pair",
            "interceptor.layers.socks5",
            "interceptor.layers.starttls",
            "interceptor.layers.tcp",
            "interceptor.layers.transparent",
            "interceptor.layers.udp",
            "interceptor.names",
            "interceptor.wire.proxyprotocol",
            "interceptor.wire.redis",
            "interceptor.wire.smtp",
            "interceptor.wire.socks5client",
            "interceptor.wire.starttls",
            "interceptor.wire.websockethandshake",
            "interceptor.workers",
            "twisted.names",
        }
        self.assertEqual(unwanted & imported, set())
