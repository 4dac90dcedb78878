"""What inputs are made of: sane ones and known oddities, and words that mean something."""

from __future__ import annotations

from interceptor.model.codings import encode
from interceptor.names.message import Request as DNSRequest
from tests.smuggling.http2messages import HTTP2_REQUESTS
from tests.smuggling.messages import REQUESTS, RESPONSES
from tests.websockets import frame
from tests.wire.hellos import by_pyopenssl, by_ssl
from tests.wire.http2feeding import (
    Compressor,
    build,
    data,
    goaway,
    headers,
    ping,
    rst_stream,
    settings,
    window_update,
)
from tests.wire.test_starttls import IMAP, POP3, POSTGRESQL, POSTGRESQL_GSS, SMTP, SSL_REQUEST

SEEDS: dict[str, tuple[bytes, ...]] = {}
"""By the target's name."""

WORDS: dict[str, tuple[bytes, ...]] = {}


def _add(name: str, *seeds: bytes, words: tuple[bytes, ...] = ()) -> None:
    SEEDS[name] = seeds
    WORDS[name] = words


TURN = b"\x1e"
"""Between what the client says and what the server says, in a conversation."""


def conversation(*turns: tuple[bool, bytes]) -> bytes:
    """Return what client (True) and server say, in turn."""
    out = b""
    client = True
    for from_client, said in turns:
        if from_client is not client:
            out += TURN
            client = from_client
        out += said
    return out


_add(
    "http1-requests",
    *REQUESTS.values(),
    words=(
        b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"chunked", b"\r\n\r\n",
        b"0\r\n\r\n", b"5\r\nhello\r\n", b" HTTP/1.1", b"GET / HTTP/1.1\r\n", b"Host: a\r\n",
        b"Connection: ", b"Upgrade: x\r\n", b"Expect: 100-continue\r\n", b"http://a.b/",
        b"CONNECT a:1",
    ),
)  # fmt: skip
_add(
    "http1-responses",
    *RESPONSES.values(),
    words=(
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: ", b"\n\n",
        b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n",
        b"Connection: close\r\n", b"Alt-Svc: h3=\":1\"\r\n",
    ),
)  # fmt: skip
_add(
    "http2-server",
    *HTTP2_REQUESTS.values(),
    settings((1, 0), (4, 0)) + ping() + goaway(0) + window_update(0, 1) + rst_stream(1, 8),
    words=(
        build(0, 0, 1), build(0, 1, 1), build(9, 4, 1), build(8, 0, 1, bytes(4)),
        build(6, 0, 0, bytes(8)), build(4, 0, 0), build(4, 1, 0), build(3, 0, 1, bytes(4)),
        build(2, 0, 1, bytes(5)), build(7, 0, 0, bytes(8)),
    ),
)  # fmt: skip
_OK = [(b":status", b"200")]
_add(
    "http2-client",
    headers(1, _OK, True),
    headers(1, [*_OK, (b"content-length", b"5")]) + data(1, b"hello", True),
    headers(1, [(b":status", b"103")])
    + headers(1, _OK)
    + data(1, b"x")
    + headers(1, [(b"x", b"y")], True),
    goaway(1, 0, b"debug") + ping() + settings((4, 100)) + rst_stream(3, 7),
    words=(
        build(0, 1, 1), build(1, 5, 3, b"\x88"), build(7, 0, 0, bytes(8)),
        build(10, 0, 0, b"\0\0h3"), build(5, 4, 1, bytes(4)),
    ),
)  # fmt: skip
_add(
    "hpack",
    Compressor().block([(b":method", b"GET"), (b"x", b"y"), (b"cookie", b"a=b")]),
    b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x40\x0acustom-key\x0dcustom-header",
    b"\x20\x3f\xe1\x1f",
    b"\x3f\xff\xff\xff\x7f",
    b"\xff\x80\x80\x01",
    words=(b"\x20", b"\x3f\x00", b"\x40\x01x\x01y", b"\x80", b"\xbe", b"\x7f\xff", b"\x82"),
)
_PAYLOADS = (b"", b"\x03\xe8hi", b"text" * 50)
_add(
    "websocket-client",
    *[frame(opcode, payload) for opcode in (1, 2, 8, 9, 10) for payload in _PAYLOADS],
    frame(1, b"a", fin=False) + frame(9, b"p") + frame(0, "\u00fc".encode()),
    frame(1, b"\xcbH\xcd\xc9\xc9\x07\x00", reserved=4),
    words=(b"\x81\x80", b"\x00", b"\x80\x80", b"\x88\x82", b"\xfe", b"\xff", bytes(4)),
)
_add(
    "websocket-server",
    *[frame(opcode, each, masked=False) for opcode in (1, 2, 8, 9, 10) for each in _PAYLOADS],
    frame(1, b"\xc3", fin=False, masked=False) + frame(0, b"\xbc", masked=False),
    frame(1, b"\xcbH\xcd\xc9\xc9\x07\x00", reserved=4, masked=False),
    words=(b"\x81\x00", b"\x00\x00", b"\x80\x00", b"\x88\x02", b"\x7e", b"\x7f"),
)
_add(
    "client-hello",
    by_pyopenssl(alpn=[b"h2"]),
    by_ssl(),
    by_ssl(sni=None),
    words=(b"\x16\x03\x01", b"\x00\x10\x00\x05", b"\x00\x00", b"\x01"),
)
_add(
    "socks5-server",
    b"\x05\x01\x00\x05\x01\x00\x03\x04host\x00\x50rest",
    b"\x05\x02\x00\x02\x01\x04anna\x06secret\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    b"\x05\x01\x02\x01\x00\x00\x05\x01\x00\x04" + bytes(18),
    words=(b"\x05", b"\x01", b"\x03"),
)
_add(
    "socks5-client",
    b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest",
    b"\x05\x00\x05\x00\x00\x03\x04host\x00\x50",
    b"\x05\xff",
    words=(b"\x05\x00", b"\x01"),
)
_add(
    "connect-client",
    b"HTTP/1.1 200 OK\r\n\r\nrest",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
    words=(b"HTTP/1.1 200\r\n\r\n",),
)
_add(
    "proxy-protocol",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\r\nrest",
    b"PROXY UNKNOWN\r\n",
    b"PROXY TCP6 ::1 ::2 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
    words=(b"PROXY ", b"TCP4 ", b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x21"),
)
_add(
    "event-stream",
    b"\xef\xbb\xbf: c\r\ndata: a\r\ndata: b\r\n\r\nid: 1\nretry: 5\n\nevent: e\rdata\r\r",
    words=(b"data: x\n\n", b"id", b"event: ", b"retry: 1", b"\n\n", b"\r\r", b":", b"\xef\xbb\xbf"),
)
_add(
    "alt-svc",
    b'h3=":443"; ma=86400, h2="a:1"; persist=1',
    b"clear",
    b'h3-29=":443", quic=":443"; v="46,43"',
    words=(b"h3", b'"', b"%33", b"=", b"\\"),
)
_add(
    "redis",
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"+OK\r\n-ERR x\r\n:5\r\n$-1\r\n",
    b"%1\r\n+a\r\n:1\r\n~1\r\n#t\r\n,1.5\r\n",
    b"$?\r\n;2\r\nhi\r\n;0\r\n",
    words=(b"*1\r\n", b"$5\r\n", b"\r\n", b"*?\r\n", b".\r\n", b"|1\r\n"),
)
_add(
    "dns",
    DNSRequest.make("www.example.com", "A").to_wire(),
    b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x01\x00\x01"
    b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"
    b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00",
    words=(b"\xc0\x0c", b"\xc0\x00", b"\x00\x10\x00\x01", b"\x3f", b"\x00\x29"),
)
_add(
    "redis-messages",
    conversation((True, b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"), (False, b"$1\r\nb\r\n")),
    conversation((True, b"HELLO 3\r\nPING\r\n"), (False, b"%1\r\n+a\r\n:1\r\n+PONG\r\n")),
    conversation(
        (True, b"SUBSCRIBE a\r\n"), (False, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    ),
    words=(TURN, b"*1\r\n", b"$4\r\n", b"MULTI\r\n", b"RESET\r\n", b"\r\n", b"+OK\r\n", b">2\r\n"),
)
_add(
    "smtp-messages",
    conversation(
        (False, b"220 hello\r\n"),
        (True, b"EHLO a\r\n"),
        (False, b"250-a\r\n250 PIPELINING\r\n"),
        (True, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
        (False, b"250 ok\r\n250 ok\r\n354 go on\r\n"),
        (True, b"Subject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n"),
        (False, b"250 ok\r\n221 bye\r\n"),
    ),
    words=(TURN, b"\r\n.\r\n", b"354 \r\n", b"250-", b"DATA\r\n", b"BDAT 5 LAST\r\nhello", b"\n"),
)
_add(
    "starttls",
    *[conversation(*turns) for turns in (SMTP, IMAP, POP3, POSTGRESQL, POSTGRESQL_GSS)],
    words=(
        TURN,
        b"STARTTLS\r\n",
        b"220 \r\n",
        b"\x16\x03\x01",
        b"a1 OK\r\n",
        b"+OK\r\n",
        SSL_REQUEST,
    ),
)
_add(
    "websocket-extensions",
    b"permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    b'x; a="b", permessage-deflate; client_no_context_takeover',
    words=(b"permessage-deflate", b";", b",", b"=", b'"', b"server_no_context_takeover"),
)
_TEXT = b"some text, some text " * 5
_add(
    "content-codings",
    *[encode(_TEXT, coding) for coding in ("gzip", "deflate", "br", "zstd", "gzip, br")],
    words=(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"),
)
_add(
    "filters",
    b"~m GET & (~u /a | ~c 200) & !~e",
    b"~bs text ~hq 'x y' ~d \"a.b\"",
    b"~t json & ~dst 1",
    words=(
        b"~m",
        b"~b ",
        b"(",
        b")",
        b"!",
        b"&",
        b"|",
        b"'",
        b'"',
        b"\\",
        b"~",
        b"[a",
        b"(?",
        b"*",
    ),
)
_add(
    "modes",
    b"reverse:https://example.com:8443@127.0.0.1:8080",
    b"socks5@[::1]:1080",
    b"upstream:http://a:1",
    b"regular",
    words=(b"reverse:", b"@", b"[", b"]", b"://", b"tcp:port=1", b"%"),
)
_add(
    "views",
    b"multipart/form-data; boundary=x\n"
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
    b"application/x-www-form-urlencoded\na=b&c=%20&d",
    b"text/html; charset=utf-7\n\xef\xbb\xbf<meta charset=x>",
    b'a=b; c="d"; e\ngzip',
    words=(b"charset=", b"boundary=", b"--x\r\n", b"%", b"&", b"=", b";", b"\x1f\x8b"),
)
