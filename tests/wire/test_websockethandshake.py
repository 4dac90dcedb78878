"""The opening handshake of WebSocket."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import RemoteProtocolError, UpstreamError
from interceptor.model.http import Request, Response
from interceptor.wire.websocketdeflate import Deflate
from interceptor.wire.websockethandshake import (
    accept_for,
    agreed_with_client,
    check_request,
    check_response,
    keep_known_extensions,
    names_websocket,
    offers_deflate,
)
from tests.websockets import ACCEPT, KEY

FIELDS = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY.decode(),
    "Sec-WebSocket-Version": "13",
}


def request(method: str = "GET", **changes: Any) -> Request:
    """Return a request; ``changes`` are fields with ``_`` for ``-``, None takes one out."""
    made = Request.make(method, "http://example.test/chat", b"", FIELDS)
    for name, value in changes.items():
        made.headers.pop(name.replace("_", "-"), None)
        if value is not None:
            made.headers[name.replace("_", "-")] = value
    return made


def response(**changes: Any) -> Response:
    """Return an agreement."""
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": ACCEPT.decode(),
    }
    made = Response.make(101, b"", fields)
    for name, value in changes.items():
        made.headers.pop(name.replace("_", "-"), None)
        if value is not None:
            made.headers[name.replace("_", "-")] = value
    return made


class RequestTests(SynchronousTestCase):
    def test_a_good_one(self):
        check_request(request())

    def test_the_example_of_the_rfc(self):
        self.assertEqual(accept_for(KEY), ACCEPT)

    def test_what_names_a_websocket(self):
        for value in (b"websocket", b"WebSocket", b"foo, websocket"):
            self.assertTrue(names_websocket(value))
        for other in (None, b"", b"h2c", b"websockets", b"web socket"):
            self.assertFalse(names_websocket(other))

    def test_faults(self):
        for made in (
            request("POST"),
            request(sec_websocket_key=None),
            request(sec_websocket_key="short"),
            request(sec_websocket_key="AAAA"),
            request(sec_websocket_key="!" * 24),
            request(sec_websocket_version=None),
        ):
            error = self.assertRaises(RemoteProtocolError, check_request, made)
            self.assertEqual((error.code, error.status), ("websocket-handshake-invalid", 400))

    def test_two_keys(self):
        made = request()
        made.headers.add("Sec-WebSocket-Key", KEY.decode())
        self.assertRaises(RemoteProtocolError, check_request, made)

    def test_another_version(self):
        for version in ("8", "7", "14", "x", "13, 8"):
            made = request(sec_websocket_version=version)
            error = self.assertRaises(RemoteProtocolError, check_request, made)
            self.assertEqual((error.code, error.status), ("websocket-version-unsupported", 426))


class OfferTests(SynchronousTestCase):
    def offered(self, value: str | None) -> str | None:
        made = request(sec_websocket_extensions=value)
        keep_known_extensions(made)
        return made.headers.get("sec-websocket-extensions")

    def test_what_is_known_stays_as_it_was_written(self):
        for value in (
            None,
            "permessage-deflate",
            "permessage-deflate ;  client_max_window_bits,permessage-deflate",
        ):
            self.assertEqual(self.offered(value), value)

    def test_what_is_unknown_goes(self):
        value = "foo, permessage-deflate; client_max_window_bits, bar; x=1"
        self.assertEqual(self.offered(value), "permessage-deflate; client_max_window_bits")
        self.assertIsNone(self.offered("foo, bar"))
        self.assertIsNone(self.offered("permessage-deflate; unknown"))
        self.assertIsNone(self.offered("a b c"))

    def test_whether_there_is_an_offer(self):
        self.assertTrue(offers_deflate(request(sec_websocket_extensions="x, permessage-deflate")))
        self.assertFalse(offers_deflate(request(sec_websocket_extensions="x")))
        self.assertFalse(offers_deflate(request(sec_websocket_extensions="a b")))
        self.assertFalse(offers_deflate(request()))


class AnswerTests(SynchronousTestCase):
    def test_a_good_one(self):
        self.assertIsNone(check_response(response(), KEY, False))
        made = response(sec_websocket_extensions="permessage-deflate")
        self.assertEqual(check_response(made, KEY, True), Deflate())

    def test_faults(self):
        for made, offered in (
            (response(sec_websocket_accept=None), True),
            (response(sec_websocket_accept="AAAA"), True),
            (response(upgrade="other"), True),
            (response(upgrade=None), True),
            (response(sec_websocket_extensions="permessage-deflate"), False),
            (response(sec_websocket_extensions="foo"), True),
            (response(sec_websocket_extensions="permessage-deflate; foo"), True),
        ):
            error = self.assertRaises(UpstreamError, check_response, made, KEY, offered)
            self.assertEqual((error.code, error.status), ("websocket-answer-invalid", 502))

    def test_what_the_client_is_told(self):
        made = response(sec_websocket_extensions="permessage-deflate; server_max_window_bits=10")
        deflate = agreed_with_client(made, True)
        assert deflate is not None
        self.assertEqual(deflate.server.window_bits, 10)
        self.assertIn("sec-websocket-extensions", made.headers)

    def test_what_cannot_be_told_is_taken_out(self):
        for value, offered in (("permessage-deflate", False), ("foo", True), ("a b", True)):
            made = response(sec_websocket_extensions=value)
            self.assertIsNone(agreed_with_client(made, offered))
            self.assertNotIn("sec-websocket-extensions", made.headers)
