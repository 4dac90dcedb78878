"""The General section: start, load, configure, running, done, log, tick, in a running proxy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from interceptor import ctx
from interceptor.exceptions import OptionsError, ScriptError
from interceptor.http import HTTPFlow, Response
from interceptor.testing import HookTester, MemoryProxy, make_flow
from tests.events.cases import EventTestCase, Hooks

NOTING = """
from interceptor import ctx

def note(text):
    with open(ctx.args[1], "a") as file:
        file.write(text + "\\n")
"""


class Life:
    """Notes the events of its own life."""

    def __init__(self, name: str = "life", events: list[Any] | None = None) -> None:
        self.name = name
        self.events: list[Any] = [] if events is None else events

    def start(self) -> None:
        self.events.append(f"{self.name} start")

    def load(self, loader: Any) -> None:
        self.events.append(f"{self.name} load")

    def configure(self, options: Any, updated: set[str]) -> None:
        self.events.append(f"{self.name} configure")

    def running(self) -> None:
        self.events.append(f"{self.name} running")

    def request(self, flow: HTTPFlow) -> None:
        self.events.append(f"{self.name} request")

    def done(self) -> None:
        self.events.append(f"{self.name} done")


class LifecycleTestCase(EventTestCase):
    """Makes scripts and testers."""

    def script(self, text: str, name: str = "script.py") -> Path:
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / name
        path.write_text(text)
        return path.absolute()

    def noting(self, text: str) -> tuple[Path, Path]:
        """A script that has ``note``, and the file that it notes into, its one argument."""
        path = self.script(NOTING + text)
        notes = path.with_name("notes")
        notes.touch()
        return path, notes

    def make_tester(self, *addons: object, **options: Any) -> HookTester:
        tester = HookTester(*addons, **options)
        self.addCleanup(tester.close)
        return tester


class OrderTests(LifecycleTestCase):
    """Which event follows which."""

    def test_whole_life(self) -> None:
        life = Life()
        proxy = MemoryProxy(life)
        proxy.origin().respond(Response.make(200))
        proxy.get("http://example.test/")
        proxy.close()
        self.assertEqual(
            life.events,
            [
                f"life {event}"
                for event in ("start", "load", "configure", "running", "request", "done")
            ],
        )

    def test_one_addon_after_the_other(self) -> None:
        events: list[Any] = []
        self.proxy(Life("a", events), Life("b", events))
        self.assertEqual(
            events,
            "a start,a load,a configure,b start,b load,b configure,a running,b running".split(","),
        )

    def test_same_order_for_every_event(self) -> None:
        events: list[Any] = []
        proxy = MemoryProxy(Life("a", events), Life("b", events), Life("c", events))
        proxy.origin().respond(Response.make(200))
        events.clear()
        proxy.get("http://example.test/")
        proxy.close()
        self.assertEqual(events, "a request,b request,c request,a done,b done,c done".split(","))


class StartTests(LifecycleTestCase):
    """``start``, and what it returns."""

    def test_replacement_of_an_object(self) -> None:
        replacement = Life("replacement")

        class Booting:
            def start(self) -> Life:
                return replacement

            def request(self, flow: HTTPFlow) -> None:
                raise AssertionError("this addon is not there any more")

        proxy = self.proxy(Booting())
        proxy.origin().respond(Response.make(200))
        proxy.get("http://example.test/")
        self.assertEqual(
            replacement.events,
            [
                f"replacement {event}"
                for event in ("start", "load", "configure", "running", "request")
            ],
        )

    def test_replacement_of_a_script(self) -> None:
        path = self.script(
            "from interceptor import http\n"
            "class Answer:\n"
            "    def request(self, flow):\n"
            "        flow.response = http.Response.make(200, b'booted')\n"
            "def request(flow):\n"
            "    raise AssertionError('this addon is not there any more')\n"
            "def start():\n"
            "    return Answer()\n"
        )
        response = self.proxy(str(path)).get("http://example.test/")
        self.assertEqual(response.content, b"booted")

    def test_nothing_keeps_the_addon(self) -> None:
        life = Life()
        self.assertEqual(list(self.make_tester(life).chain), [life])

    def test_list_of_addons(self) -> None:
        path = self.script(
            "from interceptor import http\n"
            "class Answer:\n"
            "    def request(self, flow):\n"
            "        flow.response = http.Response.make(200, b'of the list')\n"
            "addons = [Answer()]\n"
        )
        response = self.proxy(str(path)).get("http://example.test/")
        self.assertEqual(response.content, b"of the list")

    def test_error_refuses_the_script_with_its_own_lines(self) -> None:
        path = self.script("def start():\n    raise ValueError('no good')\n")
        error = self.assertRaises(ScriptError, MemoryProxy, str(path))
        self.assertIn(f'File "{path}", line 2, in start', str(error))
        self.assertNotIn("installed.py", str(error))


class LoadTests(LifecycleTestCase):
    """``load``: options of an addon's own."""

    def test_value_given_before(self) -> None:
        class Limited:
            def load(self, loader: Any) -> None:
                loader.add_option("answer_status", int, 200, "What to answer.")

            def request(self, flow: HTTPFlow) -> None:
                flow.response = Response.make(ctx.options.answer_status)

        self.assertEqual(self.proxy(Limited()).get("http://a.test/").status_code, 200)
        proxy = self.proxy(Limited(), answer_status=404)
        self.assertEqual(proxy.get("http://a.test/").status_code, 404)

    def test_option_that_nobody_declares(self) -> None:
        error = self.assertRaises(OptionsError, HookTester, no_such_option="1")
        self.assertIn("no_such_option", str(error))


class ConfigureTests(LifecycleTestCase):
    """``configure(options, updated)``."""

    def test_all_names_first_then_those_that_changed(self) -> None:
        told: list[tuple[Any, set[str]]] = []

        class Configured:
            def configure(self, options: Any, updated: set[str]) -> None:
                told.append((options, updated))

        tester = self.make_tester(Configured())
        self.assertEqual(told, [(tester.options, tester.options.keys())])
        tester.options.update(body_size_limit=10, read_timeout=3.0)
        self.assertEqual(told[1:], [(tester.options, {"body_size_limit", "read_timeout"})])
        tester.options.update(read_timeout=3.0)
        self.assertEqual(len(told), 2)

    def test_own_options_are_there_already(self) -> None:
        seen: list[str] = []

        class Configured:
            def load(self, loader: Any) -> None:
                loader.add_option("own", str, "value", "An option.")

            def configure(self, options: Any, updated: set[str]) -> None:
                if "own" in updated:
                    seen.append(options.own)

        tester = self.make_tester(Configured())
        tester.options.update(own="other")
        self.assertEqual(seen, ["value", "other"])

    def test_refusal_of_an_exchanges_option_rolls_back(self) -> None:
        told: list[int] = []

        class First:
            def configure(self, options: Any, updated: set[str]) -> None:
                if "body_size_limit" in updated:
                    told.append(options.body_size_limit)

        class Second:
            def configure(self, options: Any, updated: set[str]) -> None:
                if options.body_size_limit < 100:
                    raise OptionsError("body_size_limit: too small for us")

        proxy = self.proxy(First(), Second(), body_size_limit=1000)
        error = self.assertRaises(OptionsError, proxy.options.update, body_size_limit=3)
        self.assertEqual(str(error), "body_size_limit: too small for us")
        self.assertEqual(told, [1000, 3, 1000])
        self.assertEqual(proxy.environment.settings.body_size_limit, 1000)

    def test_refusal_at_start_up(self) -> None:
        class Refusing:
            def configure(self, options: Any, updated: set[str]) -> None:
                raise OptionsError("not with me")

        error = self.assertRaises(OptionsError, HookTester, Refusing())
        self.assertEqual(str(error), "not with me")

    def test_changed_options_count_for_the_next_exchange(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(Response.make(200))
        proxy.options.update(body_size_limit=3)
        client = proxy.client()
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        )
        # Without a hook for it the body streams, and nothing is too large for that.
        self.assertEqual(self.response(client, b"POST").status_code, 200)
        proxy.tester.chain.add(Hooks(request=lambda flow: None))
        client.send(
            b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        )
        self.assertEqual(self.response(client, b"POST").status_code, 413)


class RunningTests(LifecycleTestCase):
    """``running``."""

    def test_late_addon_gets_it_too(self) -> None:
        proxy = self.proxy()
        life = Life()
        proxy.tester.chain.add(life)
        self.assertEqual(life.events[-1], "life running")
        self.assertEqual(life.events.count("life running"), 1)

    def test_nothing_is_accepted_before(self) -> None:
        """What the composition root does: listeners first, then ``running``, then `open`."""
        proxy = self.proxy()
        factory = type(proxy.factory)(proxy.environment, proxy.factory.mode)
        clients: list[Any] = []
        proxy.tester.chain.add(Hooks(clientconnect=clients.append))
        proxy.network.listen(("proxy.test", 8080), factory)
        client = proxy.client()
        client.send(b"GET http://example.test/ HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((clients, client.received), ([], b""))
        factory.open()
        proxy.flush()
        self.assertEqual(len(clients), 1)
        self.assertEqual(self.response(client).status_code, 502)


class DoneTests(LifecycleTestCase):
    """``done``, once, however the addon goes."""

    def test_on_shutdown(self) -> None:
        life = Life()
        HookTester(life).close()
        self.assertEqual(life.events.count("life done"), 1)

    def test_on_unload_and_not_again_on_shutdown(self) -> None:
        life = Life()
        tester = HookTester(life)
        self.successResultOf(tester.chain.remove("life"))
        self.assertEqual(life.events.count("life done"), 1)
        tester.fire("request", make_flow())
        tester.close()
        self.assertEqual(life.events.count("life done"), 1)
        self.assertNotIn("life request", life.events)

    def test_options_are_still_there(self) -> None:
        seen: list[int] = []
        tester = HookTester(Hooks(done=lambda: seen.append(ctx.options.body_size_limit)))
        tester.close()
        self.assertEqual(seen, [tester.options.body_size_limit])

    def test_on_reload(self) -> None:
        version = "def start():\n    note('start {0}')\ndef done():\n    note('done {0}')\n"
        path, notes = self.noting(version.format(1))
        proxy = self.proxy(f"{path} {notes}")
        path.write_text(NOTING + version.format(2))
        os.utime(path, (1, 1))
        proxy.advance(1)
        # The new version has succeeded before the old one is told to end.
        self.assertEqual(notes.read_text().split("\n"), ["start 1", "start 2", "done 1", ""])

    def test_not_where_the_new_version_fails(self) -> None:
        path, notes = self.noting("def done():\n    note('done')\n")
        messages = self.messages()
        proxy = self.proxy(f"{path} {notes}")
        path.write_text("this is no Python\n")
        os.utime(path, (1, 1))
        proxy.advance(1)
        self.assertEqual(notes.read_text(), "")
        self.assertTrue(any("the old version goes on" in text for text in messages.texts))

    def test_reload_between_two_events_of_a_flow(self) -> None:
        version = (
            "def requestheaders(flow):\n    flow.request.headers['X-Head'] = '{0}'\n"
            "def request(flow):\n    flow.request.headers['X-Body'] = '{0}'\n"
        )
        path = self.script(version.format("old"))
        proxy = self.proxy(str(path))
        origin = proxy.origin().respond(Response.make(200))
        client = proxy.client()
        client.send(b"POST http://example.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        path.write_text(version.format("new"))
        os.utime(path, (1, 1))
        proxy.advance(1)
        client.send(b"b")
        headers = origin.requests[0].headers
        self.assertEqual((headers["X-Head"], headers["X-Body"]), ("old", "new"))


class LogTests(LifecycleTestCase):
    """``log(entry)``."""

    def test_levels(self) -> None:
        entries: list[tuple[str, str]] = []

        class Talking:
            def request(self, flow: HTTPFlow) -> None:
                ctx.log("plain")
                ctx.log("with a level", "warn")
                for level in ("debug", "info", "warn", "error"):
                    getattr(ctx.log, level)(level)

            def log(self, entry: Any) -> None:
                entries.append((entry.msg, entry.level))

        self.make_tester(Talking()).fire("request", make_flow())
        self.assertEqual(
            entries,
            [
                ("plain", "info"),
                ("with a level", "warn"),
                ("debug", "debug"),
                ("info", "info"),
                ("warn", "warn"),
                ("error", "error"),
            ],
        )

    def test_no_recursion(self) -> None:
        entries: list[str] = []

        def log(entry: Any) -> None:
            entries.append(entry.msg)
            ctx.log("from inside")

        self.make_tester(Hooks(log=log, request=lambda flow: ctx.log("from outside"))).fire(
            "request", make_flow()
        )
        self.assertEqual(entries, ["from outside"])

    def test_failures_of_exchanges_are_logged(self) -> None:
        entries: list[Any] = []
        proxy = self.proxy(Hooks(log=entries.append))
        proxy.get("http://nobody.test/")
        [entry] = [entry for entry in entries if "connect-refused" in entry.msg]
        self.assertEqual(entry.level, "info")
        self.assertIn("http://nobody.test/", entry.msg)

    def test_failing_hooks_are_logged_with_their_names(self) -> None:
        entries: list[Any] = []

        class Broken:
            def request(self, flow: HTTPFlow) -> None:
                raise ValueError("no good")

        self.make_tester(Hooks(log=entries.append), Broken()).fire("request", make_flow())
        self.assertEqual([entry.level for entry in entries], ["error"])
        self.assertIn("addon `broken`: `request` failed", entries[0].msg)


class TickTests(LifecycleTestCase):
    """``tick``."""

    def test_every_100_ms(self) -> None:
        times: list[float] = []
        proxy = self.proxy(Hooks(tick=lambda: times.append(proxy.clock.seconds())))
        for _ in range(50):
            proxy.clock.advance(0.01)
        self.assertEqual([round(time, 1) for time in times], [0.1, 0.2, 0.3, 0.4, 0.5])

    def test_never_more_often_to_catch_up(self) -> None:
        times: list[float] = []
        proxy = self.proxy(Hooks(tick=lambda: times.append(proxy.clock.seconds())))
        proxy.clock.advance(1.0)
        self.assertEqual(len(times), 1)
        proxy.clock.advance(0.1)
        self.assertEqual(len(times), 2)

    def test_one_at_a_time(self) -> None:
        waiting: list[Deferred[None]] = []

        def tick() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        proxy = self.proxy(Hooks(tick=tick))
        for _ in range(10):
            proxy.clock.advance(0.1)
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(None)
        for _ in range(3):
            proxy.clock.advance(0.1)
        self.assertEqual(len(waiting), 2)

    def test_none_after_the_addon_is_gone(self) -> None:
        ticks: list[None] = []
        proxy = self.proxy(Hooks(tick=lambda: ticks.append(None)))
        proxy.tester.chain.remove("hooks")
        for _ in range(10):
            proxy.clock.advance(0.1)
        self.assertEqual(ticks, [])
        self.assertEqual(proxy.clock.getDelayedCalls(), [])
