"""The messages: each one is meant to end in two places, or to be two messages, for somebody.

A request's target is in origin form here; `as_sent_to` makes it what a front of the proxy expects.
What every attack would like to get through is the request in `HIDDEN`.
"""

from __future__ import annotations

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n"
AFTER = b"GET /after HTTP/1.1\r\nHost: example.test\r\n\r\n"
"""What an honest client sends next."""

REQUESTS: dict[str, bytes] = {}
"""Requests by name, each with whatever follows it on the connection."""

RESPONSES: dict[str, bytes] = {}
"""Responses to a GET by name, each with whatever follows it on the connection."""

_POST = b"POST /a HTTP/1.1"
_HOST = b"Host: example.test"
_LAST = b"0\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked"
_LENGTH = b"Content-Length: %d" % len(_LAST + HIDDEN)


def as_sent_to(front: str, data: bytes) -> bytes:
    """Return a request as a client of the front ``regular`` or ``reverse`` sends it.

    A proxy's targets name their server; of all that follows, only what is sent after is changed.
    """
    if front != "regular":
        return data
    for start in (b"GET /", b"POST /", b"HEAD /", b"PUT /", b"OPTIONS /"):
        absolute = start[:-1] + b"http://example.test/"
        if data.startswith(start):
            data = absolute + data[len(start) :]
        data = data.replace(b"\r\n\r\n" + start, b"\r\n\r\n" + absolute)
    return data


def _request(name: str, *fields: bytes, line: bytes = _POST, body: bytes = _LAST + HIDDEN) -> None:
    assert name not in REQUESTS, name
    REQUESTS[name] = b"\r\n".join((line, _HOST, *fields, b"", b"")) + body


def _raw(name: str, data: bytes) -> None:
    assert name not in REQUESTS, name
    REQUESTS[name] = data


# Both framings at once: CL.TE and TE.CL.

for _name, _coding in {
    "plain": _CHUNKED,
    "upper case": b"TRANSFER-ENCODING: CHUNKED",
    "no space": b"Transfer-Encoding:chunked",
    "tab": b"Transfer-Encoding:\tchunked",
    "trailing space": b"Transfer-Encoding: chunked ",
    "identity": b"Transfer-Encoding: identity",
    "unknown": b"Transfer-Encoding: x",
}.items():
    _request(f"length, then coding: {_name}", _LENGTH, _coding)
    _request(f"coding, then length: {_name}", _coding, b"Content-Length: 5")
_request("coding between lengths", b"Content-Length: 5", _CHUNKED, _LENGTH)
_request("length of 0 and coding", b"Content-Length: 0", _CHUNKED)
_request("coding in HTTP/1.0", _CHUNKED, line=b"POST /a HTTP/1.0")
_request("both in HTTP/1.0", _LENGTH, _CHUNKED, line=b"POST /a HTTP/1.0")
_request(
    "coding in HTTP/1.0, kept alive", b"Connection: keep-alive", _CHUNKED, line=b"POST /a HTTP/1.0"
)
_request("coding, then a coding of another case", _CHUNKED, b"transfer-encoding: chunked")
_request("unknown coding, then chunked", b"Transfer-Encoding: x", _CHUNKED)
_request("chunked, then unknown coding", _CHUNKED, b"Transfer-Encoding: x")
_request("chunked, then empty coding", _CHUNKED, b"Transfer-Encoding:")

# Several lengths.

_SHORT = b"5"
_LONG = b"%d" % len(_LAST + HIDDEN)
for _name, _fields in {
    "two that differ": (_SHORT, _LONG),
    "two that differ, the long one first": (_LONG, _SHORT),
    "two that are the same": (_SHORT, _SHORT),
    "three, one of which differs": (_SHORT, _LONG, _SHORT),
    "list of two that differ": (_SHORT + b", " + _LONG,),
    "list of two that are the same": (_SHORT + b", " + _SHORT,),
    "list without space": (_SHORT + b"," + _SHORT,),
    "list with an empty element": (_SHORT + b",," + _SHORT,),
    "list that ends in a comma": (_SHORT + b",",),
    "list that begins with a comma": (b"," + _SHORT,),
    "only a comma": (b",",),
    "list and another": (_SHORT + b", " + _SHORT, _LONG),
    "with and without zero": (_SHORT, b"05"),
    "with semicolon": (_SHORT + b"; " + _LONG,),
    "with a space between": (_SHORT + b" " + _LONG,),
    "empty, then another": (b"", _SHORT),
    "0, then another": (b"0", _SHORT),
}.items():
    _request(f"lengths: {_name}", *[b"Content-Length: " + value for value in _fields])
_request("lengths: of different case", b"content-length: 5", b"CONTENT-LENGTH: " + _LONG)

# Lengths that are none, or that only some can read.

for _value in (
    b"+5", b"-5", b"-0", b"0x5", b"0X5", b"5_0", b"0_5", b"5.0", b"5e0", b"0b101", b"0o5", b"05",
    b"00", b"000000000000000005", b"0000000000000000000000005", b"5 5", b"5\t5", b'"5"', b"'5'",
    b"(5)", b"5;", b"5a", b"a5", b"", b"\x0b5", b"5\x0b", b"\x0c5", b"5\x0c", b"5\x00", b"\x005",
    b"\x1f5", b"\xa05", b"5\xa0", "\uff15".encode(), "\u0665".encode(), b"\xb2",
    b"18446744073709551621", b"4294967301", b"99999999999999999999999999",
    b"9223372036854775813", b"NaN", b"chunked",
):  # fmt: skip
    _request(f"length {_value!r}", b"Content-Length: " + _value)

# Codings that only some take for chunked.

for _value in (
    b"xchunked", b"chunkedx", b"chunk", b"chunked, identity", b"identity, chunked",
    b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,chunked", b"chunked;q=1",
    b"chunked ;x", b"chunked;", b'"chunked"', b"'chunked'", b"chunked,", b",chunked", b",", b"",
    b"identity", b"x", b"CHUNKED", b"cHuNkEd", b"\x0bchunked", b"chunked\x0b", b"\x0cchunked",
    b"chunked\x0c", b"\x00chunked", b"chunked\x00", b"chun\x00ked", b"\xa0chunked",
    b"chunked\xa0", b"chun\rked", b"\rchunked", "chun\u212aed".encode(), b"chunked=x",
    b"chunked x", b"x chunked", b"chunked\tx", b"[chunked]", b"%63hunked", b"trailers, chunked",
):  # fmt: skip
    _request(f"coding {_value!r}", b"Transfer-Encoding: " + _value)
    if _value in (b"xchunked", b"\x0bchunked", b"chunked\x00", b"", b"CHUNKED"):
        _request(f"length and coding {_value!r}", _LENGTH, b"Transfer-Encoding: " + _value)

# Names that only some take for those of framing.

for _which, _value in ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", _LONG)):
    for _field in (
        b"%b : %b", b"%b\t: %b", b" %b: %b", b"\t%b: %b", b"%b\x0b: %b", b"\x0b%b: %b",
        b"%b\x0c: %b", b"%b\x00: %b", b"\x00%b: %b", b"%b\xa0: %b", b"\xa0%b: %b", b"%b\xad: %b",
        b"%b\r: %b", b"%b %b", b":%b: %b", b"%b:: %b", b"%b=%b", b"%b;: %b", b"X-%b: %b",
        b"X: y\n%b: %b", b"X: y\r%b: %b", b"X: y\r\r\n%b: %b", b"X: y\n\r\n%b: %b",
        b"X: y\x00\r\n%b: %b", b"X: y\r\n\r%b: %b", b"X:\r\n %b: %b", b"X: y\x85%b: %b",
        "X: y\u2028%b: %b".encode(), b"\"%b\": %b", b"(%b): %b", b"%b%%20: %b",
    ):  # fmt: skip
        _filled = _field.replace(b"%%", b"%") if b"%%" in _field else _field
        _filled = _filled.replace(b"%b", _which, 1).replace(b"%b", _value, 1)
        _request(f"field {_filled!r}", _filled)
_request("underscores in the coding's name", b"Transfer_Encoding: chunked")
_request("underscores in the length's name", b"Content_Length: " + _LONG)
_request("coding split by a line end", b"Transfer-\r\nEncoding: chunked")
_request("coding's name with a letter that is none", "Tran\u017ffer-Encoding: chunked".encode())

# Folded lines.

_request("fold before the coding", b"Transfer-Encoding:\r\n chunked")
_request("fold before the length", b"Content-Length:\r\n " + _LONG)
_request("fold by a tab", b"Content-Length:\r\n\t" + _LONG)
_request("fold after the coding", b"Transfer-Encoding: chunked\r\n , identity")
_request("fold in the length", b"Content-Length: 5\r\n 0")
_request("empty fold after the length", b"Content-Length: 5\r\n ")
_request("coding in a fold", b"X: y\r\n Transfer-Encoding: chunked")
_request("length in a fold", b"X: y\r\n Content-Length: " + _LONG)
_request("fold with a bare LF", b"X: y\n Transfer-Encoding: chunked")
_request("fold of Host", b" Transfer-Encoding: chunked")
_request("fold that is all white", b"X: y\r\n   \r\n" + _CHUNKED)
_raw(
    "fold of the request line",
    _POST + b"\r\n Transfer-Encoding: chunked\r\n" + _HOST + b"\r\n\r\n" + _LAST + HIDDEN,
)

# Line ends that are none.

_raw("only LF", (_POST + b"\n" + _HOST + b"\n" + _CHUNKED + b"\n\n") + _LAST + HIDDEN)
_raw("LF behind the request line", _POST + b"\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw("LF behind a field", _POST + b"\r\n" + _HOST + b"\n" + _CHUNKED + b"\r\n\r\n" + _LAST + HIDDEN)
_raw("LF for the empty line", _POST + b"\r\n" + _HOST + b"\r\n\n" + HIDDEN)
_raw("LF LF inside", _POST + b"\r\n" + _HOST + b"\r\nX: y\n\n" + HIDDEN)
_raw("CR for line ends", _POST + b"\r" + _HOST + b"\r" + _CHUNKED + b"\r\r" + HIDDEN)
_raw("CR CR LF", _POST + b"\r\r\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw("CR CR LF for the empty line", _POST + b"\r\n" + _HOST + b"\r\n\r\r\n" + HIDDEN)
_raw("CR in the request line", b"POST /a\r HTTP/1.1\r\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw("LF in the request line", b"POST /a\n HTTP/1.1\r\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw("NUL in the request line", b"POST /a\x00 HTTP/1.1\r\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw(
    "request in the target",
    b"POST /a HTTP/1.1\r\nHost: x\r\n\r\nGET /hidden HTTP/1.1\r\n" + _HOST + b"\r\n\r\n",
)
_raw("two versions", b"POST /a HTTP/1.1 HTTP/1.1\r\n" + _HOST + b"\r\n\r\n" + HIDDEN)
_raw("no version", b"GET /a\r\n" + HIDDEN)
_raw("empty lines before", b"\r\n\r\n" + _POST + b"\r\n" + _HOST + b"\r\n\r\n")
_raw("CR before", b"\r" + _POST + b"\r\n" + _HOST + b"\r\n\r\n")
_raw("LF before", b"\n" + _POST + b"\r\n" + _HOST + b"\r\n\r\n")
_raw("space before", b" " + _POST + b"\r\n" + _HOST + b"\r\n\r\n")
_request("NUL in a value", b"X: a\x00b", body=HIDDEN)
_request("CR in a value", b"X: a\rb", body=HIDDEN)
_request("CR LF LF in a value", b"X: a\r\n\nb: c", body=HIDDEN)

# Chunks.

_HELLO = b"\r\nhello\r\n"
for _name, _line in {
    "plus": b"+5", "minus": b"-5", "0x": b"0x5", "0X": b"0X5", "underscore": b"0_5", "h": b"5h",
    "space before": b" 5", "space behind": b"5 ", "tab behind": b"5\t", "VT before": b"\x0b5",
    "NUL behind": b"5\x00", "no size": b"", "zeros": b"0000000000000005",
    "too many zeros": b"00000000000000005", "17 digits": b"10000000000000005",
    "too large": b"ffffffffffffffff", "semicolon": b"5;", "extension": b"5;a=b",
    "quoted extension": b'5;a="b;c"', "extension with a quoted line end": b'5;a="\r\n"',
    "extension with LF": b"5;a\nb", "extension with CR": b"5;a\rb", "extension with NUL": b"5;\x00",
    "space and extension": b"5 ;a", "tab and extension": b"5\t;a", "comma": b"5,5",
    "quoted": b'"5"', "decimal point": b"5.0", "8-bit": b"\xb25", "full width": "\uff15".encode(),
    "extension that is white": b"5; ", "two extensions": b"5;a;b=c", "CR": b"5\r",
    "extension like a request": b"5;\r\nGET /hidden HTTP/1.1",
}.items():  # fmt: skip
    _request(f"chunk size: {_name}", _CHUNKED, body=_line + _HELLO + _LAST + HIDDEN)
for _name, _body in {
    "LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "CR behind the data": b"5\r\nhello\r0\r\n\r\n",
    "nothing behind the data": b"5\r\nhello0\r\n\r\n",
    "other bytes behind the data": b"5\r\nhelloXX0\r\n\r\n",
    "one byte too many": b"5\r\nhello!\r\n0\r\n\r\n",
    "one byte too few": b"6\r\nhello\r\n0\r\n\r\n",
    "data like chunks": b"13\r\n5\r\nhello\r\n0\r\n\r\nrest\r\n0\r\n\r\n",
    "data like the last chunk": b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n",
    "LF behind the last chunk": b"5\r\nhello\r\n0\n\r\n",
    "LF for the empty line": b"5\r\nhello\r\n0\r\n\n",
    "only LF": b"5\nhello\n0\n\n",
    "last chunk of many zeros": b"5\r\nhello\r\n0000\r\n\r\n",
    "last chunk with an extension": b"5\r\nhello\r\n0;a=b\r\n\r\n",
    "last chunk with a space": b"5\r\nhello\r\n0 \r\n\r\n",
    "no last chunk": b"5\r\nhello\r\n\r\n",
    "minus zero": b"5\r\nhello\r\n-0\r\n\r\n",
}.items():
    _request(f"chunks: {_name}", _CHUNKED, body=_body + HIDDEN)

# Trailers.

for _name, _trailers in {
    "field": b"X: y\r\n\r\n",
    "length": b"Content-Length: 5\r\n\r\n",
    "coding": b"Transfer-Encoding: chunked\r\n\r\n",
    "host": b"Host: other.test\r\n\r\n",
    "connection": b"Connection: close\r\n\r\n",
    "request without an empty line": b"GET /hidden HTTP/1.1\r\n\r\n",
    "LF": b"X: y\n\r\n\r\n",
    "LF LF": b"X: y\n\n",
    "CR": b"X: y\r\r\n\r\n",
    "NUL": b"X: \x00\r\n\r\n",
    "fold": b"X: y\r\n z\r\n\r\n",
    "space before the colon": b"Content-Length : 5\r\n\r\n",
    "no colon": b"nonsense\r\n\r\n",
    "empty name": b": x\r\n\r\n",
    "leading space": b" X: y\r\n\r\n",
    "LF in front": b"\nX: y\r\n\r\n",
    "CR LF CR": b"X: y\r\n\r",
}.items():
    _request(f"trailers: {_name}", _CHUNKED, body=b"5\r\nhello\r\n0\r\n" + _trailers + HIDDEN)

# Where a request goes.

for _name, _lines in {
    "other host in the target": (b"GET http://other.test/a HTTP/1.1", _HOST),
    "other host field": (b"GET http://example.test/a HTTP/1.1", b"Host: other.test"),
    "two hosts": (b"GET /a HTTP/1.1", _HOST, b"Host: other.test"),
    "two hosts that are the same": (b"GET /a HTTP/1.1", _HOST, _HOST),
    "no host": (b"GET /a HTTP/1.1", b"X: y"),
    "empty host": (b"GET /a HTTP/1.1", b"Host:"),
    "host with a path": (b"GET /a HTTP/1.1", b"Host: example.test/hidden"),
    "host with user information": (b"GET /a HTTP/1.1", b"Host: other.test@example.test"),
    "host with a space": (b"GET /a HTTP/1.1", b"Host: example.test other.test"),
    "host with a comma": (b"GET /a HTTP/1.1", b"Host: example.test, other.test"),
    "host with a control byte": (b"GET /a HTTP/1.1", b"Host: example.test\x0b"),
    "folded host": (b"GET /a HTTP/1.1", b"Host:\r\n other.test"),
    "space before the colon of host": (b"GET /a HTTP/1.1", _HOST, b"Host : other.test"),
    "port that is none": (b"GET /a HTTP/1.1", b"Host: example.test:80x"),
    "target with user information": (b"GET http://other.test@example.test/a HTTP/1.1", _HOST),
    "target with a backslash": (b"GET http://example.test\\@other.test/a HTTP/1.1", _HOST),
    "target of another scheme": (b"GET ftp://example.test/a HTTP/1.1", _HOST),
    "target without scheme": (b"GET //other.test/a HTTP/1.1", _HOST),
    "target with a fragment": (b"GET /a#/hidden HTTP/1.1", _HOST),
    "target of a CONNECT": (b"GET example.test:80 HTTP/1.1", _HOST),
    "target with a query only": (b"GET ?a HTTP/1.1", _HOST),
    "8-bit target": (b"GET /\xff\xa0 HTTP/1.1", _HOST),
    "asterisk": (b"OPTIONS * HTTP/1.1", _HOST),
    "asterisk of a GET": (b"GET * HTTP/1.1", _HOST),
}.items():
    _raw(f"target: {_name}", b"\r\n".join((*_lines, b"", b"")))

# Methods, versions and what connections are told.

_request("length of a GET", _LENGTH, line=b"GET /a HTTP/1.1")
_request("chunks of a GET", _CHUNKED, line=b"GET /a HTTP/1.1")
_request("length of a HEAD", _LENGTH, line=b"HEAD /a HTTP/1.1")
_request("chunks of an OPTIONS", _CHUNKED, line=b"OPTIONS /a HTTP/1.1")
_request("no framing of a POST", body=HIDDEN)
_request("length in HTTP/1.0", _LENGTH, line=b"POST /a HTTP/1.0")
_request(
    "length in HTTP/1.0, kept alive",
    b"Connection: keep-alive",
    b"Content-Length: 5",
    line=b"POST /a HTTP/1.0",
)
_request("version 1.2", _CHUNKED, line=b"POST /a HTTP/1.2")
_request("version 2", _CHUNKED, line=b"POST /a HTTP/2.0")
_request("version 0.9", _CHUNKED, line=b"POST /a HTTP/0.9")
_request("version of two digits", _CHUNKED, line=b"POST /a HTTP/1.10")
_request("version in small letters", _CHUNKED, line=b"POST /a http/1.1")
_request("method in small letters", _CHUNKED, line=b"post /a HTTP/1.1")
_request("two spaces", _CHUNKED, line=b"POST  /a HTTP/1.1")
_request("tab", _CHUNKED, line=b"POST\t/a HTTP/1.1")
_request("override of the method", b"X-HTTP-Method-Override: GET", _LENGTH)
for _option in (
    b"Transfer-Encoding",
    b"Content-Length",
    b"close, Content-Length",
    b"Host",
    b"TE",
    b"X",
    b"close",
    b"keep-alive",
):
    _request(f"Connection: {_option!r}", b"Connection: " + _option, _LENGTH, b"X: y")
    _request(f"Connection: {_option!r}, chunked", b"Connection: " + _option, _CHUNKED, b"X: y")
_request("expectation and no body", b"Expect: 100-continue", body=HIDDEN)
_request("expectation and length", b"Expect: 100-continue", _LENGTH)
_request("expectation and chunks", b"Expect: 100-continue", _CHUNKED)
_request("odd expectation", b"Expect: 100-continue, x", _LENGTH)
_request("upgrade and length", b"Connection: Upgrade", b"Upgrade: tcp", _LENGTH)
_request(
    "upgrade to HTTP/2",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    _LENGTH,
)
_request("length of Keep-Alive", b"Keep-Alive: 5", b"Proxy-Connection: close", _LENGTH)

# Responses.


def _response(
    name: str, *fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"0\r\n\r\n"
) -> None:
    assert name not in RESPONSES, name
    RESPONSES[name] = b"\r\n".join((line, *fields, b"", b"")) + body


FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
"""What a server would like to answer the next request with."""

_ALL = b"%d" % len(_LAST + FORGED)
for _name, _fields in {
    "length, then coding": (b"Content-Length: " + _ALL, _CHUNKED),
    "coding, then length": (_CHUNKED, b"Content-Length: 5"),
    "coding twice": (_CHUNKED, _CHUNKED),
    "coding that is unknown": (b"Transfer-Encoding: x",),
    "coding that is nearly it": (b"Transfer-Encoding: xchunked",),
    "coding and identity": (b"Transfer-Encoding: chunked, identity",),
    "identity": (b"Transfer-Encoding: identity", b"Content-Length: 5"),
    "empty coding": (b"Transfer-Encoding:", b"Content-Length: 5"),
    "coding in other letters": (b"Transfer-Encoding: cHuNkEd",),
    "coding with a control byte": (b"Transfer-Encoding: chunked\x0b",),
    "coding with a space before the colon": (b"Transfer-Encoding : chunked", b"Content-Length: 5"),
    "length with a space before the colon": (b"Content-Length : 5",),
    "folded length": (b"Content-Length:\r\n 5",),
    "folded coding": (b"Transfer-Encoding:\r\n chunked",),
    "coding in a fold": (b"X: y\r\n Transfer-Encoding: chunked", b"Content-Length: 5"),
    "LF": (b"X: y\nContent-Length: 5",),
    "CR": (b"X: y\rContent-Length: 5",),
    "NUL": (b"X: y\x00", b"Content-Length: 5"),
    "LF before the coding": (b"Content-Length: 5\nTransfer-Encoding: chunked",),
    "two lengths": (b"Content-Length: 5", b"Content-Length: " + _ALL),
    "two lengths that are the same": (b"Content-Length: 5", b"Content-Length: 5"),
    "list of lengths": (b"Content-Length: 5, 5",),
    "list of lengths that differ": (b"Content-Length: 5, " + _ALL,),
    "plus": (b"Content-Length: +5",),
    "zero": (b"Content-Length: 05",),
    "0x": (b"Content-Length: 0x5",),
    "negative": (b"Content-Length: -5",),
    "large": (b"Content-Length: 18446744073709551621",),
    "no colon": (b"nonsense", b"Content-Length: 5"),
    "8-bit name": (b"X\xa0: y", b"Content-Length: 5"),
    "connection named length": (b"Connection: Content-Length", b"Content-Length: 5"),
}.items():
    _response(_name, *_fields, body=_LAST + FORGED)
_response("HTTP/1.0 and coding", _CHUNKED, line=b"HTTP/1.0 200 OK", body=_LAST + FORGED)
_response("length of a 204", b"Content-Length: 5", line=b"HTTP/1.1 204 No", body=_LAST + FORGED)
_response("chunks of a 304", _CHUNKED, line=b"HTTP/1.1 304 No", body=_LAST + FORGED)
_response("101 that nobody asked for", line=b"HTTP/1.1 101 No", body=FORGED)
_response("100 and another", line=b"HTTP/1.1 100 Continue", body=FORGED)
_response("100 with a length", b"Content-Length: 5", line=b"HTTP/1.1 100 Continue", body=FORGED)
_response("two answers", b"Content-Length: 0", body=FORGED)
_response("status of two digits", line=b"HTTP/1.1 20 OK", body=FORGED)
_response("status of four digits", line=b"HTTP/1.1 2000 OK", body=FORGED)
_response("CR in the reason", line=b"HTTP/1.1 200 O\rK", body=FORGED)
_response("NUL in the reason", line=b"HTTP/1.1 200 O\x00K", body=FORGED)
_response(
    "LF in the reason", b"Content-Length: 5", line=b"HTTP/1.1 200 OK\nX: y", body=_LAST + FORGED
)
for _name, _body in {
    "size with plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size with spaces": b"5  \r\nhello\r\n0\r\n\r\n",
    "LF": b"5\nhello\n0\n\n",
    "other bytes behind the data": b"5\r\nhelloXX0\r\n\r\n",
    "trailer with a length": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "trailer with LF": b"5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
    "trailer without colon": b"5\r\nhello\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n",
    "extension with LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
}.items():
    _response(f"chunks: {_name}", _CHUNKED, body=_body + FORGED)
