"""The example scripts of the manual do what the manual says of them."""

from __future__ import annotations

import unittest
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor import dns, http
from interceptor.errors import OptionsError
from interceptor.net.memory import HalfCloseRecorder
from interceptor.net.memorytls import MemoryTLS, client_context, origin_authority
from interceptor.testing import EventRecorder, HookTester, MemoryProxy, make_flow
from tests.docs.manual import DOCS, EXAMPLES, example
from tests.websockets import BINARY, TEXT, WebSocketPair, frame, messages

RUN_ELSEWHERE = {
    # tests.docs.test_programs starts these.
    "blocking.py",
    "embed_asyncio.py",
    "embed_two.py",
    "embed_twisted.py",
    "learned.py",
    "slow_stream.py",
}


def ok(content: str | bytes = "", kind: str = "text/plain") -> http.Response:
    """Make a response of an origin."""
    return http.Response.make(200, content, {"Content-Type": kind})


class CompletenessTests(SynchronousTestCase):
    def test_every_example_is_tested(self):
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
        for path in EXAMPLES.glob("*.py"):
            if path.name not in RUN_ELSEWHERE:
                self.assertIn(f'"{path.name}"', text)

    def test_every_example_is_in_the_manual(self):
        pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.rst"))
        for path in EXAMPLES.glob("*.py"):
            self.assertIn(f"literalinclude:: examples/{path.name}", pages)


class ProxyTestCase(SynchronousTestCase):
    """A test of one example, run by a proxy in memory."""

    def proxy(self, *addons: object, **options: Any) -> MemoryProxy:
        proxy = MemoryProxy(*addons, **options)
        self.addCleanup(proxy.close)
        return proxy


class HookTests(ProxyTestCase):
    def test_replaced_text(self):
        proxy = self.proxy(example("replace_text.py"))
        proxy.origin().respond(ok("a colour"), ok("a colour", "image/png"))
        self.assertEqual(proxy.get("http://example.test/").text, "a color")
        self.assertEqual(proxy.get("http://example.test/").content, b"a colour")

    def test_status_of_grpc(self):
        said: list[str] = []
        proxy = self.proxy(
            example("grpc_status.py"), EventRecorder(log=lambda entry: said.append(entry.msg))
        )
        fields = {"Content-Type": "application/grpc"}
        proxy.origin().respond(
            http.Response.make(200, b"", {**fields, "grpc-status": "0"}),
            http.Response.make(200, b"", {**fields, "grpc-status": "5"}),
            b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\ngrpc-status: 7\r\n\r\n",
        )
        for _ in range(3):
            proxy.get("http://example.test/a.b/C")
        failed = [text for text in said if "gRPC" in text]
        self.assertEqual(
            failed,
            ["/a.b/C failed with gRPC status 5", "/a.b/C failed with gRPC status 7"],
        )

    def test_a_coroutine_limits_what_is_under_way(self):
        proxy = self.proxy(example("coroutine.py"))
        origin = proxy.origin()
        clients = [proxy.client() for _ in range(3)]
        for client in clients:
            client.send_request(http.Request.make("GET", "http://example.test/"))
        self.assertEqual(len(origin.requests), 2)
        origin.connections[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        proxy.flush()
        self.assertEqual(len(origin.requests), 3)

    def test_the_guard(self):
        proxy = self.proxy(example("guard.py"))
        proxy.origin("example.test").respond(ok("in"))
        elsewhere = proxy.origin("other.test").respond(ok("out"))
        self.assertEqual(proxy.get("http://example.test/").text, "in")
        self.assertEqual(proxy.get("http://other.test/").status_code, 403)
        upload = http.Request.make("POST", "http://other.test/", b"x" * 100_000)
        self.assertEqual(proxy.send(upload).status_code, 403)
        client = proxy.client().send(
            b"CONNECT other.test:80 HTTP/1.1\r\nHost: other.test:80\r\n\r\n"
        )
        self.assertTrue(client.received.startswith(b"HTTP/1.1 403 "))
        self.assertEqual(elsewhere.connections, [])

    def test_the_guard_fails_closed(self):
        proxy = self.proxy(example("guard.py"))
        origin = proxy.origin("example.test").respond(ok("in"))
        proxy.tester.chain.get("guard").ALLOWED = None
        self.assertEqual(proxy.get("http://example.test/").status_code, 502)
        self.assertEqual(origin.connections, [])

    def test_answers_to_raw_tcp(self):
        proxy = self.proxy(example("answer_tcp.py"), mode="reverse:tcp://example.test:7")
        origin = proxy.origin(port=7)
        client = proxy.client().send(b"PING\r\n")
        self.assertEqual((client.take(), origin.received), (b"PONG\r\n", b""))
        client.send(b"hello\r\n")
        self.assertEqual(origin.received, b"hello\r\n")
        proxy.tester.close()
        proxy.flush()
        self.assertEqual(client.received, b"bye\r\n")

    def test_redirection(self):
        proxy = self.proxy(example("redirect.py"))
        origin = proxy.origin("staging.example.test", 8000).respond(ok("staged"))
        self.assertEqual(proxy.get("http://www.example.test/").text, "staged")
        self.assertEqual(origin.requests[0].headers["Host"], "staging.example.test:8000")
        proxy.client().send(
            b"CONNECT www.example.test:443 HTTP/1.1\r\nHost: www.example.test\r\n\r\n"
        )
        self.assertEqual(len(origin.connections), 2)

    def test_connections_elsewhere(self):
        proxy = self.proxy(example("reconnect.py"))
        origin = proxy.origin("127.0.0.1", 80).respond(ok("local"))
        self.assertEqual(proxy.get("http://api.example.test/").text, "local")
        self.assertEqual(origin.requests[0].headers["Host"], "api.example.test")
        refused = proxy.get("http://example.test:81/")
        self.assertEqual(refused.status_code, 502)
        self.assertIn("refused-by-hook", refused.text)

    def test_refused_clients(self):
        tester = HookTester(example("refuse_clients.py"))
        self.addCleanup(tester.close)
        for address, error in (("192.0.2.7", None), ("198.51.100.7", "not one of ours")):
            flow = make_flow(client_address=(address, 1))
            tester.fire("clientconnect", flow)
            self.assertEqual(flow.client_conn.error, error)

    def test_held_requests(self):
        recorder = EventRecorder("intercept", "resume")
        proxy = self.proxy(example("hold.py"), recorder)
        origin = proxy.origin().respond(ok())
        client = proxy.client()
        client.send_request(http.Request.make("POST", "http://example.test/", b"data"))
        self.assertEqual((recorder.names, origin.connections), (["intercept"], []))
        proxy.tester.chain.get("hold").release()
        proxy.flush()
        self.assertEqual(recorder.names, ["intercept", "resume"])
        self.assertEqual(origin.requests[0].content, b"data")

    def test_killing(self):
        recorder = EventRecorder("error")
        proxy = self.proxy(example("kill.py"), recorder)
        proxy.origin().respond(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
        client = proxy.client()
        client.send_request(http.Request.make("GET", "http://example.test/"))
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertEqual(recorder.arguments("error")[0].error.code, "killed")


class ProtocolTests(ProxyTestCase):
    def test_redis(self):
        proxy = self.proxy(example("redis_edit.py"), mode="reverse:redis://cache.test")
        origin = proxy.origin("cache.test", 6379)
        client = proxy.client().send(b"FLUSHALL\r\nGET flag:a\r\nTTL a\r\n")
        self.assertEqual(client.take(), b"-NOPERM not through this proxy\r\n")
        self.assertIn(b"\r\nstaging:flag:a\r\n", origin.received)
        origin.send(b"$1\r\n1\r\n:10\r\n")
        self.assertEqual(client.received, b"$1\r\n1\r\n:-1\r\n")

    def test_smtp(self):
        proxy = self.proxy(example("smtp_edit.py"), mode="reverse:smtp://mail.test")
        origin = proxy.origin("mail.test", 25)
        client = proxy.client()
        proxy.advance(1)
        origin.send(b"220 hello\r\n")
        client.send(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@example.test>\r\nRCPT TO:<d@e>\r\nDATA\r\n")
        origin.send(b"250 ok\r\n250 ok\r\n354 ok\r\n")
        client.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        self.assertIn(b"\r\n550 5.7.1 nobody outside of this lab\r\n", client.received)
        self.assertIn(b"\r\nX-Lab: from a@b to 1\r\n\r\ntext\r\n.\r\n", origin.received)


class LayerTests(ProxyTestCase):
    def test_a_codec(self):
        # "test_memo.py" holds the tests of "memo.py".
        module = load(EXAMPLES / "test_memo.py")
        result = unittest.TestResult()
        for each in (module.CodecTests, module.LayerTests):
            unittest.defaultTestLoader.loadTestsFromTestCase(each).run(result)
        self.assertEqual((result.errors, result.failures, result.testsRun), ([], [], 3))

    def test_data_can_be_changed(self):
        recorder = EventRecorder(memo_message=lambda flow: setattr(flow.message, "data", b"more"))
        proxy = self.proxy(example("memo.py"), recorder, mode="reverse:memo://cache.test")
        origin = proxy.origin("cache.test", 11211)
        proxy.client().send(b"set a 0 0 1\r\nx\r\n")
        self.assertEqual(origin.received, b"set a 0 0 4\r\nmore\r\n")

    def test_a_pair(self):
        proxy = self.proxy(example("shout.py"), mode="reverse:shout://lines.test:7")
        origin = proxy.origin("lines.test", 7)
        client = proxy.client().send(b"hello\r\n")
        self.assertEqual(origin.received, b"HELLO\r\n")
        origin.send(b"yes\r\n")
        self.assertEqual(client.received, b"yes\r\n")

    def test_chosen(self):
        recorder = EventRecorder("tcp_message", "requestheaders")
        proxy = self.proxy(example("choose_layer.py"), recorder)
        for host in ("a.internal", "b.test"):
            proxy.origin(host, 8443)
            proxy.client().connect(host, 8443).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(recorder.names, ["tcp_message", "requestheaders"])


class ScriptTests(ProxyTestCase):
    def test_own_options(self):
        proxy = self.proxy(example("options.py"), greeting="good morning", greeting_pause="1m")
        proxy.origin().respond(ok())
        self.assertEqual(proxy.get("http://example.test/").headers["X-Greeting"], "good morning")
        proxy.options.set("greeting=good night")
        self.assertEqual(proxy.get("http://example.test/").headers["X-Greeting"], "good night")
        with self.assertRaisesRegex(OptionsError, "one line only"):
            proxy.options.set("greeting=a\nb")
        self.assertEqual(proxy.options.greeting, "good night")
        self.assertEqual(proxy.options.greeting_pause, 60.0)

    def test_arguments(self):
        proxy = self.proxy(example("arguments.py", "X-Note", "a note"))
        proxy.origin().respond(ok())
        self.assertEqual(proxy.get("http://example.test/").headers["X-Note"], "a note")
        with self.assertRaisesRegex(OptionsError, "expected NAME VALUE"):
            HookTester(example("arguments.py"))

    def test_several_addons(self):
        recorder = EventRecorder("response")
        proxy = self.proxy(example("several.py"), recorder)
        proxy.origin().respond(ok())
        proxy.get("http://example.test/api/1")
        proxy.get("http://example.test/")
        self.assertEqual(proxy.tester.chain.names(), ["several", "count", "mark", "eventrecorder"])
        self.assertEqual(proxy.tester.chain.get("count").flows, 2)
        self.assertEqual([flow.marked for flow in recorder.arguments("response")], ["api", ""])

    def test_a_script_of_old(self):
        proxy = self.proxy(example("old_script.py", "teapot.test"))
        proxy.origin().respond(ok())
        self.assertEqual(proxy.get("http://teapot.test/").status_code, 418)
        self.assertEqual(proxy.get("http://example.test/").status_code, 200)


class StreamTests(ProxyTestCase):
    def test_a_function(self):
        proxy = self.proxy(example("upper.py"))
        proxy.origin().respond(ok("quiet"))
        answer = proxy.get("http://example.test/")
        self.assertEqual(answer.text, "QUIET")
        self.assertEqual(answer.headers["Transfer-Encoding"], "chunked")

    def test_an_object_with_a_state(self):
        recorder = EventRecorder("response")
        for chunk in (1, 7, None):
            proxy = self.proxy(example("count_lines.py"), recorder, chunk=chunk)
            proxy.origin().respond(ok("one\ntwo\nthree"))
            self.assertEqual(proxy.get("http://example.test/").text, "1 one\n2 two\nthree")
        flow = recorder.arguments("response")[-1]
        self.assertEqual((flow.response.raw_content, flow.response.body_size), (None, 13))


class EventStreamTests(ProxyTestCase):
    def stream(self, *events: bytes) -> http.Response:
        return ok(b"".join(b"%b\n\n" % event for event in events), "text/event-stream")

    def test_edited_events(self):
        proxy = self.proxy(example("edit_events.py"))
        proxy.origin().respond(
            self.stream(b"event: ping\ndata: 1", b"data: a secret", b": c", b"data: [DONE]")
        )
        self.assertEqual(
            proxy.get("http://example.test/").text,
            "data: a ******\n\n: c\n\ndata: [DONE]\n\n"
            'data: {"note": "checked by the proxy"}\nevent: note\n\n',
        )

    def test_pushed_events(self):
        proxy = self.proxy(example("push_events.py"))
        origin = proxy.origin()
        client = proxy.client()
        client.send_request(http.Request.make("GET", "http://example.test/events"))
        origin.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n")
        self.assertIn(b"data: a\n\n", client.take())
        announce = http.Request.make("POST", "http://example.test/announce", b"lunch")
        proxy.client().send_request(announce)
        self.assertIn(b"data: lunch\nevent: announcement\n\n", client.take())
        client.close()
        proxy.client().send_request(announce)
        self.assertEqual(len(origin.requests), 3)


class WebSocketTests(ProxyTestCase):
    def test_edited_messages(self):
        pair = WebSocketPair(self.proxy(example("websocket_edit.py")))
        sent = frame(TEXT, b"a secret") + frame(BINARY, b"1")
        got = messages(pair.from_client(sent), True)
        self.assertEqual([each.text for each in got], ["a ******", "something binary was left out"])

    def test_pushed_messages(self):
        proxy = self.proxy(example("websocket_push.py"))
        script = proxy.tester.chain.get("websocket_push")
        script.minutely.stop()
        pair = WebSocketPair(proxy)
        script.push("news")
        proxy.flush()
        self.assertEqual([each.text for each in messages(pair.at_client(), False)], ["news"])
        pair.client.close()
        self.assertEqual(script.open_flows, set())


class TLSTests(ProxyTestCase):
    def test_what_is_left_alone(self):
        cases = [
            ("bank.example", ["http/1.1"], True),
            ("www.bank.example", ["http/1.1"], True),
            ("notbank.example", ["http/1.1"], False),
            ("mail.example", ["imap"], True),
            ("www.example", [], False),
        ]
        for name, protocols, alone in cases:
            proxy = self.proxy(example("leave_alone.py"))
            proxy.tls_origin(name, alpn=("imap", "http/1.1")).respond(ok("in"))
            context = client_context(origin_authority().path, protocols)
            client = proxy.tls_client(name, context=context)
            # This client trusts the origin, and not the proxy.
            self.assertIs(client.tls.established, alone, name)

    def test_what_mail_servers_say(self):
        proxy = self.proxy(example("show_lines.py"))
        origin = proxy.origin("mail.test", 25)
        client = proxy.client().connect("mail.test", 25)
        with redirect_stdout(StringIO()) as printed:
            origin.send(b"220 hello\r\n")
            client.send(b"STARTTLS\r\n")
            origin.send(b"220 go\r\n")
            inside = HalfCloseRecorder()
            tls = MemoryTLS(origin_authority().context("mail.test"), inside, server=True)
            tls.take_over(origin.connections[0].transport)
            client.start_tls("mail.test", alpn=()).send(b"QUIT\r\n")
        self.assertEqual(
            printed.getvalue(),
            "server (plain): 220 hello\nclient (plain): STARTTLS\nserver (plain): 220 go\n"
            "client (in TLS): QUIT\n",
        )

    def test_unverified_servers(self):
        recorder = EventRecorder("response")
        proxy = self.proxy(
            example("unverified.py"),
            recorder,
            ssl_insecure_hosts=["^wrong"],
        )
        context = origin_authority().context("good.test")
        for name in ("good.test", "wrong.test"):
            proxy.tls_origin(name, context=context).respond(ok("in"))
            self.assertEqual(proxy.get(f"https://{name}/").text, "in")
        self.assertEqual(
            [flow.marked for flow in recorder.arguments("response")], ["", "unverified"]
        )

    def test_staging(self):
        recorder = EventRecorder("tls_established")
        proxy = self.proxy(example("staging.py"), recorder)
        origin = proxy.tls_origin("staging.example.test").respond(ok("staged"))
        self.assertEqual(proxy.get("https://www.example.test/").text, "staged")
        self.assertEqual(origin.requests[0].headers["Host"], "www.example.test")
        self.assertEqual(recorder.arguments("tls_established")[0].sni, "staging.example.test")

    def test_counted_handshakes(self):
        proxy = self.proxy(example("handshakes.py"))
        proxy.tls_origin("example.test").respond(ok("in"))
        proxy.tls_origin("wrong.test", context=origin_authority().context("example.test"))
        proxy.get("https://example.test/")
        proxy.get("https://wrong.test/")
        distrusting = client_context(origin_authority().path, ["http/1.1"])
        proxy.tls_client("example.test", context=distrusting)
        counts = proxy.tester.chain.get("handshakes")
        self.assertEqual(sum(counts.seen.values()), 4)
        self.assertEqual(
            dict(counts.failed),
            {("server", "cert-wrong-host"): 1, ("client", "client-distrusts-ca"): 1},
        )


class DatagramTests(ProxyTestCase):
    def test_names(self):
        proxy = self.proxy(example("names.py"), mode="dns:9.9.9.9")

        def answer(query: bytes) -> bytes:
            request = dns.Request.from_wire(query)
            return dns.Response.make(request, "192.0.2.1", ttl=600).to_wire()

        proxy.datagram_server("9.9.9.9", 53).answer = answer
        for name, rcode, answers in (
            ("API.example.com", "NOERROR", ["API.example.com 30 IN A 127.0.0.1"]),
            ("x.ads.example", "NXDOMAIN", []),
            ("other.example", "NOERROR", ["other.example 30 IN A 192.0.2.1"]),
        ):
            client = proxy.datagram_client()
            client.send(dns.Request.make(name).to_wire())
            response = dns.Response.from_wire(client.received[0])
            self.assertEqual((response.rcode, list(map(str, response.answers))), (rcode, answers))

    def test_datagrams(self):
        proxy = self.proxy(example("datagrams.py"), mode="reverse:udp://server.test:514")
        server = proxy.datagram_server("server.test", 514)
        client = proxy.datagram_client()
        for number in range(20):
            client.send(b"%d" % number)
        self.assertEqual(client.received, [b"hello from the proxy\n"])
        self.assertEqual(len(server.received), 18)


class TestingTests(SynchronousTestCase):
    def test_the_tests_of_the_tutorial_script(self):
        # "test_tutorial.py" is a test case that readers copy: it passes as it is.
        module = load(EXAMPLES / "test_tutorial.py")
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.TutorialTests)
        result = unittest.TestResult()
        suite.run(result)
        self.assertEqual((result.errors, result.failures), ([], []))
        self.assertEqual(result.testsRun, 2)

    def test_the_tutorial_script(self):
        tester = HookTester(example("tutorial.py"))
        self.addCleanup(tester.close)
        flow = make_flow("http://example.test/", response=200)
        self.assertIsNone(tester.fire("response", flow))
        assert flow.response is not None
        self.assertEqual(flow.response.headers["X-Seen-By"], "interceptor")


def load(path: Path) -> ModuleType:
    """Import a file as a module."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
