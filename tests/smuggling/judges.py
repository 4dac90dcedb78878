"""What other people's parsers make of bytes: strict ones, and lenient ones of several kinds.

Each judge returns the messages that it read. One that refuses to read on has its error in the list,
as the last item: that ends its connection, and so no message begins behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from interceptor.wire.http1 import HTTP1Limits, HTTP1ServerCodec
from tests.wire.feeding import Message, pull
from tests.wire.otherparsers import MISSING as MISSING
from tests.wire.otherparsers import HTTPToolsRecorder, Read, h11, httptools, twisted_reads

Verdict = list[Read | None]
"""The messages in order; None where the judge read no further."""

Judge = Callable[[bytes], Verdict]


def by_h11(data: bytes) -> Verdict:
    """The requests that h11 reads: the strict one."""
    found: Verdict = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        while isinstance(event := connection.next_event(), h11.Request):
            method, target, body = event.method, event.target, b""
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    return [*found, None]
                body += bytes(event.data)
            found.append((method, target, body))
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError:
        found.append(None)
    if connection.trailing_data[0] and None not in found[-1:]:
        found.append(None)
    return found


class _Recorder(HTTPToolsRecorder):
    """Notes errors, too."""

    def read(self, data: bytes) -> Verdict:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What follows the head, body or not, is the application's then, and no request.
            self.found[-1:] = [None]
        except httptools.HttpParserError:
            self.found.append(None)
        return self.found


def by_httptools(data: bytes) -> Verdict:
    """The requests that llhttp reads, the parser of Node."""
    return _Recorder().read(data)


def by_twisted(data: bytes) -> Verdict:
    """The requests that Twisted's server reads."""
    found: Verdict = []
    if twisted_reads(data, found):
        found.append(None)
    return found


class Lenient:
    """A parser that takes whatever it can make sense of, as servers of the field have done.

    ``line`` is what ends a line, as a regular expression. ``framing`` says what counts where there
    are both a length and a coding, ``which`` of several lengths the one that does. White space
    and control bytes around names and values are taken off, folds are joined, a coding is chunked
    where the word is in it, and numbers are read as far as they are numbers.
    """

    def __init__(
        self,
        line: bytes = rb"\r?\n",
        framing: Literal["coding", "length"] = "coding",
        which: Literal["first", "last"] = "first",
    ) -> None:
        self._line = re.compile(line)
        self._framing = framing
        self._which = which

    def __call__(self, data: bytes) -> Verdict:
        found: Verdict = []
        while data:
            taken = self._message(data)
            if taken is None:
                return [*found, None]
            message, data = taken
            if message is not None:
                found.append(message)
        return found

    def _message(self, data: bytes) -> tuple[Read | None, bytes] | None:
        start, rest = self._take_line(data)
        if start is None:
            return None
        if not start.strip():
            return None, rest
        words = start.split()
        if len(words) < 2:
            return None
        fields, rest_or_none = self._fields(rest)
        if rest_or_none is None:
            return None
        rest = rest_or_none
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = b",".join([value for name, value in fields if name == b"transfer-encoding"])
        chunked = b"chunked" in codings.lower()
        if lengths and self._framing == "length":
            chunked = False
        if chunked:
            body, after = self._chunks(rest)
        else:
            number = re.match(
                rb"\+?([0-9]*)", lengths[self._which == "last" and -1] if lengths else b"0"
            )
            size = int((number[1] if number else b"") or b"0")
            body, after = rest[:size], (rest[size:] if size <= len(rest) else None)
        if after is None:
            return None
        return (words[0], words[1], body), after

    def _take_line(self, data: bytes) -> tuple[bytes | None, bytes]:
        match = self._line.search(data)
        if match is None:
            return None, data
        return data[: match.start()], data[match.end() :]

    def _fields(self, data: bytes) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        fields: list[tuple[bytes, bytes]] = []
        while True:
            line, data = self._take_line(data)
            if line is None:
                return fields, None
            if not line:
                return fields, data
            if line[:1] in (b" ", b"\t") and fields:
                name, value = fields.pop()
                fields.append((name, value + b" " + line.strip()))
                continue
            name, _, value = line.partition(b":")
            # What has no place in a name is overlooked, as by those who end a string at a NUL.
            name = re.sub(rb"[^!#$%&'*+\-.^_`|~0-9a-z]", b"", name.lower().partition(b"\0")[0])
            fields.append((name, value.strip().strip(b"\0")))

    def _chunks(self, data: bytes) -> tuple[bytes, bytes | None]:
        body = b""
        while True:
            line, data = self._take_line(data)
            number = None if line is None else re.match(rb"\s*\+?(?:0x)?([0-9a-fA-F]+)", line)
            if number is None:
                return body, None
            size = int(number[1], 16)
            if not size:
                break
            if len(data) < size:
                return body, None
            body += data[:size]
            ended = self._line.match(data, size)
            data = data[size if ended is None else ended.end() :]
        return body, self._fields(data)[1]


def by_us(data: bytes) -> Verdict:
    """The requests that our own codec reads."""
    found: Verdict = []
    codec = HTTP1ServerCodec(HTTP1Limits(), "pass")
    codec.receive_data(data)
    message = Message()
    while True:
        pull(codec, message)
        if message.error is not None:
            return [*found, None]
        if not message.complete:
            return found
        request = message.message
        target = request.path_bytes
        if request.first_line_format == "absolute":
            target = b"http://" + request.authority_bytes + target
        found.append((request.method_bytes, target, message.body))
        codec.next_cycle()
        message = Message()


REQUEST_JUDGES: dict[str, Judge] = {
    "h11": by_h11,
    "httptools": by_httptools,
    "Twisted": by_twisted,
    "lenient": Lenient(),
    "lenient, by the length": Lenient(framing="length"),
    "lenient, by the last length": Lenient(framing="length", which="last"),
    "lenient, CR too": Lenient(line=rb"\r\n|\n|\r"),
    "lenient, CRLF only": Lenient(line=rb"\r\n", framing="length"),
    "lenient, NUL too": Lenient(line=rb"\r?\n|\0"),
}
"""Everyone who is asked about the requests that a server was sent."""


def responses_by_h11(data: bytes, requests: int, closed: bool) -> Verdict:
    """The responses to so many GETs that h11 reads."""
    found: Verdict = []
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(data)
    if closed:
        connection.receive_data(b"")
    try:
        for _ in range(requests):
            connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            connection.send(h11.EndOfMessage())
            body = b""
            status = b""
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                    return found
                if isinstance(event, h11.Response):
                    status = b"%d" % event.status_code
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
            found.append((status, b"", body))
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return found
            connection.start_next_cycle()
    except h11.RemoteProtocolError:
        found.append(None)
    return found


def responses_by_httptools(data: bytes) -> Verdict:
    """The responses that llhttp reads; those that end with the connection are not told."""

    class Responses(_Recorder):
        def on_message_complete(self) -> None:
            status = self.parser.get_status_code()
            if status >= 200:
                self.found.append((b"%d" % status, b"", self.body))

    return Responses("HttpResponseParser").read(data)
