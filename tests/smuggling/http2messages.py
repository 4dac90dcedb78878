"""Requests of HTTP/2 that a server of HTTP/1 might take for two, or for others."""

from __future__ import annotations

from tests.wire.http2feeding import Pairs, data, headers

_GET: Pairs = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"example.test"),
    (b":path", b"/a"),
]
_POST: Pairs = [(b":method", b"POST"), *_GET[1:]]

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: example.test\r\n\r\n"
_LAST = b"0\r\n\r\n"
_SMUGGLED = "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN.decode()
_LINES = tuple(
    text.replace("\r\n", end).encode()
    for text in (_SMUGGLED, "x" + _SMUGGLED, "x\r\nContent-Length: 5\r\n\r\n")
    for end in ("\r\n", "\n", "\r", "\0", "\r\r\n")
)

HTTP2_REQUESTS: dict[str, bytes] = {}
"""The frames of stream 1, by name."""


def _add(name: str, fields: Pairs, *bodies: bytes) -> None:
    assert name not in HTTP2_REQUESTS, name
    frames = headers(1, fields, not bodies)
    for number, body in enumerate(bodies, 1):
        frames += data(1, body, number == len(bodies))
    HTTP2_REQUESTS[name] = frames


def _with(index: int, value: bytes) -> Pairs:
    fields = list(_POST)
    fields[index] = (fields[index][0], value)
    return fields


# h2.CL: lengths that are not what DATA has.

for _value in (
    b"0",
    b"5",
    b"4",
    b"6",
    b"999",
    b"-1",
    b"+5",
    b"05",
    b"0x5",
    b"5, 5",
    b"5,6",
    b"",
    b"5 ",
    b"\x0b5",
):
    _add(f"length {_value!r}, five bytes", [*_POST, (b"content-length", _value)], b"hello")
    _add(f"length {_value!r}, no bytes", [*_POST, (b"content-length", _value)])
    _add(f"length {_value!r}, a request", [*_POST, (b"content-length", _value)], HIDDEN)
_add("two lengths", [*_POST, (b"content-length", b"5"), (b"content-length", b"6")], b"hello")
_add(
    "two lengths that are the same",
    [*_POST, (b"content-length", b"5"), (b"content-length", b"5")],
    b"hello",
)
_add("length of a GET", [*_GET, (b"content-length", b"%d" % len(HIDDEN))], HIDDEN)
_add("length in pieces", [*_POST, (b"content-length", b"5")], b"he", b"", b"llo")
_add("no length", _POST, HIDDEN)
_add("no length, nothing", _POST, b"")
_add("GET with content", _GET, HIDDEN)
_add("HEAD with content", _with(0, b"HEAD"), HIDDEN)

# h2.TE, and other fields of connections.

for _name, _value in (
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"),
    (b"transfer-encoding", b""),
    (b"transfer-encoding ", b"chunked"),
    (b" transfer-encoding", b"chunked"),
    (b"transfer-encoding\t", b"chunked"),
    (b"transfer-encoding:", b"chunked"),
    (b"Transfer-Encoding", b"chunked"),
    (b"transfer_encoding", b"chunked"),
    (b"transfer\x00-encoding", b"chunked"),
    (b"connection", b"transfer-encoding"),
    (b"connection", b"content-length"),
    (b"connection", b"close"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"h2c"),
    (b"upgrade", b"websocket"),
    (b"keep-alive", b"5"),
    (b"proxy-connection", b"keep-alive"),
    (b"te", b"chunked"),
    (b"te", b"trailers, chunked"),
    (b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA"),
    (b"host", b"other.test"),
    (b"host", b"example.test"),
    (b"host", b""),
    (b"expect", b"100-continue"),
    (b"trailer", b"content-length"),
    (b":path", b"/hidden"),
    (b":authority", b"other.test"),
    (b":status", b"200"),
    (b":unknown", b"x"),
    (b"", b"x"),
    (b"content-length\x0b", b"5"),
    (b"content-length", b"5\x00"),
):
    _add(f"field {_name!r}: {_value!r}", [*_POST, (_name, _value)], _LAST + HIDDEN)
    _add(f"field {_name!r}: {_value!r}, no content", [*_POST, (_name, _value)])

# Line ends in whatever a request has.

for _index, _line in enumerate(_LINES):
    for _position, _part in enumerate(("method", "scheme", "authority", "path")):
        for _before in (b"", _POST[_position][1]):
            _add(f"{_part} {_before!r} {_index}", _with(_position, _before + _line), b"hello")
    _add(f"path with a version {_index}", _with(3, b"/a HTTP/1.1" + _line), b"hello")
    _add(f"method with a line {_index}", _with(0, b"GET /hidden HTTP/1.1" + _line), b"hello")
    _add(f"value {_index}", [*_POST, (b"x", _line)], b"hello")
    _add(f"name {_index}", [*_POST, (b"x" + _line, b"y")], b"hello")
    _add(f"name with a colon {_index}", [*_POST, (b"x: y" + _line + b"z", b"y")], b"hello")
    _add(f"host {_index}", [*_POST, (b"host", b"example.test" + _line)], b"hello")
    _add(f"length {_index}", [*_POST, (b"content-length", b"5" + _line)], b"hello")
    _add(f"cookie {_index}", [*_POST, (b"cookie", b"a=b"), (b"cookie", _line)], b"hello")

# Parts that are missing, or more than there should be.

for _position, _part in enumerate(("method", "scheme", "authority", "path")):
    _add(f"no {_part}", [each for n, each in enumerate(_POST) if n != _position], b"hello")
    _add(f"{_part} twice", [*_POST[: _position + 1], *_POST[_position:]], b"hello")
    _add(f"empty {_part}", _with(_position, b""), b"hello")
    _add(
        f"{_part} behind the fields",
        [*_POST[:_position], *_POST[_position + 1 :], (b"x", b"y"), _POST[_position]],
    )
for _value in (
    b"*",
    b"a",
    b"http://other.test/a",
    b"/a b",
    b"/a#b",
    b"/a\xff",
    b"//other.test/a",
    b"/a\tb",
    b"?a",
):
    _add(f"path {_value!r}", _with(3, _value), b"hello")
for _value in (
    b"other.test@example.test",
    b"example.test/hidden",
    b"example.test:x",
    b"a b",
    b"example.test,other.test",
):
    _add(f"authority {_value!r}", _with(2, _value), b"hello")
for _value in (b"GET /hidden", b"get", b"GE T", b"G\x01", b"POST\x00", b"CONNECT", b"PRI"):
    _add(f"method {_value!r}", _with(0, _value), b"hello")
for _value in (b"ftp", b"HTTP", b"https", b"http://example.test/hidden?"):
    _add(f"scheme {_value!r}", _with(1, _value), b"hello")

# Trailers.

for _name, _value in (
    (b"x", b"y"),
    (b"content-length", b"5"),
    (b"transfer-encoding", b"chunked"),
    (b"host", b"other.test"),
    (b":path", b"/hidden"),
    (b"x", b"y\r\n\r\n" + HIDDEN),
    (b"x\r\n\r\n" + HIDDEN, b"y"),
    (b"x\n", b"y"),
    (b"X", b"y"),
):
    HTTP2_REQUESTS[f"trailer {_name!r}: {_value!r}"] = (
        headers(1, _POST) + data(1, b"hello") + headers(1, [(_name, _value)], True)
    )
