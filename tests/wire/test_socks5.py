"""SOCKS 5 as a server speaks it."""

from __future__ import annotations

from ipaddress import IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from interceptor.wire.socks5 import (
    NO_AUTHENTICATION,
    USER_PASSWORD,
    ConnectRequest,
    Credentials,
    Greeting,
    Reply,
    SOCKS5Error,
    SOCKS5Event,
    SOCKS5ServerCodec,
)

GREETING = b"\x05\x02\x00\x02"
CREDENTIALS = b"\x01\x04anna\x06secret"
REST = b"\x00trailing"


def name_request(name: bytes, port: int = 80) -> bytes:
    """Ask for a name and a port."""
    return b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big")


def converse(pieces: list[bytes], method: int, eof: bool = False) -> tuple[list[object], bytes]:
    """Feed the pieces, answer all that comes, and return the events (or the error) and the rest."""
    codec = SOCKS5ServerCodec()
    found: list[object] = []

    def pull() -> None:
        while (event := codec.next_event()) is not None:
            found.append(event)
            if isinstance(event, Greeting):
                codec.choose(method)
            elif isinstance(event, Credentials):
                codec.verdict(True)

    try:
        for piece in pieces:
            codec.receive_data(piece)
            pull()
        if eof:
            codec.receive_eof()
            pull()
    except SOCKS5Error as error:
        return [*found, (error.code, error.answer)], b""
    return found, codec.take_rest()


def converse_every_way(
    data: bytes, method: int = NO_AUTHENTICATION, eof: bool = False
) -> tuple[list[object], bytes]:
    """Return what came of the data, having checked that no way of splitting it matters."""
    whole = converse([data], method, eof)
    ways = [[data[:at], data[at:]] for at in range(1, len(data))]
    ways.append([data[at : at + 1] for at in range(len(data))])
    for pieces in ways:
        if converse(pieces, method, eof) != whole:
            raise AssertionError(f"{pieces}: {converse(pieces, method, eof)}, not {whole}")
    return whole


class ConversationTests(SynchronousTestCase):
    """What is well-formed."""

    def events(self, data: bytes, method: int = NO_AUTHENTICATION) -> list[object]:
        events, rest = converse_every_way(data + REST, method)
        self.assertEqual(rest, REST)
        return events

    def test_names(self):
        for name in (b"example.test", b"a", b"x" * 255, b"under_score.test", b"192.0.2.1"):
            self.assertEqual(
                self.events(GREETING + name_request(name, 443)),
                [Greeting(b"\x00\x02"), ConnectRequest(name.decode(), 443)],
            )

    def test_addresses(self):
        four = b"\x05\x01\x00\x01\xc0\x00\x02\x01\x1f\x90"
        six = b"\x05\x01\x00\x04" + IPv6Address("2001:db8::1").packed + b"\xff\xff"
        for request, expected in (
            (four, ConnectRequest("192.0.2.1", 8080)),
            (six, ConnectRequest("2001:db8::1", 65535)),
            (name_request(b"::1"), ConnectRequest("::1", 80)),
            (name_request(b"[2001:DB8::1]"), ConnectRequest("2001:db8::1", 80)),
        ):
            self.assertEqual(self.events(GREETING + request)[1:], [expected])

    def test_credentials(self):
        for credentials, expected in (
            (CREDENTIALS, Credentials(b"anna", b"secret")),
            (b"\x01\x00\x00", Credentials(b"", b"")),
            (b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255, Credentials(b"u" * 255, b"p" * 255)),
        ):
            data = GREETING + credentials + name_request(b"example.test")
            self.assertEqual(self.events(data, USER_PASSWORD)[1], expected)

    def test_a_password_is_not_shown(self):
        self.assertNotIn("secret", repr(Credentials(b"anna", b"secret")))

    def test_the_most_methods(self):
        greeting = b"\x05\xff" + bytes(range(255))
        found = self.events(greeting + name_request(b"example.test"))
        self.assertEqual(found[0], Greeting(bytes(range(255))))

    def test_nothing_is_read_before_its_answer(self):
        codec = SOCKS5ServerCodec()
        codec.receive_data(GREETING + CREDENTIALS + name_request(b"example.test"))
        self.assertIsInstance(codec.next_event(), Greeting)
        self.assertIsNone(codec.next_event())
        codec.choose(USER_PASSWORD)
        self.assertIsInstance(codec.next_event(), Credentials)
        self.assertIsNone(codec.next_event())
        codec.verdict(True)
        self.assertIsInstance(codec.next_event(), ConnectRequest)
        self.assertIsNone(codec.next_event())
        self.assertEqual(codec.buffered, 0)

    def test_the_end_behind_a_request_is_no_fault(self):
        events, _ = converse_every_way(GREETING + name_request(b"example.test"), eof=True)
        self.assertIsInstance(events[-1], ConnectRequest)


class FaultTests(SynchronousTestCase):
    """What is not."""

    def fault(self, data: bytes, method: int = NO_AUTHENTICATION, eof: bool = False) -> object:
        events, _ = converse_every_way(data, method, eof)
        return events[-1]

    def test_other_protocols(self):
        self.assertEqual(
            self.fault(b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00"),
            ("socks-version", b"\x00\x5b\x00\x00\x00\x00\x00\x00"),
        )
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"\x16\x03\x01"):
            self.assertEqual(self.fault(data), ("socks-version", b""))

    def test_no_method(self):
        self.assertEqual(self.fault(b"\x05\x00"), ("socks-malformed", b"\x05\xff"))

    def test_credentials_of_another_version(self):
        self.assertEqual(
            self.fault(GREETING + b"\x05\x01\x00\x01", USER_PASSWORD),
            ("socks-malformed", b"\x01\x02"),
        )

    def test_a_request_of_another_version(self):
        self.assertEqual(self.failed(b"\x04\x01\x00\x01"), ("socks-malformed", 1))

    def failed(self, request: bytes) -> tuple[str, int]:
        """The code of a request's fault, and the reply that tells it."""
        fault = self.fault(GREETING + request)
        assert isinstance(fault, tuple)
        code, answer = fault
        self.assertEqual((answer[:1], answer[2:]), (b"\x05", b"\x00\x01" + bytes(6)))
        return code, answer[1]

    def test_commands(self):
        for command in (0, 2, 3, 0xF0):
            request = bytes((5, command)) + b"\x00\x01\xc0\x00\x02\x01\x00\x50"
            self.assertEqual(self.failed(request), ("socks-command-unsupported", 7))

    def test_kinds_of_addresses(self):
        for kind in (0, 2, 5, 255):
            request = b"\x05\x01\x00" + bytes((kind,)) + b"\xc0\x00\x02\x01\x00\x50"
            self.assertEqual(self.failed(request), ("socks-address-unsupported", 8))

    def test_destinations(self):
        for request in (
            name_request(b""),
            name_request(b"/run/docker.sock"),
            name_request(b"a b"),
            name_request(b"a\r\nb"),
            name_request(b"user@host"),
            name_request(b"host:80"),
            name_request("bücher.example".encode()),
            name_request(b"example.test", 0),
            b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x00",
        ):
            self.assertEqual(self.failed(request), ("socks-malformed", 1))

    def test_truncated(self):
        whole = GREETING + CREDENTIALS + name_request(b"example.test")
        for length in range(len(whole)):
            self.assertEqual(
                self.fault(whole[:length], USER_PASSWORD, eof=True), ("socks-truncated", b"")
            )


class AnswerTests(SynchronousTestCase):
    """What the client is told."""

    def test_methods(self):
        codec = SOCKS5ServerCodec()
        self.assertEqual(codec.choose(NO_AUTHENTICATION), b"\x05\x00")
        self.assertEqual(codec.choose(USER_PASSWORD), b"\x05\x02")
        self.assertEqual(codec.no_method(), b"\x05\xff")

    def test_verdicts(self):
        codec = SOCKS5ServerCodec()
        self.assertEqual(codec.verdict(True), b"\x01\x00")
        self.assertEqual(codec.verdict(False), b"\x01\x02")

    def test_credentials_that_are_not_accepted_are_the_last_message(self):
        codec = SOCKS5ServerCodec()
        codec.receive_data(GREETING + CREDENTIALS + name_request(b"example.test"))
        events: list[SOCKS5Event | None] = [codec.next_event()]
        codec.choose(USER_PASSWORD)
        events.append(codec.next_event())
        codec.verdict(False)
        self.assertIsNone(codec.next_event())

    def test_replies(self):
        reply = SOCKS5ServerCodec.reply
        nowhere = bytes(6)
        for bound, address in (
            (None, b"\x01" + nowhere),
            (("192.0.2.1", 8080), b"\x01\xc0\x00\x02\x01\x1f\x90"),
            (("2001:db8::1", 80), b"\x04" + IPv6Address("2001:db8::1").packed + b"\x00\x50"),
            (("fe80::1%eth0", 80), b"\x04" + IPv6Address("fe80::1").packed + b"\x00\x50"),
            (("/run/a.sock", 0), b"\x01" + nowhere),
            (("", 0), b"\x01" + nowhere),
        ):
            self.assertEqual(reply(Reply.SUCCEEDED, bound), b"\x05\x00\x00" + address)
        self.assertEqual(reply(Reply.CONNECTION_REFUSED), b"\x05\x05\x00\x01" + nowhere)
