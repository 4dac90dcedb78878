"""The published doubles are tested themselves: people's own tests stand on them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from interceptor import ctx, testing
from interceptor.errors import HookFailed, OptionsError, RemoteProtocolError, ScriptError
from interceptor.hooks.events import EVENTS, PER_ADDON
from interceptor.http import Headers, HTTPFlow, Request, Response, ServerSentEvent
from interceptor.testing import (
    EventRecorder,
    HookTester,
    MemoryProxy,
    TestClock,
    make_flow,
    make_options,
)

GET = b"GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Greeting:
    """The addon that the module's documentation speaks of."""

    def response(self, flow: HTTPFlow) -> None:
        assert flow.response is not None
        flow.response.headers["X-Greeting"] = "hello"


class GreetingTests(SynchronousTestCase):
    """The example of the module's documentation."""

    def test_header(self) -> None:
        proxy = MemoryProxy(Greeting())
        self.addCleanup(proxy.close)
        proxy.origin("example.test").respond(Response.make(200, b"hello"))
        response = proxy.get("http://example.test/")
        self.assertEqual(response.headers["X-Greeting"], "hello")


class PublicNamesTests(SynchronousTestCase):
    def test_all_are_there_and_documented(self) -> None:
        for name in testing.__all__:
            self.assertTrue((getattr(testing, name).__doc__ or "").strip(), name)


class MakeFlowTests(SynchronousTestCase):
    def test_as_request_finds_it(self) -> None:
        flow = make_flow()
        self.assertEqual((flow.request.method, flow.request.url), ("GET", "http://example.test/"))
        self.assertEqual(flow.request.first_line_format, "absolute")
        self.assertEqual(flow.request.content, b"")
        self.assertIsNone(flow.response)
        self.assertIsNone(flow.error)
        self.assertIsNone(flow.server_conn.address)
        self.assertEqual(flow.client_conn.address, ("192.0.2.1", 50000))
        self.assertFalse(flow.live)

    def test_to_order(self) -> None:
        flow = make_flow(
            "https://a.test:8443/b?c=d",
            method="POST",
            content="hello",
            headers={"X-A": "1"},
            response=Response.make(404, b"no"),
            error="broken",
            client_address=("192.0.2.9", 1),
        )
        request = flow.request
        self.assertEqual((request.scheme, request.host, request.port), ("https", "a.test", 8443))
        self.assertEqual((request.method, request.path), ("POST", "/b?c=d"))
        self.assertEqual(request.content, b"hello")
        self.assertEqual(request.headers["X-A"], "1")
        assert flow.response is not None and flow.error is not None
        self.assertEqual((flow.response.status_code, flow.response.content), (404, b"no"))
        self.assertEqual(flow.server_conn.address, ("a.test", 8443))
        self.assertEqual(flow.error.msg, "broken")
        self.assertEqual(flow.client_conn.address, ("192.0.2.9", 1))

    def test_response_by_its_status(self) -> None:
        response = make_flow(response=204).response
        assert response is not None
        self.assertEqual((response.status_code, response.content), (204, b""))


class MakeOptionsTests(SynchronousTestCase):
    def test_defaults_and_values(self) -> None:
        options = make_options(read_timeout=3.0)
        self.assertEqual(options.read_timeout, 3.0)
        self.assertEqual(options.body_size_limit, make_options().body_size_limit)

    def test_wrong_ones(self) -> None:
        self.assertRaises(OptionsError, make_options, no_such_option=1)
        self.assertRaises(OptionsError, make_options, read_timeout="soon")


class ClockTests(SynchronousTestCase):
    def test_calls_from_threads_are_made_at_once(self) -> None:
        calls: list[Any] = []
        TestClock().callFromThread(lambda *args, **kwargs: calls.append((args, kwargs)), 1, a=2)
        self.assertEqual(calls, [((1,), {"a": 2})])


class EventRecorderTests(SynchronousTestCase):
    def test_listens_to_everything(self) -> None:
        recorder = EventRecorder()
        missing = {name for name in EVENTS if not hasattr(recorder, name)}
        self.assertEqual(missing, {*PER_ADDON, "tick", "log"})

    def test_listens_to_what_is_named(self) -> None:
        recorder = EventRecorder("request", "tick")
        self.assertEqual({name for name in EVENTS if hasattr(recorder, name)}, {"request", "tick"})

    def test_notes(self) -> None:
        recorder = EventRecorder()
        tester = HookTester(recorder)
        self.addCleanup(tester.close)
        first, second = make_flow(), make_flow()
        tester.fire("request", first)
        tester.fire("error", second)
        tester.fire("request", second)
        self.assertEqual(recorder.names, ["running", "request", "error", "request"])
        self.assertEqual(recorder.arguments("request"), [first, second])
        self.assertEqual(recorder.arguments("response"), [])

    def test_actions(self) -> None:
        waiting: Deferred[None] = Deferred()
        recorder = EventRecorder(
            "request",
            response=lambda flow: waiting,
            running=lambda: ctx.log("running"),
        )
        tester = HookTester(recorder)
        self.addCleanup(tester.close)
        self.assertIsNone(tester.fire("request", make_flow()))
        answer = tester.fire("response", make_flow())
        self.assertNoResult(answer)
        waiting.callback(None)
        self.successResultOf(answer)
        self.assertEqual(recorder.names, ["running", "request", "response"])


class HookTesterTests(SynchronousTestCase):
    def tester(self, *addons: object, **options: Any) -> HookTester:
        made = HookTester(*addons, **options)
        self.addCleanup(made.close)
        return made

    def script(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path.absolute())

    def test_life(self) -> None:
        events: list[str] = []

        class Addon:
            def start(self) -> None:
                events.append("start")

            def load(self, loader: Any) -> None:
                events.append("load")
                loader.add_option("mine", int, 1, "An option.")

            def configure(self, options: Any, updated: set[str]) -> None:
                events.append(f"configure {options.mine}")

            def running(self) -> None:
                events.append("running")

            def done(self) -> None:
                events.append("done")

        tester = HookTester(Addon(), mine=5)
        tester.options.update(mine=6)
        self.successResultOf(tester.close())
        self.assertEqual(events, ["start", "load", "configure 5", "running", "configure 6", "done"])

    def test_scripts(self) -> None:
        path = self.script(
            "from interceptor import ctx\n"
            "def request(flow):\n    flow.request.headers['X-Args'] = ' '.join(ctx.args[1:])\n"
        )
        flow = make_flow()
        self.tester(f"{path} one 'two three'").fire("request", flow)
        self.assertEqual(flow.request.headers["X-Args"], "one two three")

    def test_ctx(self) -> None:
        seen: list[Any] = []

        class Addon:
            def request(self, flow: HTTPFlow) -> None:
                seen.append((ctx.options, ctx.master))

        master = object()
        tester = HookTester(Addon(), master=master)
        self.addCleanup(tester.close)
        tester.fire("request", make_flow())
        self.assertEqual(seen, [(tester.options, master)])

    def test_events(self) -> None:
        class Addon:
            def sse_event(self, flow: HTTPFlow) -> None:
                assert flow.sse is not None
                flow.sse.events[-1].data += "!"

        flow = make_flow(response=200, events=[ServerSentEvent("a"), ServerSentEvent("b")])
        assert flow.sse is not None
        self.tester(Addon()).fire("sse_event", flow)
        self.assertEqual([event.data for event in flow.sse.events], ["a", "b!"])

    def test_nobody_listens(self) -> None:
        self.assertIsNone(self.tester().fire("request", make_flow()))

    def test_time(self) -> None:
        recorder = EventRecorder("tick")
        tester = self.tester(recorder)
        tester.clock.advance(0.1)
        self.assertEqual(recorder.names, ["tick"])

    def test_clock_of_the_callers(self) -> None:
        clock = TestClock()
        self.assertIs(self.tester(clock=clock).clock, clock)

    def test_failing_hooks(self) -> None:
        class Broken:
            error_policy = "kill"

            def request(self, flow: HTTPFlow) -> None:
                raise ValueError

        self.assertRaises(HookFailed, self.tester(Broken()).fire, "request", make_flow())

    def test_failing_running(self) -> None:
        class Broken:
            error_policy = "kill"
            ended = False

            def running(self) -> None:
                raise ValueError

            def done(self) -> None:
                Broken.ended = True

        self.assertRaises(HookFailed, HookTester, Broken())
        self.assertTrue(Broken.ended)

    def test_what_cannot_be_loaded(self) -> None:
        self.assertRaises(ScriptError, HookTester, "/no/such/script.py")
        self.assertRaises(ScriptError, HookTester, self.script("1 / 0"))
        self.assertRaises(OptionsError, HookTester, no_such_option="1")
        # Nothing of them is left: ctx would belong to several proxies otherwise.
        tester = self.tester()
        self.assertIs(ctx.options, tester.options)

    def test_closing_twice(self) -> None:
        tester = HookTester()
        self.successResultOf(tester.close())
        self.successResultOf(tester.close())


class MemoryProxyTestCase(SynchronousTestCase):
    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy


class MemoryProxyTests(MemoryProxyTestCase):
    def test_get(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin("a.test", 8000).respond(Response.make(200, b"hello"))
        response = proxy.get("http://a.test:8000/b?c=d", {"X-A": "1"})
        self.assertEqual((response.status_code, response.content), (200, b"hello"))
        [request] = origin.requests
        self.assertEqual((request.method, request.path), ("GET", "/b?c=d"))
        self.assertEqual(request.headers["X-A"], "1")
        self.assertEqual(request.headers["Host"], "a.test:8000")

    def test_send(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin().respond(Response.make(201))
        request = Request.make("PUT", "http://example.test/x", b"hello", {"X-A": "1"})
        self.assertEqual(proxy.send(request).status_code, 201)
        self.assertEqual(origin.requests[0].content, b"hello")

    def test_send_head(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        response = proxy.send(Request.make("HEAD", "http://example.test/"))
        self.assertEqual((response.headers["Content-Length"], response.content), ("5", b""))

    def test_no_answer(self) -> None:
        proxy = self.proxy()
        proxy.origin()
        error = self.assertRaises(AssertionError, proxy.get, "http://example.test/")
        self.assertIn("no response yet", str(error))

    def test_host_that_nobody_listens_at(self) -> None:
        response = self.proxy().get("http://nobody.test/")
        self.assertEqual(response.status_code, 502)
        self.assertIn("connect-refused", response.text or "")

    def test_connections_are_closed_behind_it(self) -> None:
        recorder = EventRecorder("clientdisconnect", "serverdisconnect")
        proxy = self.proxy(recorder)
        proxy.origin().respond(OK)
        proxy.get("http://example.test/")
        self.assertEqual(sorted(recorder.names), ["clientdisconnect", "serverdisconnect"])

    def test_pieces(self) -> None:
        proxy = self.proxy(chunk=1)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        client.send(GET)
        self.assertEqual(client.peer.chunks, [bytes((byte,)) for byte in OK])
        self.assertEqual(origin.requests[0].method, "GET")
        # A client may have pieces of its own.
        other = proxy.client(chunk=1000)
        other.send(GET)
        self.assertEqual(other.received, OK)
        self.assertLess(len(other.peer.chunks), len(OK))

    def test_mode(self) -> None:
        proxy = self.proxy(mode="reverse:http://example.test")
        proxy.origin().respond(OK)
        client = proxy.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(client.received, OK)

    def test_options(self) -> None:
        proxy = self.proxy(read_timeout=3.0)
        proxy.origin()
        client = proxy.client()
        client.send(GET)
        proxy.options.update(read_timeout=5.0)
        proxy.advance(3)
        response = client.response()
        assert response is not None
        self.assertEqual(response.status_code, 504)
        later = proxy.client()
        later.send(GET)
        proxy.advance(3)
        self.assertIsNone(later.response())
        proxy.advance(2)
        self.assertIsNotNone(later.response())

    def test_time(self) -> None:
        recorder = EventRecorder("tick")
        proxy = self.proxy(recorder)
        proxy.advance(0.1)
        self.assertEqual(recorder.names, ["tick"])

    def test_network(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(OK)
        proxy.network.delay(("example.test", 80), 5)
        client = proxy.client()
        client.send(GET)
        self.assertEqual(client.received, b"")
        proxy.advance(5)
        self.assertEqual(client.received, OK)

    def test_nothing_is_left_after_close(self) -> None:
        recorder = EventRecorder("clientdisconnect", "done")
        proxy = MemoryProxy(recorder)
        proxy.origin()
        client = proxy.client()
        client.send(GET)
        proxy.close()
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names, ["clientdisconnect", "done"])
        self.assertEqual(proxy.clock.getDelayedCalls(), [])
        self.assertRaises(RuntimeError, lambda: ctx.options)

    def test_two_do_not_meet(self) -> None:
        first, second = self.proxy(Greeting()), self.proxy()
        for proxy in (first, second):
            proxy.origin().respond(OK)
        self.assertIn("X-Greeting", first.get("http://example.test/").headers)
        self.assertNotIn("X-Greeting", second.get("http://example.test/").headers)


class MemoryClientTests(MemoryProxyTestCase):
    def test_bytes(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(OK)
        client = proxy.client()
        self.assertIs(client.send(GET[:20]), client)
        self.assertEqual(client.received, b"")
        client.send(GET[20:])
        self.assertEqual(client.received, OK)
        self.assertEqual(client.take(), OK)
        self.assertEqual(client.received, b"")

    def test_request(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin().respond(OK)
        request = Request.make("POST", "http://example.test/a", b"hello")
        request.trailers = Headers([(b"X-Sum", b"1")])
        proxy.client().send_request(request)
        self.assertEqual(origin.requests[0].content, b"hello")
        assert origin.requests[0].trailers is not None

    def test_responses_one_by_one(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
            Response.make(404, b"no"),
        )
        client = proxy.client()
        client.send(GET + GET)
        first, second, third = client.response(), client.response(), client.response()
        assert first is not None and second is not None
        self.assertEqual((first.status_code, first.content), (200, b"ok"))
        assert first.trailers is not None
        self.assertEqual(first.trailers["X-Sum"], "1")
        self.assertEqual((second.status_code, second.content), (404, b"no"))
        self.assertIsNone(third)

    def test_response_that_is_not_complete(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin()
        client = proxy.client()
        client.send(GET)
        origin.send(OK[:-1])
        self.assertIsNone(client.response())
        self.assertEqual(client.received, OK[:-1])
        origin.send(OK[-1:])
        self.assertIsNotNone(client.response())

    def test_response_that_is_cut_off(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin()
        client = proxy.client()
        client.send(GET)
        origin.send(OK[:-1])
        origin.close()
        self.assertRaises(RemoteProtocolError, client.response)

    def test_ways_to_end(self) -> None:
        for end, answered in (("close", False), ("abort", False), ("end", True)):
            proxy = self.proxy()
            origin = proxy.origin()
            client = proxy.client()
            client.send(GET)
            getattr(client, end)()
            origin.send(OK)
            self.assertEqual(client.received, OK if answered else b"", end)

    def test_closed(self) -> None:
        proxy = self.proxy(idle_timeout=3.0)
        client = proxy.client()
        self.assertFalse(client.closed)
        proxy.advance(3)
        self.assertTrue(client.closed)


class MemoryOriginTests(MemoryProxyTestCase):
    def test_answers_in_turn_and_then_the_last(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin().respond(Response.make(201), Response.make(202))
        origin.respond(Response.make(203))
        statuses = [proxy.get("http://example.test/").status_code for _ in range(4)]
        self.assertEqual(statuses, [201, 202, 203, 203])

    def test_functions(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(
            lambda request: Response.make(200, request.path),
            lambda request: OK,
            lambda request: None,
        )
        self.assertEqual(proxy.get("http://example.test/a").content, b"/a")
        self.assertEqual(proxy.get("http://example.test/b").content, b"ok")
        self.assertRaises(AssertionError, proxy.get, "http://example.test/c")

    def test_silence_until_the_test_speaks(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin()
        client = proxy.client()
        client.send(GET)
        self.assertEqual(client.received, b"")
        origin.send(OK)
        self.assertEqual(client.received, OK)

    def test_what_it_received(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin().respond(OK)
        for path in ("/a", "/b"):
            proxy.get(f"http://example.test{path}")
        self.assertEqual([request.path for request in origin.requests], ["/a", "/b"])
        self.assertEqual(len(origin.connections), 2)
        self.assertEqual(
            origin.received,
            b"".join(
                b"GET %b HTTP/1.1\r\nHost: example.test\r\n\r\n" % path for path in (b"/a", b"/b")
            ),
        )

    def test_ways_to_end(self) -> None:
        for end, code in (("close", "server-disconnected"), ("abort", "server-reset")):
            recorder = EventRecorder("error")
            proxy = self.proxy(recorder)
            origin = proxy.origin()
            proxy.client().send(GET)
            getattr(origin, end)()
            [flow] = recorder.arguments("error")
            self.assertEqual(flow.error.code, code)

    def test_listening_ends(self) -> None:
        proxy = self.proxy()
        origin = proxy.origin().respond(OK)
        self.successResultOf(origin.port.stopListening())
        self.assertEqual(proxy.get("http://example.test/").status_code, 502)

    def test_one_takes_the_place_of_another(self) -> None:
        proxy = self.proxy()
        proxy.origin().respond(Response.make(201))
        proxy.origin().respond(Response.make(202))
        self.assertEqual(proxy.get("http://example.test/").status_code, 202)


class CostTests(MemoryProxyTestCase):
    def test_no_real_time_passes(self) -> None:
        proxy = self.proxy()
        proxy.origin()
        client = proxy.client()
        client.send(GET)
        began = time.monotonic()
        proxy.advance(3600)
        self.assertIsNotNone(client.response())
        self.assertLess(time.monotonic() - began, 10)
