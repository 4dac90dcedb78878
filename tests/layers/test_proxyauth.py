"""Proxy authentication, as the option ``proxyauth`` asks for it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from interceptor.errors import OptionsError
from interceptor.layers.proxyauth import (
    ProxyAuthentication,
    ProxyAuthRequiredError,
    basic_credentials,
)
from interceptor.testing import EventRecorder, MemoryClient, MemoryProxy
from tests.events.cases import CONNECT, GET, OK, EventTestCase, Hooks, Waiting
from tests.layers.h2peers import H2Client
from tests.model.test_passwords import APACHE_BCRYPT

CHALLENGE = 'Basic realm="interceptor", charset="UTF-8"'
SOCKS = b"\x05\x01\x00\x03\x0cexample.test\x00\x50"


def basic(credentials: bytes) -> bytes:
    """The value of the field."""
    return b"Basic " + b64encode(credentials)


def signed(request: bytes, credentials: bytes) -> bytes:
    """A request with the field."""
    field = b"\r\nProxy-Authorization: " + basic(credentials)
    head, _, body = request.partition(b"\r\n\r\n")
    return head + field + b"\r\n\r\n" + body


class AuthenticationTestCase(EventTestCase):
    """Makes proxies with users."""

    def start(
        self, *addons: object, proxyauth: str = "anna:secret", **options: Any
    ) -> tuple[MemoryProxy, MemoryClient, EventRecorder]:
        return self.started(*addons, proxyauth=proxyauth, **options)

    def password_file(self) -> str:
        self.path = Path(self.mktemp())
        self.path.write_text(APACHE_BCRYPT)
        return f"@{self.path}"

    def refused(self, client: MemoryClient, recorder: EventRecorder, method: bytes) -> None:
        """The client was asked who it is, and no hook was but ``error``."""
        response = self.response(client, method)
        self.assertEqual(response.status_code, 407)
        self.assertEqual(response.headers["Proxy-Authenticate"], CHALLENGE)
        self.assertEqual(response.headers["Connection"], "close")
        if method != b"HEAD":
            self.assertIn("interceptor: proxy-auth-required", response.text)
        self.assertTrue(client.closed)
        self.assertEqual(recorder.names, ["next_layer", "error"])
        self.assertEqual(self.code(recorder), "proxy-auth-required")


class FieldTests(AuthenticationTestCase):
    """Proxy-Authorization."""

    def test_fields(self):
        for credentials in (b"anna:secret", b"a:b:c", b":", "ü:ä".encode()):
            user, _, password = credentials.partition(b":")
            self.assertEqual(basic_credentials(basic(credentials)), (user, password))
        self.assertEqual(basic_credentials(b"bAsIc   YTpi "), (b"a", b"b"))

    def test_what_is_none(self):
        for value in (
            None,
            b"",
            b"Basic",
            b"Basic ",
            b"Basic anna",
            b"Basic YTpi YTpi",
            b"Basic YTp",
            b"Bearer YTpi",
            basic(b"anna"),
        ):
            error = self.assertRaises(ProxyAuthRequiredError, basic_credentials, value)
            self.assertNotIn("YTp", str(error))


class RequestTests(AuthenticationTestCase):
    """Regular mode."""

    def test_without_credentials(self):
        for request in (GET, CONNECT, GET.replace(b"GET", b"HEAD")):
            proxy, client, recorder = self.start()
            client.send(request)
            self.refused(client, recorder, request.partition(b" ")[0])
            self.assertEqual(proxy.network.attempts, [])

    def test_wrong_ones(self):
        for credentials in (b"anna:Secret", b"anna:", b":secret", b"berta:secret", b"anna"):
            for request in (GET, CONNECT):
                proxy, client, recorder = self.start()
                client.send(signed(request, credentials))
                self.refused(client, recorder, request.partition(b" ")[0])
                self.assertEqual(proxy.network.attempts, [])

    def test_control_characters(self):
        for credentials in (b"a\nb:c", b"a:b\0"):
            _, client, recorder = self.start(proxyauth="any")
            client.send(signed(GET, credentials))
            self.refused(client, recorder, b"GET")

    def test_a_body_is_not_waited_for(self):
        _, client, recorder = self.start()
        client.send(b"POST http://example.test/ HTTP/1.1\r\nHost: example.test\r\n")
        client.send(b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
        self.refused(client, recorder, b"POST")

    def test_the_flow_of_a_refusal(self):
        _, client, recorder = self.start()
        client.send(signed(GET, b"anna:wrong"))
        [flow] = recorder.arguments("error")
        self.assertEqual((flow.request.method, flow.request.url), ("GET", "http://example.test/"))
        self.assertNotIn("Proxy-Authorization", flow.request.headers)
        self.assertIsNone(flow.client_conn.principal)

    def test_right_ones(self):
        proxy, client, recorder = self.start()
        origin = proxy.origin().respond(OK)
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).content, b"ok")
        for name in ("requestheaders", "request", "responseheaders", "response"):
            [flow] = recorder.arguments(name)
            self.assertEqual(flow.client_conn.principal, "anna")
            self.assertNotIn("Proxy-Authorization", flow.request.headers)
        self.assertNotIn(b"uthorization", origin.received)

    def test_the_principal_is_known_before_any_hook(self):
        seen: list[object] = []
        proxy, client, _ = self.start(
            Seeing(lambda flow: seen.append(flow.client_conn.principal)), proxyauth="any"
        )
        proxy.origin().respond(OK)
        client.send(signed(GET, "bärbel:".encode()))
        client.send(signed(GET, b"b\xe4rbel:"))
        self.assertEqual(seen, ["bärbel", "bärbel"])

    def test_a_tunnel(self):
        proxy, client, recorder = self.start()
        proxy.origin().respond(OK)
        client.send(signed(CONNECT, b"anna:secret"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
        # What is in the tunnel is the server's.
        client.send(signed(GET.replace(b"http://example.test", b""), b"x:y"))
        self.assertEqual(self.response(client).content, b"ok")
        for name in ("http_connect", "request"):
            [flow] = recorder.arguments(name)
            self.assertEqual(flow.client_conn.principal, "anna")

    def test_every_request_says_it_again(self):
        proxy, client, recorder = self.start()
        proxy.origin().respond(OK)
        for _ in range(3):
            client.send(signed(GET, b"anna:secret"))
            self.assertEqual(self.response(client).content, b"ok")
        recorder.events.clear()
        client.send(GET)
        self.assertEqual(self.response(client).status_code, 407)
        self.assertEqual(recorder.names[0], "error")

    def test_another_user_on_the_same_connection(self):
        proxy, client, recorder = self.start(proxyauth="any")
        proxy.origin().respond(OK)
        seen = []
        for credentials in (b"anna:1", b"berta:2", b"anna:1"):
            client.send(signed(GET, credentials))
            self.response(client)
            seen.append(recorder.arguments("response")[-1].client_conn.principal)
        self.assertEqual(seen, ["anna", "berta", "anna"])

    def test_the_option_may_change(self):
        proxy, client, _ = self.start()
        proxy.origin().respond(OK)
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).status_code, 200)
        proxy.options.update(proxyauth="anna:other")
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).status_code, 407)
        self.assertRaises(OptionsError, proxy.options.update, proxyauth="nonsense")
        client = proxy.client().send(GET)
        self.assertEqual(self.response(client).status_code, 407)
        proxy.options.update(proxyauth=None)
        client = proxy.client().send(GET)
        self.assertEqual(self.response(client).status_code, 200)

    def test_upstream_mode(self):
        proxy, client, recorder = self.start(mode="upstream:http://next.test:3128")
        client.send(GET)
        self.refused(client, recorder, b"GET")
        hop = proxy.origin("next.test", 3128).respond(OK)
        client = proxy.client().send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).content, b"ok")
        self.assertNotIn(b"uthorization", hop.received)

    def test_reverse_mode_has_no_users(self):
        proxy, client, _ = self.start(mode="reverse:http://example.test")
        proxy.origin().respond(OK)
        client.send(GET.replace(b"http://example.test", b""))
        self.assertEqual(self.response(client).status_code, 200)

    def test_nothing_of_it_is_logged(self):
        messages = self.messages()
        for credentials in (b"anna:secret", b"anna:wrong-one", b"secret"):
            proxy, client, _ = self.start()
            proxy.origin().respond(OK)
            client.send(signed(GET, credentials))
        text = "\n".join(messages.texts)
        self.assertIn("proxy-auth-required", text)
        for secret in ("secret", "wrong-one", "Basic", b64encode(b"anna:secret").decode()):
            self.assertNotIn(secret, text)


class HTTP2Tests(AuthenticationTestCase):
    """Streams of one connection, which are served beside each other."""

    def begin(self, *addons: object, **options: Any) -> tuple[H2Client, EventRecorder]:
        proxy, client, recorder = self.start(
            *addons, h2_cleartext=True, h2_upstream="never", **options
        )
        client.close()
        proxy.origin().respond(OK)
        recorder.events.clear()
        return H2Client(proxy), recorder

    def ask(self, client: H2Client, credentials: bytes | None = b"anna:secret") -> int:
        fields = []
        if credentials is not None:
            fields.append(("proxy-authorization", basic(credentials).decode()))
        return client.request("/", *fields)

    def test_each_stream_says_it(self):
        client, recorder = self.begin()
        for credentials, status in (
            (None, b"407"),
            (b"anna:secret", b"200"),
            (b"anna:wrong", b"407"),
            (b"anna:secret", b"200"),
        ):
            stream = self.ask(client, credentials)
            self.assertEqual(client.status(stream), status)
            if status == b"407":
                self.assertEqual(client.field(stream, b"proxy-authenticate"), CHALLENGE.encode())
        for flow in recorder.arguments("response"):
            self.assertEqual(flow.client_conn.principal, "anna")
            self.assertNotIn("Proxy-Authorization", flow.request.headers)
        self.assertEqual(len(recorder.arguments("error")), 2)

    def test_who_fails_beside_others_takes_no_name_from_them(self):
        waiting = Waiting()
        client, recorder = self.begin(Hooks(request=waiting), proxyauth="any")
        first = self.ask(client)
        for credentials in (None, b"berta:secret"):
            stream = self.ask(client, credentials)
            self.assertEqual(client.status(stream), b"407")
            self.assertIn(b"proxy-auth-required", client.bodies[stream])
        waiting.go_on()
        client.go()
        self.assertEqual(client.status(first), b"200")
        [flow] = recorder.arguments("response")
        self.assertEqual(flow.client_conn.principal, "anna")


class Seeing:
    """An addon that shows flows before anything else sees them."""

    def __init__(self, show: Callable[[Any], object]) -> None:
        self.show = show

    def requestheaders(self, flow: Any) -> None:
        self.show(flow)


class SOCKSTests(AuthenticationTestCase):
    """Mode ``socks5``."""

    def ask(self, data: bytes, **options: Any) -> tuple[MemoryProxy, bytes, bool]:
        proxy, client, recorder = self.start(mode="socks5", **options)
        self.raw_origin(proxy)
        client.send(data)
        self.recorder = recorder
        return proxy, client.received, client.closed

    def test_without_credentials(self):
        for greeting in (b"\x05\x01\x00", b"\x05\x02\x00\x01"):
            proxy, answer, closed = self.ask(greeting)
            self.assertEqual((answer, closed), (b"\x05\xff", True))
            self.assertEqual((proxy.network.attempts, self.recorder.names), ([], ["next_layer"]))

    def test_wrong_ones(self):
        for credentials in (b"\x04anna\x05wrong", b"\x00\x00", b"\x05berta\x06secret"):
            proxy, answer, closed = self.ask(b"\x05\x02\x00\x02\x01" + credentials + SOCKS)
            self.assertEqual((answer, closed), (b"\x05\x02\x01\x02", True))
            self.assertEqual((proxy.network.attempts, self.recorder.names), ([], ["next_layer"]))

    def test_right_ones(self):
        for proxyauth in ("anna:secret", "any", self.password_file()):
            _, answer, closed = self.ask(
                b"\x05\x02\x00\x02\x01\x04anna\x06secret" + SOCKS, proxyauth=proxyauth
            )
            self.assertEqual((answer[:7], closed), (b"\x05\x02\x01\x00\x05\x00\x00", False))
            [layer] = self.recorder.arguments("next_layer")
            self.assertEqual(layer.client_conn.principal, "anna")

    def test_nothing_of_it_is_logged(self):
        messages = self.messages()
        self.ask(b"\x05\x01\x02\x01\x04anna\x0bpassword-no" + SOCKS)
        text = "\n".join(messages.texts)
        self.assertIn("proxy-auth-required", text)
        self.assertNotIn("password-no", text)


class PasswordFileTests(AuthenticationTestCase):
    """Passwords whose verification takes long."""

    def waiting(self, proxy: MemoryProxy) -> list[tuple[Deferred[bool], Callable[[], bool]]]:
        """Let verifications wait; return them."""
        calls: list[tuple[Deferred[bool], Callable[[], bool]]] = []

        def run(function: Callable[[], bool]) -> Deferred[bool]:
            calls.append((Deferred(), function))
            return calls[-1][0]

        proxy.environment.run = run
        proxy.environment.options_changed()
        return calls

    def test_it_does_not_hold_up_others(self):
        proxy, client, _ = self.start(proxyauth=self.password_file())
        calls = self.waiting(proxy)
        proxy.origin().respond(OK)
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(client.received, b"")
        [(result, check)] = calls
        result.callback(check())
        proxy.flush()
        self.assertEqual(self.response(client).content, b"ok")

    def test_a_client_that_leaves_meanwhile(self):
        proxy, client, recorder = self.start(proxyauth=self.password_file())
        calls = self.waiting(proxy)
        client.send(signed(GET, b"anna:secret"))
        client.abort()
        self.assertTrue(calls[0][0].called)
        self.assertEqual(recorder.names, ["next_layer", "clientdisconnect"])
        self.assertEqual(proxy.environment.sessions, set())

    def test_a_right_password_is_verified_once(self):
        proxy, client, _ = self.start(proxyauth=self.password_file())
        calls = self.waiting(proxy)
        proxy.origin().respond(OK)
        client.send(signed(GET, b"anna:secret"))
        calls[0][0].callback(True)
        client.send(signed(GET, b"anna:secret"))
        proxy.client().send(signed(GET, b"anna:secret"))
        self.assertEqual(len(calls), 1)
        proxy.client().send(signed(GET, b"anna:other"))
        calls[1][0].callback(False)
        proxy.client().send(signed(GET, b"anna:other"))
        self.assertEqual(len(calls), 3)

    def test_until_the_file_changes(self):
        proxy, client, _ = self.start(proxyauth=self.password_file())
        proxy.origin().respond(OK)
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).status_code, 200)
        self.path.write_text(APACHE_BCRYPT.replace("anna", "berta"))
        client = proxy.client().send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).status_code, 407)
        client = proxy.client().send(signed(GET, b"berta:secret"))
        self.assertEqual(self.response(client).status_code, 200)

    def test_a_file_that_was_damaged_leaves_things_as_they_were(self):
        messages = self.messages()
        proxy, client, _ = self.start(proxyauth=self.password_file())
        proxy.origin().respond(OK)
        self.path.write_text("damaged")
        client.send(signed(GET, b"anna:secret"))
        self.assertEqual(self.response(client).status_code, 200)
        self.assertIn("line 1", messages.texts[-1])

    def test_what_is_known_is_bounded(self):
        authentication = ProxyAuthentication(Everybody(), lambda function: _done(function()))
        for number in range(1100):
            waiting = Deferred.fromCoroutine(authentication.principal(b"%d" % number, b""))
            self.assertEqual(self.successResultOf(waiting), str(number))
        self.assertEqual(len(authentication._known), 1024)


class Everybody:
    """Takes its time, and lets everybody in."""

    slow = True

    def refresh(self) -> bool:
        return False

    def check(self, username: bytes, password: bytes) -> bool:
        return True


def _done(result: bool) -> Deferred[bool]:
    deferred: Deferred[bool] = Deferred()
    deferred.callback(result)
    return deferred
