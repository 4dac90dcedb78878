"""Other people's parsers as oracles: nothing we send may be read in a second way."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from interceptor.errors import LocalProtocolError
from interceptor.model.headers import Headers
from interceptor.model.http import Request, Response
from interceptor.wire.framing import Mode
from interceptor.wire.http1 import HTTP1ClientCodec, HTTP1Limits, HTTP1ServerCodec
from tests.wire.feeding import Message, client_codec, feed, head, read_request, read_response
from tests.wire.otherparsers import MISSING, HTTPToolsRecorder, Read, h11, httptools, twisted_reads
from tests.wire.test_http1_requests import BAD_CHUNKS, BAD_TRAILERS, REFUSED

_FEW = settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.differing_executors],
)


def by_h11(data: bytes) -> list[Read]:
    """The requests that h11 reads; anything left over raises."""
    found = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            break
        assert isinstance(event, h11.Request), event
        method, target, body = event.method, event.target, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.Data), event
            body += bytes(event.data)
        found.append((method, target, body))
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.MUST_CLOSE:
            break
        connection.start_next_cycle()
    assert connection.trailing_data[0] == b"", connection.trailing_data
    return found


def by_httptools(data: bytes) -> list[Read]:
    """The requests that llhttp reads."""
    recorder = HTTPToolsRecorder()
    recorder.parser.feed_data(data)
    return recorder.found


def by_twisted(data: bytes) -> list[Read]:
    """The requests that Twisted's server reads."""
    found: list[Read] = []
    twisted_reads(data, found)
    return found


def send_on(found: Message, mode: Mode = "repair") -> bytes | None:
    """What a server would get of a request that was read; None if it cannot be sent."""
    codec = HTTP1ClientCodec(HTTP1Limits(), mode)
    if found.trailers:
        found.message.trailers = Headers.from_wire(found.trailers, None)
    try:
        return codec.send_message(found.message, found.body)
    except LocalProtocolError:
        return None


_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"POST /a?b HTTP/1.1",
        b"POST http://a.example/x HTTP/1.1",
        b"PUT / HTTP/1.0",
        b"OPTIONS * HTTP/1.1",
        b"DELETE /x HTTP/1.1",
        b"POST / HTTP/1.2",
    ]
)
_ENDS = st.sampled_from([b"\r\n"] * 60 + [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n ", b" \r\n"])
_NAMES = st.sampled_from(
    [
        b"Content-Length",
        b"content-length",
        b"Transfer-Encoding",
        b"TRANSFER-ENCODING",
        b"X",
        b"TE",
        b"Transfer-Encoding ",
        b" Transfer-Encoding",
        b"Content-Length\t",
        b"Transfer\x0b-Encoding",
        b"Connection",
        b"Trailer",
        b"Expect",
        b"Host",
        b"Keep-Alive",
        b"Upgrade",
        b"X\0",
        b"",
    ]
)
_COLONS = st.sampled_from([b": "] * 30 + [b":", b":\t", b" : ", b": \x0b", b":\xa0", b"::"])
_VALUES = st.sampled_from(
    [
        b"5",
        b"0",
        b"3",
        b"05",
        b"5, 5",
        b"5,6",
        b"+5",
        b"0x5",
        b"",
        b"chunked",
        b"Chunked",
        b"x",
        b"gzip, chunked",
        b"chunked, identity",
        b"identity",
        b"close",
        b"keep-alive",
        b"\xff",
        b"Content-Length",
        b"close, Transfer-Encoding",
        b"Transfer-Encoding",
        b"100-continue",
        b"5\r\n 5",
        b"chunked\r\n X",
        b"\x00",
        b"a\rb",
        b"trailers",
        b"b.example",
        b"websocket",
    ]
)
_BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"05\r\nhello\r\n00\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
        b"1\r\nZ\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
)
_EVIL_FIELDS = st.lists(st.tuples(_NAMES, _COLONS, _VALUES, _ENDS), max_size=3)

_TOKENS = st.text("abcXYZ09-_.!~", min_size=1, max_size=8).map(str.encode)
_PLAIN_VALUES = st.text("abc \t,;=\"'/:09", max_size=12).map(lambda text: text.strip().encode())


class _Case(SynchronousTestCase):
    skip = MISSING


class SmuggledRequestsTests(_Case):
    """Whatever is accepted leaves with one meaning."""

    def check(self, data: bytes, mode: Mode) -> bool:
        found = feed(HTTP1ServerCodec(HTTP1Limits(), mode), [data], True)
        if found.error or not found.complete:
            return False
        sent = send_on(found, mode)
        if sent is None:
            return False
        request = found.message
        expected = [(request.method_bytes, request.path_bytes, found.body)]
        # Twisted answers what it refuses by itself, and then has found nothing.
        if mode != "pass":
            self.assertEqual(by_twisted(sent), expected, (data, sent))
        for parser in (by_h11, by_httptools):
            try:
                self.assertEqual(parser(sent), expected, (data, sent))
            except (h11.RemoteProtocolError, httptools.HttpParserError):
                # Odd names and control bytes may be refused: that is no second meaning.
                if mode != "pass":
                    raise
        return True

    @_FEW
    @given(_LINES, _EVIL_FIELDS, _BODIES, st.sampled_from(["repair", "pass", "reject"]))
    def test_evil_requests(
        self, line: bytes, fields: list[tuple[bytes, ...]], body: bytes, mode: Mode
    ) -> None:
        lines = b"".join([b"".join(field) for field in fields])
        self.check(line + b"\r\nHost: a.example\r\n" + lines + b"\r\n" + body, mode)

    def test_the_record_of_the_field(self) -> None:
        refused = dict(REFUSED)
        start = head(b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked")
        evil = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
        for name, chunks in (*BAD_CHUNKS.items(), *BAD_TRAILERS.items()):
            refused[name] = (start + chunks, "", 0)
        self.assertGreaterEqual(len(refused), 80)
        for name, (data, _, _) in refused.items():
            for mode in ("reject", "repair", "pass"):
                self.assertFalse(self.check(data + evil, mode), (name, mode))


class SmuggledResponsesTests(_Case):
    """Whatever a server sends, the client gets one response, with one meaning."""

    @_FEW
    @given(
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 404", b"http/1.1 200 x"]
        ),
        _EVIL_FIELDS,
        _BODIES,
        st.sampled_from(["repair", "pass", "reject"]),
    )
    def test_evil_responses(
        self, line: bytes, fields: list[tuple[bytes, ...]], body: bytes, mode: Mode
    ) -> None:
        lines = b"".join([b"".join(field) for field in fields])
        data = line + b"\r\n" + lines + b"\r\n" + body
        found = feed(client_codec(mode=mode), [data], True)
        if found.error or not found.complete:
            return
        codec = HTTP1ServerCodec(HTTP1Limits(), mode)
        feed(codec, [head(b"GET / HTTP/1.1", b"Host: a")], False)
        sent = codec.send_message(Request.make("GET", "http://a/"), found.message, found.body)
        again = read_response(sent, "repair")
        self.assertEqual((again.body, again.error), (found.body, None), (data, sent))

        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(sent)
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            # It may refuse the faults that pass; it may not read them in another way.
            self.assertNotEqual(again.message.anomalies, (), sent)
            return
        self.assertEqual(event.status_code, found.message.status_code)
        seen = b""
        while isinstance(event := connection.next_event(), h11.Data):
            seen += bytes(event.data)
        self.assertIsInstance(event, h11.EndOfMessage, (data, sent))
        self.assertEqual(seen, found.body)
        self.assertEqual(connection.trailing_data[0], b"")


class ValidMessagesTests(_Case):
    """Valid messages are read as h11 and llhttp read them."""

    @_FEW
    @given(
        st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]),
        st.lists(st.tuples(_TOKENS.map(lambda name: b"X-" + name), _PLAIN_VALUES), max_size=5),
        st.lists(st.binary(min_size=1, max_size=40), max_size=4),
        st.booleans(),
    )
    def test_requests(
        self,
        method: bytes,
        fields: list[tuple[bytes, bytes]],
        chunks: list[bytes],
        chunked: bool,
    ) -> None:
        body = b"".join(chunks)
        lines = [b"%b: %b" % field for field in fields]
        if chunked:
            data = head(
                method + b" /p?q HTTP/1.1", b"Host: a", *lines, b"Transfer-Encoding: chunked"
            )
            data += b"".join([b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
            data += b"0\r\n\r\n"
        else:
            data = head(
                method + b" /p?q HTTP/1.1", b"Host: a", *lines, b"Content-Length: %d" % len(body)
            )
            data += body
        found = read_request(data, "reject")
        self.assertIsNone(found.error)
        self.assertEqual(by_h11(data), [(method, b"/p?q", found.body)])
        self.assertEqual(by_httptools(data), [(method, b"/p?q", found.body)])
        self.assertEqual(found.body, body)
        self.assertEqual(found.message.headers.fields[1 : len(fields) + 1], tuple(fields))
        # Untouched, it leaves with the same bytes; a chunked body may be cut differently.
        sent = send_on(found, "reject")
        assert sent is not None
        if not chunked:
            self.assertEqual(sent, data)
        self.assertEqual(by_h11(sent), [(method, b"/p?q", body)])

    @_FEW
    @given(
        st.integers(200, 599),
        st.text("abc XYZ", max_size=10),
        st.lists(st.tuples(_TOKENS.map(lambda name: b"X-" + name), _PLAIN_VALUES), max_size=5),
        st.binary(max_size=60),
        st.sampled_from(["length", "chunked", "eof"]),
    )
    def test_responses(
        self,
        status: int,
        reason: str,
        fields: list[tuple[bytes, bytes]],
        body: bytes,
        kind: str,
    ) -> None:
        lines = [b"HTTP/1.1 %d %b" % (status, reason.encode())]
        lines += [b"%b: %b" % field for field in fields]
        if status in (204, 304):
            body = b""
            data = head(*lines)
        elif kind == "length":
            data = head(*lines, b"Content-Length: %d" % len(body)) + body
        elif kind == "chunked":
            data = head(*lines, b"Transfer-Encoding: chunked")
            data += (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        else:
            data = head(*lines) + body
        eof = kind == "eof" and status not in (204, 304)
        found = read_response(data, "reject", eof=eof)
        self.assertIsNone(found.error)
        self.assertEqual(found.body, body)

        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        if eof:
            connection.receive_data(b"")
        event = connection.next_event()
        self.assertEqual(event.status_code, found.message.status_code)
        self.assertEqual(
            [(name, value) for name, value in event.headers.raw_items()],
            list(found.message.headers.fields),
        )
        seen = b""
        while isinstance(event := connection.next_event(), h11.Data):
            seen += bytes(event.data)
        self.assertIsInstance(event, h11.EndOfMessage)
        self.assertEqual(seen, body)

    @_FEW
    @given(
        st.lists(st.tuples(_TOKENS, _PLAIN_VALUES), max_size=6),
        st.binary(max_size=60),
        st.booleans(),
    )
    def test_round_trip(
        self, fields: list[tuple[bytes, bytes]], body: bytes, chunked: bool
    ) -> None:
        kept = [(b"X-" + name, value) for name, value in fields]
        codec = HTTP1ClientCodec(HTTP1Limits(), "reject")
        request = Request.make("POST", "http://a.example/", None, kept)
        if chunked:
            data = codec.send_head(request, None) + codec.send_data(body) + codec.send_end()
        else:
            data = codec.send_message(request, body)
        found = read_request(data, "reject")
        self.assertEqual((found.body, found.error), (body, None))
        self.assertEqual(found.message.headers.fields[1 : len(kept) + 1], tuple(kept))

        server = HTTP1ServerCodec(HTTP1Limits(), "reject")
        feed(server, [data], False)
        response = Response.make(200, b"")
        response.headers.fields = kept
        if chunked:
            data = server.send_head(found.message, response, None)
            data += server.send_data(body) + server.send_end()
        else:
            data = server.send_message(found.message, response, body)
        answer = read_response(data, "reject", b"POST")
        self.assertEqual((answer.body, answer.error), (body, None))
        self.assertEqual(answer.message.headers.fields[: len(kept)], tuple(kept))
