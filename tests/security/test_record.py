"""The field's security record, tried on whole proxies: each class is named after what went wrong.

What went wrong elsewhere was found in programs that do what this one does. Each of its classes
holds, as an attacker would send it, what made them fail, and what has to come of it here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from interceptor import flowfilter
from interceptor.http import HTTPFlow, Request, Response
from interceptor.net import tlscontext
from interceptor.net.tlsverify import ChainRecord
from interceptor.testing import EventRecorder, MemoryClient, MemoryOrigin, MemoryProxy
from tests.events.cases import OK, EventTestCase, Guard, Hooks, Waiting
from tests.layers.tlscases import GET, HOST, TLSLayerTestCase
from tests.model.test_passwords import APACHE_BCRYPT
from tests.net.certificates import authority, issue

SETTINGS = ("reject", "repair", "pass")
"""What ``http_framing`` may be."""

CHUNKS = (None, 1)
"""How many bytes arrive at once: all there are, or one."""

SMUGGLED = b"GET http://example.test/admin HTTP/1.1\r\nHost: example.test\r\n\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST that has one request behind it, or inside of it: that is the question."""
    lines = (b"POST http://example.test/ HTTP/1.1", b"Host: example.test", *fields, b"", b"")
    return b"\r\n".join(lines) + body + SMUGGLED


class SmugglingTestCase(EventTestCase):
    """Sends what may be one request or two, in every setting, whole and byte by byte."""

    def check_refused(self, data: bytes, **options: Any) -> None:
        """Nothing of ``data`` gets to a server, and no hook sees a request in it."""
        for framing in SETTINGS:
            for chunk in CHUNKS:
                with self.subTest(data=data, framing=framing, chunk=chunk):
                    recorder = EventRecorder("requestheaders", "request")
                    proxy = self.proxy(recorder, http_framing=framing, **options)
                    origin = proxy.origin().respond(OK)
                    client = proxy.client(chunk)
                    client.send(data)
                    self.assertEqual(client.received.count(b"HTTP/1.1 "), 1)
                    self.assertEqual(self.response(client).status_code, 400)
                    self.assertTrue(client.closed)
                    self.assertEqual((recorder.names, origin.connections), ([], []))

    def check_understood(self, data: bytes, count: int) -> None:
        """Hooks see ``count`` requests, the server gets as many, and each has one response."""
        for chunk in CHUNKS:
            with self.subTest(data=data, chunk=chunk):
                recorder = EventRecorder("request")
                proxy = self.proxy(recorder)
                origin = proxy.origin().respond(OK)
                client = proxy.client(chunk)
                client.send(data)
                self.assertEqual(
                    [flow.request.path for flow in recorder.arguments("request")],
                    [request.path for request in origin.requests],
                )
                self.assertEqual(len(origin.requests), count)
                self.assertEqual(client.received.count(b"HTTP/1.1 200"), count)


class TwoFramingsTests(SmugglingTestCase):
    """CVE-2021-39214: mitmproxy passed on messages whose end can be found in two ways."""

    def test_requests_with_a_length_and_chunks(self):
        for fields in (
            (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"Content-Length: %d" % (5 + len(SMUGGLED))),
        ):
            self.check_refused(post(*fields, body=b"0\r\n\r\n"))

    def test_requests_with_two_lengths(self):
        for fields in (
            (b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)),
            (b"Content-Length: 0, %d" % len(SMUGGLED),),
        ):
            self.check_refused(post(*fields))

    def test_requests_with_codings_that_others_may_overlook(self):
        for coding in (b"xchunked", b"chunked, identity", b"chunked, chunked", b"identity", b"x"):
            self.check_refused(post(b"Transfer-Encoding: " + coding, body=b"0\r\n\r\n"))

    def test_body_that_looks_like_a_request_is_a_body(self):
        length = b"Content-Length: %d" % len(SMUGGLED)
        self.check_understood(post(length), 1)

    def test_request_behind_a_body_is_a_request(self):
        self.check_understood(post(b"Content-Length: 5", body=b"hello"), 2)
        self.check_understood(post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 2)

    def response_to(self, framing: str, answer: bytes) -> tuple[MemoryClient, MemoryOrigin]:
        """Ask twice, where the first answer holds a second one of the server's making."""
        proxy = self.proxy(http_framing=framing)
        origin = proxy.origin().respond(answer, OK)
        client = proxy.client()
        ask = b"GET http://example.test/%d HTTP/1.1\r\nHost: example.test\r\n\r\n"
        client.send(ask % 1)
        client.send(ask % 2)
        return client, origin

    def test_response_with_a_length_and_chunks_answers_one_request(self):
        forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
        answer = (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\n" % (5 + len(forged))
        ) + forged
        for framing in ("repair", "pass"):
            client, origin = self.response_to(framing, answer)
            first, second = self.response(client), self.response(client)
            self.assertEqual((first.content, second.content), (b"", b"ok"))
            self.assertNotIn("Content-Length", first.headers)
            self.assertEqual(len(origin.connections), 2)

    def test_response_with_a_length_and_chunks_is_refused(self):
        answer = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        client, _ = self.response_to("reject", answer)
        self.assertEqual(self.response(client).status_code, 502)

    def test_response_with_two_lengths_is_refused(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nokforged"
        for framing in SETTINGS:
            client, _ = self.response_to(framing, answer)
            self.assertEqual(self.response(client).status_code, 502)


class WhiteSpaceInNamesTests(SmugglingTestCase):
    """CVE-2022-24766: mitmproxy passed on field names that only some servers recognize."""

    def test_requests(self):
        for field in (
            b"Content-Length : 5",
            b"Content-Length\t: 5",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\x0b: chunked",
            b"\x0bTransfer-Encoding: chunked",
            b"Transfer\x00-Encoding: chunked",
            b" Transfer-Encoding: chunked",
            b"Content-Length:\r\n 5",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
        ):
            self.check_refused(post(field, body=b"0\r\n\r\n"))

    def test_codings_with_odd_white_space(self):
        for value in (b"\x0bchunked", b"chunked\x0c", b"chunked\x00"):
            self.check_refused(post(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n"))

    def test_response_goes_on_with_the_name_that_was_understood(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"
        for framing, status in (("reject", 502), ("repair", 200), ("pass", 200)):
            proxy = self.proxy(http_framing=framing)
            proxy.origin().respond(answer)
            client = proxy.client()
            client.send(SMUGGLED)
            self.assertNotIn(b"Length :", client.received)
            self.assertEqual(self.response(client).status_code, status)


class LenientParsingTests(SmugglingTestCase):
    """CVE-2022-24801: Twisted's HTTP/1 server read more than there is in the grammar."""

    def test_lengths(self):
        for value in (b"+5", b"-5", b"0x5", b"5_0", b"5 5", b"5.", b"", b"\xb2"):
            self.check_refused(post(b"Content-Length: " + value, body=b"hello"))

    def test_white_space_around_values_is_space_and_tab_only(self):
        for value in (b"\x0b5", b"5\x0c", b"5\x1f", b"\xa05"):
            self.check_refused(post(b"Content-Length: " + value, body=b"hello"))

    def test_chunks(self):
        for chunks in (
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"5_0\r\nhello\r\n0\r\n\r\n",
            b"\x0b5\r\nhello\r\n0\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\n0\n\n",
            b"5\r\nhelloXX0\r\n\r\n",
        ):
            for framing in SETTINGS:
                for chunk in CHUNKS:
                    with self.subTest(chunks=chunks, framing=framing, chunk=chunk):
                        self.check_bad_chunks(post(b"Transfer-Encoding: chunked", body=chunks))

    def check_bad_chunks(self, data: bytes, **options: Any) -> None:
        """The head is fine, so hooks may see it; no request is complete."""
        recorder = EventRecorder("request")
        proxy = self.proxy(recorder, **options)
        origin = proxy.origin().respond(OK)
        client = proxy.client()
        client.send(data)
        self.assertEqual(self.response(client).status_code, 400)
        self.assertEqual((client.received, client.closed), (b"", True))
        self.assertEqual((recorder.names, origin.requests), ([], []))
        self.assertNotIn(b"/admin", origin.received)


class PipeliningTestCase(EventTestCase):
    """One client asks two servers without waiting in between."""

    def pipelined(
        self, *addons: object
    ) -> tuple[MemoryProxy, MemoryClient, MemoryOrigin, MemoryOrigin]:
        proxy = self.proxy(*addons)
        slow, quick = proxy.origin("slow.test"), proxy.origin("quick.test")
        quick.respond(Response.make(200, b"quick"))
        client = proxy.client()
        client.send(
            b"GET http://slow.test/ HTTP/1.1\r\nHost: slow.test\r\n\r\n"
            b"GET http://quick.test/ HTTP/1.1\r\nHost: quick.test\r\n\r\n"
        )
        return proxy, client, slow, quick

    def bodies(self, client: MemoryClient) -> list[bytes | None]:
        return [self.response(client).content for _ in range(2)]


class OrderOfResponsesTests(PipeliningTestCase):
    """CVE-2023-46137: Twisted's HTTP/1 server answered pipelined requests as answers came."""

    def test_slow_server_does_not_get_its_response_to_the_other_request(self):
        proxy, client, slow, _ = self.pipelined()
        proxy.advance(1)
        self.assertEqual(client.received, b"")
        slow.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        self.assertEqual(self.bodies(client), [b"slow", b"quick"])

    def test_slow_hook_does_not_change_the_order(self):
        waiting = Waiting()

        def response(flow: HTTPFlow) -> Any:
            return waiting(flow) if flow.request.host == "slow.test" else None

        proxy, client, slow, _ = self.pipelined(Hooks(response=response))
        slow.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        proxy.advance(1)
        self.assertEqual(client.received, b"")
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.bodies(client), [b"slow", b"quick"])

    def test_more_than_was_asked_for_answers_nobody(self):
        proxy = self.proxy()
        origin = proxy.origin().respond(OK + OK.replace(b"ok", b"no"), OK)
        client = proxy.client()
        client.send(SMUGGLED)
        client.send(SMUGGLED)
        self.assertEqual(self.bodies(client), [b"ok", b"ok"])
        self.assertEqual(len(origin.connections), 2)


class OrderOfRequestsTests(PipeliningTestCase):
    """CVE-2024-41671: Twisted's HTTP/1 server processed pipelined requests out of order."""

    def test_second_request_begins_when_the_first_is_over(self):
        recorder = EventRecorder("request", "response")
        _, _, slow, quick = self.pipelined(recorder)
        self.assertEqual((len(slow.requests), len(quick.requests)), (1, 0))
        slow.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        self.assertEqual(recorder.names, ["request", "response"] * 2)
        self.assertEqual(
            [flow.request.host for _, flow in recorder.events],
            ["slow.test"] * 2 + ["quick.test"] * 2,
        )

    def test_second_request_waits_for_a_hook_of_the_first(self):
        waiting = Waiting()

        def request(flow: HTTPFlow) -> Any:
            return waiting(flow) if flow.request.host == "slow.test" else None

        proxy, client, slow, quick = self.pipelined(Hooks(request=request))
        proxy.advance(1)
        self.assertEqual((slow.requests, quick.requests), ([], []))
        slow.respond(Response.make(200, b"slow"))
        waiting.go_on()
        proxy.flush()
        self.assertEqual(self.bodies(client), [b"slow", b"quick"])

    def test_second_request_is_lost_with_the_first(self):
        _, client, slow, quick = self.pipelined(Hooks(response=lambda flow: flow.kill()))
        slow.send(OK)
        self.assertTrue(client.closed)
        self.assertEqual((client.received, quick.requests), (b"", []))


class LineBreaksInFieldsTests(EventTestCase):
    """GHSA-847f-9342-265h: a line break in a field's value became an HTTP/1 request of its own.

    In mitmproxy it came by HTTP/2. Here, whatever makes a field: hooks can, in either message.
    """

    def check(self, side: str, change: Callable[[Any], object], code: str) -> None:
        with self.subTest(side=side, code=code):
            addon = Guard(**{side: lambda flow: change(getattr(flow, side))})
            proxy, client, _ = self.started(addon)
            origin = proxy.origin().respond(OK)
            client.send(SMUGGLED)
            # The page tells what was wrong, in one line.
            sent = client.received.partition(b"\r\n\r\n")[0] + origin.received
            response = self.response(client)
            self.assertEqual(response.status_code, 502)
            self.assertIn(f"interceptor: {code}", response.text)
            self.assertNotIn(b"injected", sent)
            self.assertEqual(len(origin.requests), side == "response")
            self.assertEqual(client.received, b"")

    def test_values_and_names_cannot_be_set(self):
        def value(message: Request | Response) -> None:
            message.headers["X"] = "a\r\n\r\nGET /injected"

        def name(message: Request | Response) -> None:
            message.headers["X: a\r\ninjected"] = "1"

        def added(message: Request | Response) -> None:
            message.headers.add("X", "a\ninjected")

        for side in ("request", "response"):
            for change in (value, name, added):
                self.check(side, change, "hook-failed")

    def test_other_parts_cannot_be_set(self):
        for name, value in (
            ("path", "/ HTTP/1.1\r\nX-injected: 1"),
            ("host", "example.test\r\nX-injected: 1"),
            ("method", "GET /injected HTTP/1.1\r\n\r\nGET"),
        ):
            self.check("request", partial(self.assign, name, value), "hook-failed")
        reason = partial(self.assign, "reason", "OK\r\nX-injected: 1")
        self.check("response", reason, "hook-failed")

    def assign(self, name: str, value: str, message: Any) -> None:
        setattr(message, name, value)

    def test_what_is_set_unchecked_is_not_sent(self):
        for value in (b"a\r\nX-injected: 1", b"a\ninjected", b"a\rinjected", b"a\0injected"):
            for field in ((b"X", value), (b"X" + value, b"1")):

                def change(message: Request | Response, field: Any = field) -> None:
                    message.headers.fields = ((b"Host", b"example.test"), field)

                for side in ("request", "response"):
                    self.check(side, change, "header-invalid")


class InjectionIntoAuthenticationTests(EventTestCase):
    """GHSA-527g-3w9m-29hv (CVE-2026-40606): a user's name became part of mitmproxy's LDAP query."""

    def ask(self, proxyauth: str, credentials: bytes) -> Response:
        self.asked, client, _ = self.started(proxyauth=proxyauth)
        self.asked.origin().respond(OK)
        field = b"\r\nProxy-Authorization: Basic " + b64encode(credentials)
        client.send(SMUGGLED.replace(b"\r\n\r\n", field + b"\r\n\r\n"))
        return self.response(client)

    def check_refused(self, credentials: bytes) -> None:
        for proxyauth in ("anna:secret", "@" + self.password_file()):
            with self.subTest(credentials=credentials, proxyauth=proxyauth):
                self.assertEqual(self.ask(proxyauth, credentials).status_code, 407)
                self.assertEqual(self.asked.network.attempts, [])

    def password_file(self) -> str:
        path = Path(self.mktemp())
        path.write_text(APACHE_BCRYPT)
        return str(path)

    def test_right_name_and_password_are_let_in(self):
        for proxyauth in ("anna:secret", "@" + self.password_file()):
            self.assertEqual(self.ask(proxyauth, b"anna:secret").status_code, 200)

    def test_names_that_are_patterns(self):
        for name in (b"*", b"a*", b"anna)(uid=*", b"*)(objectClass=*", b"anna)(|(a=b", b"%", b".*"):
            for password in (b"secret", b"*", b""):
                self.check_refused(name + b":" + password)

    def test_names_that_would_be_cut(self):
        for name in (b"anna\0", b"anna\0x", b"anna\n", b"anna\r", b" anna", b"anna ", b"ANNA"):
            self.check_refused(name + b":secret")

    def test_names_of_more_than_one_line_of_the_file(self):
        self.check_refused(b"x\nanna:secret")
        self.check_refused(APACHE_BCRYPT.encode())


class NamesOfServersTests(TLSLayerTestCase):
    """A name that the client only claims (Host, SNI) passed allow-lists for another server.

    The field's proxies had it one after the other; there is no one number for it. Where a request
    goes is ``request.host``, and no client can make that another one than the one connected to.
    """

    def fronted(
        self, *addons: object, connect: str = "real.test", sni: str = HOST, host: str = HOST
    ) -> tuple[MemoryClient, EventRecorder, MemoryOrigin]:
        """Ask ``connect`` for something, calling it ``sni`` and ``host``."""
        roots = self.trusted(authority())
        proxy, recorder = self.tls(*addons, ssl_verify_upstream_trusted_ca=roots)
        certificate = issue("real.test", HOST, "host.test", issuer=authority())
        context = self.server_context(certificate)
        origin = proxy.tls_origin(connect, context=context).respond(OK)
        client = proxy.client().connect(connect, 443).start_tls(sni)
        client.send(GET.replace(HOST.encode(), host.encode()))
        return client, recorder, origin

    def test_names_are_fields_of_their_own(self):
        _, recorder, _ = self.fronted(host="host.test")
        [flow] = recorder.arguments("request")
        self.assertEqual(flow.request.host, "real.test")
        self.assertEqual(flow.request.url, "https://real.test/")
        self.assertEqual(flow.request.pretty_host, "host.test")
        self.assertEqual(flow.client_conn.sni, HOST)
        self.assertEqual(flow.server_conn.address, ("real.test", 443))
        [hello] = recorder.arguments("tls_clienthello")
        self.assertEqual((hello.host, hello.sni), ("real.test", HOST))
        [connect] = recorder.arguments("http_connect")
        self.assertEqual(connect.request.host, "real.test")

    def allow_list(self) -> Hooks:
        """An addon that lets requests to one server through."""
        allowed = flowfilter.parse(f"~host ^{HOST}$")

        def request(flow: HTTPFlow) -> None:
            if not allowed(flow):
                flow.response = Response.make(403)

        return Guard(request=request)

    def test_filter_sees_the_real_destination(self):
        client, _, origin = self.fronted(self.allow_list())
        self.assertEqual(self.response(client).status_code, 403)
        self.assertEqual(origin.requests, [])

    def test_filter_lets_the_real_destination_through(self):
        client, _, origin = self.fronted(self.allow_list(), connect=HOST, host="host.test")
        self.assertEqual(self.response(client).status_code, 200)
        self.assertEqual(len(origin.requests), 1)

    def test_plain_requests(self):
        for request in (
            b"GET http://real.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
            b"GET http://real.test/#@example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
            b"GET http://real.test/ HTTP/1.0\r\nHost: example.test\r\n\r\n",
        ):
            proxy, client, recorder = self.started(self.allow_list())
            origin = proxy.origin("real.test").respond(OK)
            client.send(request)
            self.assertEqual(self.response(client).status_code, 403)
            self.assertEqual(origin.requests, [])
            [flow] = recorder.arguments("request")
            # The target counts, and the server is told nothing else.
            self.assertEqual(flow.request.headers["Host"], "real.test")

    def test_two_names_in_one_request_are_refused(self):
        for request in (
            b"GET http://real.test@example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
            b"GET http://example.test\\@real.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
            b"GET http://example.test%00.real.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: example.test\r\nHost: real.test\r\n\r\n",
            b"CONNECT example.test:443@real.test:443 HTTP/1.1\r\nHost: example.test\r\n\r\n",
        ):
            proxy, client, recorder = self.started()
            client.send(request)
            self.assertEqual(self.response(client).status_code, 400)
            self.assertEqual(proxy.network.attempts, [])
            self.assertNotIn("request", recorder.names)

    def test_server_has_to_be_what_the_client_calls_it(self):
        proxy, recorder = self.tls(ssl_verify_upstream_trusted_ca=self.trusted(authority()))
        origin = self.bad_origin(proxy, issue("real.test", issuer=authority()), host="real.test")
        client = proxy.client().connect("real.test", 443).start_tls(HOST)
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(self.code(recorder), "cert-wrong-host")
        self.assertEqual(origin.requests, [])

    def test_what_is_left_alone_by_its_sni_is_recorded_by_its_address(self):
        proxy, recorder = self.tls(ignore_hosts=[rf"^{HOST}:443$"])
        proxy.tls_origin("real.test")
        proxy.client().connect("real.test", 443).start_tls(HOST)
        [flow] = recorder.arguments("tcp_start")
        self.assertEqual(flow.server_conn.address, ("real.test", 443))
        self.assertEqual(flow.client_conn.sni, HOST)


class CallbacksThatRaiseTests(TLSLayerTestCase):
    """CVE-2026-27448: pyOpenSSL went on with a handshake whose SNI callback had raised."""

    def check_refused(self, client: MemoryClient, origin: MemoryOrigin) -> None:
        self.assertFalse(client.tls.established)
        self.assertEqual((origin.requests, client.received), ([], b""))
        self.flushLoggedErrors()

    def raising(self, *arguments: Any) -> Any:
        raise RuntimeError("no")

    def test_hooks_decide_by_sni_without_a_callback(self):
        self.patch(SSL.Context, "set_tlsext_servername_callback", self.raising)
        proxy, recorder = self.tls()
        proxy.tls_origin().respond(OK)
        self.assertEqual(self.get(proxy.tls_client()).status_code, 200)
        [hello] = recorder.arguments("tls_clienthello")
        self.assertEqual(hello.sni, HOST)

    def test_hook_that_raises_lets_nobody_in(self):
        proxy, _ = self.tls(Guard(tls_clienthello=self.raising))
        origin = proxy.tls_origin().respond(OK)
        self.check_refused(proxy.tls_client(), origin)

    def test_hook_that_may_raise_changes_nothing_of_what_is_verified(self):
        proxy, recorder = self.tls(Hooks(tls_clienthello=self.raising))
        origin = self.bad_origin(proxy, issue("other.test", issuer=authority()))
        self.assertEqual(self.get(proxy.tls_client()).status_code, 502)
        self.assertEqual(recorder.arguments("error")[0].error.code, "cert-unknown-issuer")
        self.assertEqual(origin.requests, [])
        self.flushLoggedErrors()

    def test_alpn_callback_that_raises_ends_the_handshake(self):
        self.patch(tlscontext, "_select_alpn", self.raising)
        for strategy in ("eager", "lazy"):
            proxy, recorder = self.tls(connection_strategy=strategy)
            origin = proxy.tls_origin().respond(OK)
            self.check_refused(proxy.tls_client(), origin)
            self.assertEqual(len(recorder.arguments("tls_failed")), 1)

    def test_verification_that_raises_verifies_nothing(self):
        self.patch(ChainRecord, "note", self.raising)
        proxy, recorder = self.tls()
        origin = proxy.tls_origin().respond(OK)
        client = proxy.tls_client()
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 502)
        self.assertEqual(origin.requests, [])
        self.assertEqual(self.ends(recorder), ["error"])
        self.flushLoggedErrors()
